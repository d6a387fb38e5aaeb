// The switch that colours every letter by how much it surprised the model, and when the server is asked for that.

import { $, whole } from "./elements.js";
import { named } from "./letters.js";
import { canColour } from "./paper.js";
import { MOST, Surprise } from "./surprise.js";

const KEPT = "charloom-colours";
const AT_REST = 500; // milliseconds without a change before the text is read again

// How many units two texts begin with alike.
function agreement(one, other) {
  if (one === other) return one.length;
  let length = 0;
  while (length < one.length && one[length] === other[length]) length++;
  return length;
}

export class Colours {
  // ready() says whether the server may be asked now; told: {changed(), said(message), failed(error)}
  constructor(server, manuscript, models, ready, told) {
    Object.assign(this, { manuscript, models, ready, told, timer: null, abort: null });
    this.surprise = new Surprise(server);
    manuscript.whenChanged = (at) => this.surprise.changed(at);
    const box = $("surprise");
    box.checked = canColour && sessionStorage.getItem(KEPT) === "on";
    box.disabled = !canColour;
    if (!canColour) box.nextElementSibling.textContent = "This browser cannot colour letters";
    box.onchange = () => this.#switched();
    this.#dress();
  }

  // What the paper is to show: null while the switch is off.
  get shown() { return $("surprise").checked ? this.surprise : null; }

  #dress() {
    const on = this.shown !== null;
    document.body.classList.toggle("surprised", on);
    $("legend").hidden = !on;
    $("inks").hidden = on;
  }

  #switched() {
    sessionStorage.setItem(KEPT, this.shown ? "on" : "");
    this.#dress();
    this.told.changed();
    this.#read();
  }

  // Another model has other surprises.
  forget() { this.surprise.forget(); }

  // Read the text again when it has been left alone for a moment.
  soon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#read(), AT_REST);
  }

  // The text as far as the model knows its letters, and the first one that it does not know.
  #readable() {
    const { text } = this.manuscript, { vocabulary } = this.models;
    if (vocabulary === null) return [text, null];
    let end = 0;
    for (const letter of text) {
      if (!vocabulary.has(letter)) return [text.slice(0, end), letter];
      end += letter.length;
    }
    return [text, null];
  }

  async #read() {
    clearTimeout(this.timer);
    this.abort?.abort();
    if (!this.shown || !this.ready()) return;
    const [text, strange] = this.#readable();
    if (this.surprise.known >= Math.min(MOST, text.length)) return;
    const { signal } = (this.abort = new AbortController()), { text: all } = this.manuscript;
    try {
      const whollyRead = await this.surprise.ask(this.models.id, text, signal);
      if (signal.aborted) return;
      this.surprise.changed(agreement(this.manuscript.text, all));
      if (!whollyRead) this.told.said(`Only the first ${whole(MOST)} characters are coloured.`);
      else if (strange !== null) this.told.said(`Coloured up to the first character the model does not know: ${named(strange)}.`);
      this.told.changed();
    } catch (error) { if (!signal.aborted) this.told.failed(error); }
  }

  // What the text costs, in words; null while it is not known.
  cost() {
    if (!this.shown || !this.surprise.known) return null;
    const { writer, model } = this.surprise.byAuthor(this.manuscript.authors), bits = (n) => n.toFixed(2);
    if (writer !== null && model !== null) return `bits: ${bits(writer)} yours, ${bits(model)} the model's`;
    return writer === null && model === null ? null : `${bits(writer ?? model)} bits per character`;
  }
}
