// Shows the top predictions for the character at the cursor. A click, or Alt and a digit, inserts one.

import { make } from "./dom.js";
import { lastCharacters, spoken } from "./code_points.js";
import { visible } from "./text.js";

const COUNT = 5; // predictions
const DELAY = 120; // milliseconds without a key before the request
const CONTEXT = 4000; // characters before the cursor; more would take time without a visible effect

// A byte model may predict part of a character, which the server represents as "\x" and its number. It cannot be inserted.
const isCharacter = (text) => [...text].length === 1;

export class TopPredictions {
  // insert(text) is called with the selected character, failed(error) with an error
  constructor(container, server, insert, failed) {
    Object.assign(this, { container, server, failed, predictions: null, pending: null, timer: null, abort: null });
    this.insert = insert;
    this.buttons = Array.from({ length: COUNT }, (_, i) => make("button", { type: "button", "aria-keyshortcuts": `Alt+${i + 1}`,
      onclick: () => this.select(i) }));
    container.querySelector("ol").append(...this.buttons.map((button) => make("li", {}, button)));
  }

  // The end of a text that predictions are requested for.
  context(text) { return lastCharacters(text, this.server.predictionContext ?? CONTEXT); }

  request(model, text) {
    this.#discard();
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
    }, DELAY);
  }

  // Discard the predictions. They stay visible until the next ones arrive.
  #discard() {
    clearTimeout(this.timer);
    this.abort?.abort();
    this.predictions = null;
  }

  hide() {
    this.pause();
    this.container.hidden = true;
  }

  // Make the predictions invisible but keep their space, so that nothing moves.
  pause() {
    this.#discard();
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
    if (pending !== null) this.select(pending);
  }

  #fill(button, { text, probability }, i) {
    const percent = probability >= 0.0995 ? (100 * probability).toFixed(0) : probability >= 0.001 ? (100 * probability).toPrecision(2) : "< 0.1";
    button.replaceChildren(make("kbd", { text: visible(text) }), make("span", { text: `${percent} %` }));
    button.setAttribute("aria-label", `${spoken(text)}, ${percent} percent`);
    button.title = `Insert ${spoken(text)} (Alt+${i + 1})`;
    button.disabled = !isCharacter(text);
    button.style.setProperty("--probability", probability);
  }

  // Insert a prediction, or if the server has not answered yet, as soon as it has.
  select(i) {
    if (this.container.hidden || this.container.classList.contains("paused")) return;
    if (this.predictions === null) this.pending = i;
    else if (isCharacter(this.predictions[i]?.text ?? "")) this.insert(this.predictions[i].text);
  }
}
