// Colors every character by its surprisal while the switch is on, and requests the surprisals from the server.

import { $, whole } from "./dom.js";
import { describeCharacter } from "./code_points.js";
import { canColor } from "./editor.js";
import { storage } from "./storage.js";
import { MAX_CHARACTERS, Surprisals } from "./surprisal.js";
import { commonPrefixLength } from "./text.js";

const STORAGE_KEY = "charloom-colors";
const DELAY = 500; // milliseconds without a change before the text is scored again

export class Colors {
  // ready() returns whether requests may be sent now; callbacks: {changed(), status(message), failed(error)}
  constructor(server, doc, models, ready, callbacks) {
    Object.assign(this, { doc, models, ready, callbacks, timer: null, abort: null });
    this.surprisals = new Surprisals(server);
    doc.onChange = (at) => this.surprisals.changed(at);
    const box = $("surprisal");
    box.checked = canColor && storage.getItem(STORAGE_KEY) === "on";
    box.disabled = !canColor;
    if (!canColor) box.nextElementSibling.textContent = "This browser cannot color text";
    box.onchange = () => this.#switched();
    this.#update();
  }

  // The surprisals to show in the editor, or null while the switch is off.
  get shown() { return $("surprisal").checked ? this.surprisals : null; }

  #update() {
    const on = this.shown !== null;
    document.body.classList.toggle("show-surprisal", on);
    $("legend").hidden = !on;
    $("authors").hidden = on;
  }

  #switched() {
    storage.setItem(STORAGE_KEY, this.shown ? "on" : "");
    this.#update();
    this.callbacks.changed();
    this.#score();
  }

  // Discard all surprisals, because another model was selected.
  reset() { this.surprisals.reset(); }

  // Score the text again after a pause.
  schedule() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#score(), DELAY);
  }

  // The text up to the first character outside the model's vocabulary, and that character or null.
  #knownPrefix() {
    const { text } = this.doc, { vocabulary } = this.models;
    if (vocabulary === null) return [text, null];
    let end = 0;
    for (const character of text) {
      if (!vocabulary.has(character)) return [text.slice(0, end), character];
      end += character.length;
    }
    return [text, null];
  }

  async #score() {
    clearTimeout(this.timer);
    this.abort?.abort();
    if (!this.shown || !this.ready()) return;
    const [text, unknown] = this.#knownPrefix();
    if (this.surprisals.known >= Math.min(MAX_CHARACTERS, text.length)) return;
    const { signal } = (this.abort = new AbortController()), { text: scored } = this.doc;
    try {
      const complete = await this.surprisals.score(this.models.id, text, signal);
      if (signal.aborted) return;
      this.surprisals.changed(commonPrefixLength(this.doc.text, scored));
      if (!complete) this.callbacks.status(`Only the first ${whole(MAX_CHARACTERS)} characters are colored.`);
      else if (unknown !== null) this.callbacks.status(`Colored only up to the first character outside the model's vocabulary: ${describeCharacter(unknown)}.`);
      this.callbacks.changed();
    } catch (error) { if (!signal.aborted) this.callbacks.failed(error); }
  }

  // The mean surprisal as text, or null if it is not known.
  summary() {
    if (!this.shown || !this.surprisals.known) return null;
    const { writer, model } = this.surprisals.byAuthor(this.doc.authors), bits = (n) => n.toFixed(2);
    if (writer !== null && model !== null) return `bits: ${bits(writer)} typed, ${bits(model)} generated`;
    return writer === null && model === null ? null : `${bits(writer ?? model)} bits per character`;
  }
}
