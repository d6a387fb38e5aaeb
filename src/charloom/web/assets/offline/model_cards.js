// The parts of the exported page outside the editor: buttons for the prompts, and the models' cards with samples.

import { $, make } from "./dom.js";
import { MODELS, PROMPTS } from "./local_backend.js";
import { visible } from "./text.js";

const MAX_LABEL = 40; // characters of a prompt that its button shows

// Replace the text as if the user had typed it, so that it can be undone.
function replaceText(text) {
  const area = $("text");
  area.value = text;
  area.setSelectionRange(text.length, text.length);
  area.dispatchEvent(new InputEvent("input"));
}

function continueFrom(text) {
  replaceText(text);
  $("continue").click();
}

function showPrompts() {
  const label = (prompt) => {
    const characters = Array.from(prompt, (character) => (character === " " ? character : visible(character)));
    return characters.length > MAX_LABEL ? `${characters.slice(0, MAX_LABEL).join("")}…` : characters.join("");
  };
  $("prompts").append(...PROMPTS.map((prompt) => make("button", { type: "button", text: label(prompt), onclick: () => continueFrom(prompt) })));
  $("prompts").hidden = PROMPTS.length < 2;
}

function selectModel(id) {
  const menu = $("model");
  if (menu.value === id) return;
  menu.value = id;
  menu.dispatchEvent(new Event("change"));
}

// Each card's button selects its model; each sample's button puts the sample into the editor.
function activateCards() {
  document.querySelectorAll("#about article").forEach((card, i) => {
    const select = card.querySelector("button.select");
    select.hidden = MODELS.length < 2;
    select.onclick = () => {
      selectModel(MODELS[i].id);
      focusEditor();
    };
    for (const sample of card.querySelectorAll(".sample")) {
      const button = sample.querySelector("button");
      button.hidden = false;
      button.onclick = () => {
        selectModel(MODELS[i].id);
        replaceText(sample.querySelector("pre").textContent);
        focusEditor();
      };
    }
  });
}

function focusEditor() {
  $("text").focus();
  scrollTo(0, 0);
}

showPrompts();
activateCards();
// on the first visit, generate text from the first prompt
if (!$("text").value) setTimeout(() => continueFrom(PROMPTS[0] ?? ""), 0);
