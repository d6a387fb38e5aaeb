// Generates text in the editor: inserts a continuation, or offers several versions and inserts the accepted one.

import { countCharacters, lastCharacters } from "./code_points.js";
import { CompletionStream, StreamGroup } from "./completion_stream.js";
import { randomSeed } from "./settings.js";

export const MAX_PROMPT = 100_000; // characters before the cursor that are sent

export class Generation {
  // callbacks: {changed(offset), appended(offset), finished(streams, choosing), failed(error)}; choosing: versions are offered
  constructor(server, doc, editor, choices, callbacks) {
    Object.assign(this, { server, doc, editor, choices, callbacks, group: null, edit: null, range: null });
  }

  get busy() { return this.group !== null; }

  // Replace a range of the text, [start, end], with a continuation of the text before it. newSeed: ignore the seed setting.
  start(model, range, settings, newSeed) {
    const seed = newSeed || settings.seed === null ? randomSeed() : settings.seed;
    const streams = Array.from({ length: settings.versions }, (_, i) => new CompletionStream(seed + i, () => {}));
    const prompt = lastCharacters(this.doc.text.slice(0, range[0]), MAX_PROMPT);
    this.range = range;
    if (streams.length > 1) this.#showChoices(streams);
    else this.#insert(streams[0]);
    const group = this.group = new StreamGroup(streams, this.server, { model, prompt, ...settings.request });
    group.ended.then(() => { if (this.group === group) this.#streamsEnded(); });
    this.callbacks.changed();
  }

  #showChoices(streams) {
    this.choices.show(streams);
    this.editor.area.readOnly = true; // digit keys accept a version
  }

  // Insert the text of a stream: what it has shown so far and what follows.
  #insert(stream) {
    const edit = this.edit = this.doc.beginGeneration(...this.range, this.editor.selection);
    stream.sink = (more) => {
      this.doc.appendGenerated(edit, more);
      const end = edit.at + edit.inserted.length;
      this.callbacks.changed(end);
      this.callbacks.appended(end);
    };
    this.callbacks.changed(edit.at);
    if (stream.shown) stream.sink(stream.shown);
  }

  stop() {
    this.group?.stop();
    this.#streamsEnded();
  }

  #streamsEnded() {
    if (!this.group) return;
    const { streams, error } = this.group;
    this.group = null;
    this.#finish();
    if (this.choices.open) {
      this.choices.showResults();
      if (streams.every((stream) => stream.error && !stream.shown)) this.discard();
    }
    this.callbacks.finished(streams, this.choices.open);
    if (error) this.callbacks.failed(error);
    this.callbacks.changed();
  }

  #finish() {
    if (this.edit) this.doc.finishGeneration(this.edit);
    this.edit = null;
  }

  // Accept one of several versions. If it is still streaming, the rest is appended in the editor.
  accept(i) {
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

  // Discard all versions.
  discard() {
    this.group?.stop();
    this.group = null;
    this.#finish();
    this.#closeChoices();
    this.callbacks.changed();
  }

  #closeChoices() {
    const { area } = this.editor, hadFocus = this.choices.container.contains(document.activeElement);
    this.choices.close();
    area.readOnly = false;
    if (hadFocus && matchMedia("(pointer: fine)").matches) area.focus({ preventScroll: true }); // a phone would show its keyboard
  }
}

// The status after a generation, {message, data}; `data` describes it for programs. record: whether only the end of the
// record can have stopped it.
export function generationStatus(streams, choosing, record) {
  if (choosing) {
    const hint = matchMedia("(pointer: coarse)").matches ? "Tap one to accept it." : `Press 1 to ${streams.length} to accept one, Escape to discard all.`;
    return { message: `${streams.length} versions. ${hint}`, data: { state: "choosing", versions: streams.length } };
  }
  const [{ seed, shown, reason }] = streams, characters = countCharacters(shown);
  const outcome = { stopped: "Stopped after", stop: record ? "The record ended after" : "Found the stop sequence after" }[reason] ?? "Generated";
  return { message: `${outcome} ${characters.toLocaleString("en")} character${characters === 1 ? "" : "s"} (seed ${seed}).`,
    data: { state: reason === "stopped" ? "stopped" : "done", characters, seed } };
}
