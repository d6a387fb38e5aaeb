// The five most likely next characters at the cursor, inserted by a click or by Alt and a digit.

import { make } from "./dom.js";
import { lastCharacters, spoken } from "./code_points.js";
import { visible } from "./text.js";

const COUNT = 5, PAUSE = 120; // predictions; milliseconds without a key before the request
const CONTEXT = 4000; // characters before the cursor: more would take time and change nothing visible

// A byte model may predict a part of a character, which the server names by its number; that cannot be inserted.
const isCharacter = (text) => [...text].length === 1;

export class TopPredictions {
  // take(text) receives the chosen character; failed(error) an error
  constructor(container, server, take, failed) {
    Object.assign(this, { container, server, failed, predictions: null, pending: null, timer: null, abort: null });
    this.take = take;
    this.buttons = Array.from({ length: COUNT }, (_, i) => make("button", { type: "button", "aria-keyshortcuts": `Alt+${i + 1}`,
      onclick: () => this.choose(i) }));
    container.append(...this.buttons.map((button) => make("li", {}, button)));
  }

  // The part of a text that predictions depend on.
  context(text) { return lastCharacters(text, this.server.predictionContext ?? CONTEXT); }

  request(model, text) {
    this.#drop();
    this.timer = setTimeout(async () => {
      this.abort = new AbortController();
      const { signal } = this.abort;
      try {
        const predictions = await this.server.topPredictions(model, this.context(text), COUNT, signal);
        if (!signal.aborted) this.#show(predictions);
      } catch (error) {
        if (signal.aborted) return;
        this.hide();
        this.failed(error);
      }
    }, PAUSE);
  }

  // Discard the predictions; the old ones stay visible until the next arrive.
  #drop() {
    clearTimeout(this.timer);
    this.abort?.abort();
    this.predictions = null;
  }

  hide() {
    this.pause();
    this.container.hidden = true;
  }

  // Pause, but keep their space, so that nothing moves.
  pause() {
    this.#drop();
    this.pending = null;
    this.container.classList.add("paused");
  }

  #show(predictions) {
    this.predictions = predictions;
    this.container.hidden = predictions.length === 0;
    this.container.classList.remove("paused");
    this.buttons.forEach((button, i) => {
      button.parentElement.hidden = i >= predictions.length;
      if (i < predictions.length) this.#fill(button, predictions[i], i);
    });
    const pending = this.pending;
    this.pending = null;
    if (pending !== null) this.choose(pending);
  }

  #fill(button, { text, probability }, i) {
    const percent = probability >= 0.0995 ? (100 * probability).toFixed(0) : probability >= 0.001 ? (100 * probability).toPrecision(2) : "< 0.1";
    button.replaceChildren(make("kbd", { text: visible(text) }), make("span", { text: `${percent} %` }));
    button.setAttribute("aria-label", `${spoken(text)}, ${percent} percent`);
    button.title = `Alt+${i + 1}`;
    button.disabled = !isCharacter(text);
    button.style.setProperty("--share", probability);
  }

  // Insert one; if the server has not answered yet, as soon as it has.
  choose(i) {
    if (this.container.hidden || this.container.classList.contains("paused")) return;
    if (this.predictions === null) this.pending = i;
    else if (isCharacter(this.predictions[i]?.text ?? "")) this.take(this.predictions[i].text);
  }
}
