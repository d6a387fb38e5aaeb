// A loaded model: its engine, which serves one request at a time, its vocabulary, and its prefix cache.

import { makeVocabulary } from "./vocabulary.js";
import { PrefixCache, TimeSlices } from "./prefix_cache.js";

const FIRST_SLICE = 16, MAX_SLICE = 2048; // characters
const SLICE_TIME = 16; // milliseconds that a slice should take

// Finds a stop sequence in a text that arrives in pieces.
class StopSequence {
  constructor(string) { Object.assign(this, { string, pending: "" }); }

  // Returns the text that is certainly before the stop sequence, and whether the sequence was found. Text that may be the
  // beginning of the sequence is held back until the next call; atEnd: there is none.
  filter(text, atEnd) {
    const all = this.pending + text, end = this.string ? all.indexOf(this.string) : -1;
    if (end >= 0) return [all.slice(0, end), true];
    let partial = atEnd ? 0 : Math.min(all.length, this.string.length);
    while (partial && !this.string.startsWith(all.slice(-partial))) partial--;
    this.pending = all.slice(all.length - partial);
    return [all.slice(0, all.length - partial), false];
  }
}

const RECORD_MARK = "\x1e", LABEL_MARK = "\x1f"; // the end of a record, and of its label

export class Session {
  // lines, charloom: see charloom.web.model_cards. A model of lines or records begins every text with a hidden mark.
  constructor(engine, { lines, charloom }) {
    const mark = charloom.records === undefined ? null : RECORD_MARK;
    Object.assign(this, { engine, mark, vocabulary: makeVocabulary(charloom), cache: new PrefixCache(engine, lines || mark !== null), queue: Promise.resolve() });
  }

  // The display name of an id. The marks are shown as words, which cannot be inserted.
  #name(id) {
    const name = this.vocabulary.name(id);
    return this.mark === null ? name : { [RECORD_MARK]: "(end)", [LABEL_MARK]: "(label)" }[name] ?? name;
  }

  // The ids of a label, which are read before the text of a record.
  #start(label) { return label ? this.vocabulary.encode(label + LABEL_MARK) : []; }

  // Wait until the engine is free; resolves with a function that releases it.
  async acquire() {
    const previous = this.queue;
    let release;
    this.queue = new Promise((resolve) => { release = resolve; });
    await previous;
    return release;
  }

  async topPredictions(text, k, signal, label) {
    const ids = [...this.#start(label), ...this.vocabulary.encode(text)];
    if (ids.length) await this.cache.readTo(ids, signal);
    else this.engine.begin([]);
    const max = Math.min(k, this.engine.size);
    return this.engine.topPredictions(max).map(({ id, probability }) => ({ text: this.#name(id), probability }));
  }

  // The surprisal of each character in bits. It is null for the first character, except in models of lines or records.
  async surprisals(text, signal, label) {
    const start = this.#start(label);
    await this.cache.readTo([...start, ...this.vocabulary.encode(text)], signal);
    let at = start.length;
    return this.vocabulary.sizes(text).map((size) => {
      const bits = this.cache.bits.slice(at, at += size);
      return bits.includes(null) ? null : bits.reduce((sum, one) => sum + one, 0);
    });
  }

  // Yields pieces of text, {text, finish_reason}, as they are generated. The same seed gives the same text as `charloom generate`.
  async *generate(prompt, { max_tokens: length, temperature, top_p: topP, stop = [""], seed, label }, signal) {
    const start = [...this.#start(label), ...this.vocabulary.encode(prompt)];
    const cached = start.length > 0; // without a prompt, the engine reads a start id that is not part of the text
    if (cached) await this.cache.readTo(start, signal);
    else this.engine.begin([]);
    const decode = this.vocabulary.decoder(), stopSequence = new StopSequence(stop[0]), slices = new TimeSlices();
    const options = { temperature, topK: null, topP, minP: 0, repetitionPenalty: 1 };
    let firstSeed = BigInt(seed), remaining = length, size = FIRST_SLICE;
    for (;;) {
      const began = performance.now(), { ids, bits } = this.engine.sample(Math.min(size, remaining), { ...options, seed: firstSeed });
      const duration = Math.max(0.1, performance.now() - began);
      if (cached) this.cache.append(ids, bits);
      firstSeed = null;
      remaining -= ids.length;
      const more = decode(ids), end = this.mark === null ? -1 : more.indexOf(this.mark); // the end of the record
      const [text, found] = stopSequence.filter(end < 0 ? more : more.slice(0, end), end >= 0 || remaining === 0);
      const stopped = found || end >= 0;
      yield { text, finish_reason: stopped ? "stop" : remaining === 0 ? "length" : null };
      if (stopped || remaining === 0) return;
      size = Math.max(1, Math.min(MAX_SLICE, 2 * size, Math.round((size * SLICE_TIME) / duration)));
      if (slices.over) await slices.next(signal);
    }
  }
}
