// The parts of the exported page around the editor: prompts to start from, and the models' cards with samples.

import { $, make } from "./dom.js";
import { MODELS, PROMPTS } from "./local_backend.js";
import { visible } from "./text.js";

const MAX_LABEL = 40; // characters of a prompt on its button

// Replace the text as if the user had typed it, so that it can be undone.
function replaceText(text) {
  const area = $("text");
  area.value = text;
  area.setSelectionRange(text.length, text.length);
  area.dispatchEvent(new InputEvent("input"));
}

function writeFrom(text) {
  replaceText(text);
  $("continue").click();
}

function offerPrompts() {
  const label = (prompt) => {
    const characters = Array.from(prompt, (character) => (character === " " ? character : visible(character)));
    return characters.length > MAX_LABEL ? `${characters.slice(0, MAX_LABEL).join("")}…` : characters.join("");
  };
  $("prompts").append(...PROMPTS.map((prompt) => make("button", { type: "button", text: label(prompt), onclick: () => writeFrom(prompt) })));
  $("prompts").hidden = PROMPTS.length < 2;
}

function choose(id) {
  const menu = $("model");
  if (menu.value === id) return;
  menu.value = id;
  menu.dispatchEvent(new Event("change"));
}

// Let each card select its model, and continue its samples.
function offerCards() {
  document.querySelectorAll("#about article").forEach((card, at) => {
    const pick = card.querySelector("button.pick");
    pick.hidden = MODELS.length < 2;
    pick.onclick = () => {
      choose(MODELS[at].id);
      focusEditor();
    };
    for (const sample of card.querySelectorAll(".sample")) {
      const button = sample.querySelector("button");
      button.hidden = false;
      button.onclick = () => {
        choose(MODELS[at].id);
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

offerPrompts();
offerCards();
// on the first visit the page starts to write
if (!$("text").value) setTimeout(() => writeFrom(PROMPTS[0] ?? ""), 0);
