// The five likeliest characters for the cursor's place, to be taken by a click or by Alt and a digit.

import { make } from "./elements.js";
import { ending, spoken, visible } from "./letters.js";

const EACH = 5, PAUSE = 120; // guesses; milliseconds without a key before the server is asked
const READ = 4000; // characters before the cursor: what is farther away changes nothing one could see, but costs time

// A model of bytes may guess a part of a letter, which the server names by its number; that cannot be written.
const isLetter = (text) => [...text].length === 1;

export class Guesses {
  // take(text) is given what was chosen; failed(error) what went wrong
  constructor(place, server, take, failed) {
    Object.assign(this, { place, server, failed, guesses: null, wanted: null, timer: null, abort: null });
    this.take = take;
    this.buttons = Array.from({ length: EACH }, (_, i) => make("button", { type: "button", "aria-keyshortcuts": `Alt+${i + 1}`,
      onclick: () => this.choose(i) }));
    place.append(...this.buttons.map((button) => make("li", {}, button)));
  }

  // What of a text is read.
  read(text) { return ending(text, this.server.reads ?? READ); }

  ask(model, text) {
    this.#drop();
    this.timer = setTimeout(async () => {
      this.abort = new AbortController();
      const { signal } = this.abort;
      try {
        const guesses = await this.server.guesses(model, this.read(text), EACH, signal);
        if (!signal.aborted) this.#show(guesses);
      } catch (error) {
        if (signal.aborted) return;
        this.hide();
        this.failed(error);
      }
    }, PAUSE);
  }

  // What is shown is not of this place any more; it stays to be seen until the next comes.
  #drop() {
    clearTimeout(this.timer);
    this.abort?.abort();
    this.guesses = null;
  }

  hide() {
    this.pause();
    this.place.hidden = true;
  }

  // Not now; but their room is kept, so that nothing moves.
  pause() {
    this.#drop();
    this.wanted = null;
    this.place.classList.add("paused");
  }

  #show(guesses) {
    this.guesses = guesses;
    this.place.hidden = guesses.length === 0;
    this.place.classList.remove("paused");
    this.buttons.forEach((button, i) => {
      button.parentElement.hidden = i >= guesses.length;
      if (i < guesses.length) this.#fill(button, guesses[i], i);
    });
    const wanted = this.wanted;
    this.wanted = null;
    if (wanted !== null) this.choose(wanted);
  }

  #fill(button, { text, probability }, i) {
    const percent = probability >= 0.0995 ? (100 * probability).toFixed(0) : probability >= 0.001 ? (100 * probability).toPrecision(2) : "< 0.1";
    button.replaceChildren(make("kbd", { text: visible(text) }), make("span", { text: `${percent} %` }));
    button.setAttribute("aria-label", `${spoken(text)}, ${percent} percent`);
    button.title = `Alt+${i + 1}`;
    button.disabled = !isLetter(text);
    button.style.setProperty("--share", probability);
  }

  // Take one; if the server has not answered yet for this place, as soon as it has.
  choose(i) {
    if (this.place.hidden || this.place.classList.contains("paused")) return;
    if (this.guesses === null) this.wanted = i;
    else if (isLetter(this.guesses[i]?.text ?? "")) this.take(this.guesses[i].text);
  }
}
