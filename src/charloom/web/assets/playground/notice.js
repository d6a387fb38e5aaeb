// Notices, one at a time, with actions; and the dialog that asks for the token.

import { $, make } from "./dom.js";

export class Notice {
  constructor() { this.kind = null; }

  // actions: [label, function] each; a notice can always be dismissed
  show(message, actions = [], kind = "error") {
    this.kind = kind;
    const container = $("notice"), dismiss = ["Dismiss", () => {}];
    container.querySelector("p").textContent = message;
    container.querySelector(".row").replaceChildren(...[...actions, dismiss].map(([text, handler]) =>
      make("button", { type: "button", text, onclick: () => this.#done(handler) })));
    container.hidden = false;
  }

  #done(handler) {
    if ($("notice").contains(document.activeElement)) $("text").focus(); // the focused button disappears
    this.clear();
    handler();
  }

  // Dismiss the notice, if it is of that kind.
  clear(kind = this.kind) {
    if (kind !== this.kind) return;
    this.kind = null;
    $("notice").hidden = true;
  }
}

// Resolves with the token that was entered, or null.
export function askForToken(again) {
  const dialog = $("door"), field = $("token");
  $("door-said").textContent = again ? "That token was not accepted. It is the one given with --token when the server was started."
    : "It was given with --token when the server was started. It is kept in this tab alone.";
  field.value = "";
  dialog.showModal();
  return new Promise((resolve) => {
    let typed = null;
    dialog.querySelector("form").onsubmit = (event) => {
      event.preventDefault();
      typed = field.value.trim() || null;
      dialog.close();
    };
    $("door-close").onclick = () => dialog.close();
    dialog.onclose = () => resolve(typed);
  });
}
