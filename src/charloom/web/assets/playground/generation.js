// Generation in the editor: inserts the model's text, offers several versions, and applies the chosen one.

import { countCharacters, lastCharacters } from "./code_points.js";
import { CompletionStream, StreamGroup } from "./completion_stream.js";
import { randomSeed } from "./settings.js";

export const MAX_PROMPT = 100_000; // characters before the cursor that are sent

export class Generation {
  // callbacks: {changed(), grew(offset), finished(streams, several), failed(error)}
  constructor(server, doc, editor, choices, callbacks) {
    Object.assign(this, { server, doc, editor, choices, callbacks, group: null, edit: null, range: null });
  }

  get busy() { return this.group !== null; }

  // Replace a range of the text, [start, end], by the model's continuation.
  start(model, range, settings, newSeed) {
    const seed = newSeed || settings.seed === null ? randomSeed() : settings.seed;
    const streams = Array.from({ length: settings.versions }, (_, i) => new CompletionStream(seed + i, () => {}));
    const prompt = lastCharacters(this.doc.text.slice(0, range[0]), MAX_PROMPT);
    this.range = range;
    if (streams.length > 1) this.#showChoices(streams);
    else this.#insert(streams[0]);
    const group = this.group = new StreamGroup(streams, this.server, { model, prompt, ...settings.request });
    group.ended.then(() => { if (this.group === group) this.#settle(); });
    this.callbacks.changed();
  }

  #showChoices(streams) {
    this.choices.show(streams);
    this.editor.area.readOnly = true; // digit keys choose now
  }

  // Insert what a stream has shown and will show.
  #insert(stream) {
    const edit = this.edit = this.doc.beginGeneration(...this.range, this.editor.selection);
    stream.sink = (more) => {
      this.doc.appendGenerated(edit, more);
      const end = edit.at + edit.inserted.length;
      this.callbacks.changed(end);
      this.callbacks.grew(end);
    };
    this.callbacks.changed(edit.at);
    if (stream.shown) stream.sink(stream.shown);
  }

  stop() {
    this.group?.stop();
    this.#settle();
  }

  // All streams have ended.
  #settle() {
    if (!this.group) return;
    const { streams, error } = this.group;
    this.group = null;
    this.#finish();
    if (this.choices.open) {
      this.choices.showResults();
      if (streams.every((stream) => stream.error && !stream.shown)) this.dismiss();
    }
    this.callbacks.finished(streams, this.choices.open);
    if (error) this.callbacks.failed(error);
    this.callbacks.changed();
  }

  #finish() {
    if (this.edit) this.doc.finishGeneration(this.edit);
    this.edit = null;
  }

  // Take one of several versions; if it is still streaming, it continues in the text.
  pick(i) {
    const stream = this.choices.streams[i];
    if (!stream) return;
    this.#closeChoices();
    this.group?.keepOnly(stream);
    this.#insert(stream);
    if (!this.group) {
      this.#finish();
      this.callbacks.finished([stream], false);
    }
    this.callbacks.changed();
  }

  dismiss() {
    this.group?.stop();
    this.group = null;
    this.#finish();
    this.#closeChoices();
    this.callbacks.changed();
  }

  #closeChoices() {
    const { area } = this.editor, within = this.choices.container.contains(document.activeElement);
    this.choices.close();
    area.readOnly = false;
    if (within && matchMedia("(pointer: fine)").matches) area.focus({ preventScroll: true }); // a phone would show its keyboard
  }
}

// The status message after a generation.
export function resultMessage(streams, several) {
  if (several) {
    const how = matchMedia("(pointer: coarse)").matches ? "Tap the one to take." : `Press 1 to ${streams.length} to take one, Escape for none.`;
    return `${streams.length} versions. ${how}`;
  }
  const [{ seed, shown, reason }] = streams, characters = countCharacters(shown);
  const how = { stopped: "Stopped after", stop: "Came to the stop after" }[reason] ?? "Wrote";
  return `${how} ${characters.toLocaleString("en")} character${characters === 1 ? "" : "s"}, seed ${seed}.`;
}
