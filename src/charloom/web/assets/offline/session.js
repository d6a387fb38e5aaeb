// A loaded model: its engine, which serves one request at a time, its vocabulary, and its prefix cache.

import { makeVocabulary } from "./vocabulary.js";
import { PrefixCache, TimeSlices } from "./prefix_cache.js";
import { Records } from "./records.js";

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

export class Session {
  constructor(engine, model) {
    const vocabulary = makeVocabulary(model.charloom), records = new Records(model, vocabulary);
    Object.assign(this, { engine, vocabulary, records, cache: new PrefixCache(engine, model.lines || records.enabled), queue: Promise.resolve() });
  }

  // Wait until the engine is free; resolves with a function that releases it.
  async acquire() {
    const previous = this.queue;
    let release;
    this.queue = new Promise((resolve) => { release = resolve; });
    await previous;
    return release;
  }

  // label: of the record, or null for any, as in the other methods
  async topPredictions(text, k, label, signal) {
    const ids = [...this.records.hidden(label, 0), ...this.vocabulary.encode(text)];
    if (ids.length) await this.cache.readTo(ids, signal);
    else this.engine.begin([]);
    const max = Math.min(k, this.engine.size);
    return this.engine.topPredictions(max).map(({ id, probability }) => ({ text: this.records.name(this.vocabulary.name(id)), probability }));
  }

  // The surprisal of each character in bits. It is null for the first character, except in models of lines or records.
  async surprisals(text, label, signal) {
    const hidden = this.records.hidden(label, 0);
    await this.cache.readTo([...hidden, ...this.vocabulary.encode(text)], signal);
    let at = hidden.length;
    return this.vocabulary.sizes(text).map((size) => {
      const bits = this.cache.bits.slice(at, at += size);
      return bits.includes(null) ? null : bits.reduce((sum, one) => sum + one, 0);
    });
  }

  // Yields pieces of text, {text, finish_reason}, as they are generated. The same seed gives the same text as `charloom generate`.
  async *generate(prompt, { max_tokens: length, temperature, top_p: topP, stop = [""], seed, label = null }, signal) {
    const read = [...this.records.hidden(label, seed), ...this.vocabulary.encode(prompt)];
    const cached = read.length > 0; // otherwise, the engine only reads a start id that is not part of the text
    if (cached) await this.cache.readTo(read, signal);
    else this.engine.begin([]);
    const decode = this.vocabulary.decoder(), stopSequence = new StopSequence(stop[0]), slices = new TimeSlices();
    const options = { temperature, topK: null, topP, minP: 0, repetitionPenalty: 1 };
    let firstSeed = BigInt(seed), remaining = length, size = FIRST_SLICE;
    for (;;) {
      const start = performance.now(), { ids, bits } = this.engine.sample(Math.min(size, remaining), { ...options, seed: firstSeed });
      const duration = Math.max(0.1, performance.now() - start);
      const end = this.records.endOf(ids), ended = end >= 0;
      if (cached && !ended) this.cache.append(ids, bits); // after the end, the engine is in another record
      firstSeed = null;
      remaining -= ids.length;
      const [text, stopped] = stopSequence.filter(decode(ended ? ids.slice(0, end) : ids), ended || remaining === 0);
      yield { text, finish_reason: stopped || ended ? "stop" : remaining === 0 ? "length" : null };
      if (stopped || ended || remaining === 0) return;
      size = Math.max(1, Math.min(MAX_SLICE, 2 * size, Math.round((size * SLICE_TIME) / duration)));
      if (slices.over) await slices.next(signal);
    }
  }
}
