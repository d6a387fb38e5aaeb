// Shows one notice at a time, with buttons for actions, and the dialog that asks for the access token.

import { $, make } from "./dom.js";

export class Notice {
  constructor() { this.kind = null; }

  // actions: [label, function][]; a button that dismisses the notice is always added. kind: identifies the notice.
  show(message, actions = [], kind = "error") {
    this.kind = kind;
    const container = $("notice"), dismiss = ["Dismiss", () => {}];
    container.querySelector("p").textContent = message;
    container.querySelector(".row").replaceChildren(...[...actions, dismiss].map(([text, handler]) =>
      make("button", { type: "button", text, onclick: () => this.#choose(handler) })));
    container.dataset.kind = kind;
    container.hidden = false;
  }

  #choose(handler) {
    if ($("notice").contains(document.activeElement)) $("text").focus(); // the focused button disappears
    this.clear();
    handler();
  }

  // Dismiss the notice if it is of this kind.
  clear(kind = this.kind) {
    if (kind !== this.kind) return;
    this.kind = null;
    $("notice").hidden = true;
  }
}

// Resolves with the entered token, or null if the dialog is closed. rejected: whether the server rejected the last token.
export function askForToken(rejected) {
  const dialog = $("token-dialog"), field = $("token");
  const source = "Enter the token that was set with --token when the server was started.";
  dialog.dataset.rejected = rejected;
  $("token-message").textContent = rejected ? `The token was not accepted. ${source}` : `${source} It is stored only in this browser tab.`;
  field.value = "";
  dialog.showModal();
  return new Promise((resolve) => {
    let entered = null;
    dialog.querySelector("form").onsubmit = (event) => {
      event.preventDefault();
      entered = field.value.trim() || null;
      dialog.close();
    };
    $("token-cancel").onclick = () => dialog.close();
    dialog.onclose = () => resolve(entered);
  });
}
