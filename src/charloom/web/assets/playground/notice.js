// What has to be said aloud: one notice at a time, with what can be done about it; and the question for the token.

import { $, make } from "./elements.js";

export class Notice {
  constructor() { this.kind = null; }

  // actions: [label, function] each; a notice can always be put away
  show(message, actions = [], kind = "error") {
    this.kind = kind;
    const place = $("notice"), putAway = ["Dismiss", () => {}];
    place.querySelector("p").textContent = message;
    place.querySelector(".row").replaceChildren(...[...actions, putAway].map(([text, does]) =>
      make("button", { type: "button", text, onclick: () => this.#done(does) })));
    place.hidden = false;
  }

  #done(does) {
    if ($("notice").contains(document.activeElement)) $("text").focus(); // the button that had the focus goes
    this.clear();
    does();
  }

  // Put the notice away, if it is of that kind.
  clear(kind = this.kind) {
    if (kind !== this.kind) return;
    this.kind = null;
    $("notice").hidden = true;
  }
}

// Resolves with the token that was typed, or null.
export function askForToken(again) {
  const door = $("door"), field = $("token");
  $("door-said").textContent = again ? "That token was not accepted. It is the one given with --token when the server was started."
    : "It was given with --token when the server was started. It is kept in this tab alone.";
  field.value = "";
  door.showModal();
  return new Promise((resolve) => {
    let typed = null;
    door.querySelector("form").onsubmit = (event) => {
      event.preventDefault();
      typed = field.value.trim() || null;
      door.close();
    };
    $("door-close").onclick = () => door.close();
    door.onclose = () => resolve(typed);
  });
}
