// What stands around the writing area: prompts to begin with, and the models with what they wrote before.

import { $, make } from "./elements.js";
import { visible } from "./letters.js";
import { MODELS, PROMPTS } from "./server.js";

const LONGEST = 40; // characters of a prompt on its button

// Put a text in the place of the one that is there, as a reader would who typed it: it can be taken back.
function put(text) {
  const area = $("text");
  area.value = text;
  area.setSelectionRange(text.length, text.length);
  area.dispatchEvent(new InputEvent("input"));
}

function begin(text) {
  put(text);
  $("continue").click();
}

function offerPrompts() {
  const label = (prompt) => {
    const letters = Array.from(prompt, (letter) => (letter === " " ? letter : visible(letter)));
    return letters.length > LONGEST ? `${letters.slice(0, LONGEST).join("")}…` : letters.join("");
  };
  $("prompts").append(...PROMPTS.map((prompt) => make("button", { type: "button", text: label(prompt), onclick: () => begin(prompt) })));
  $("prompts").hidden = PROMPTS.length < 2;
}

function choose(id) {
  const menu = $("model");
  if (menu.value === id) return;
  menu.value = id;
  menu.dispatchEvent(new Event("change"));
}

// Every card becomes a way to the writing area.
function offerCards() {
  document.querySelectorAll("#about article").forEach((card, at) => {
    const pick = card.querySelector("button.pick");
    pick.hidden = MODELS.length < 2;
    pick.onclick = () => {
      choose(MODELS[at].id);
      goThere();
    };
    for (const sample of card.querySelectorAll(".sample")) {
      const take = sample.querySelector("button");
      take.hidden = false;
      take.onclick = () => {
        choose(MODELS[at].id);
        put(sample.querySelector("pre").textContent);
        goThere();
      };
    }
  });
}

function goThere() {
  $("text").focus();
  scrollTo(0, 0);
}

offerPrompts();
offerCards();
// who opens the page for the first time sees it write
if (!$("text").value) setTimeout(() => begin(PROMPTS[0] ?? ""), 0);
