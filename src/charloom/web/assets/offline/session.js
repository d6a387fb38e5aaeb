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

export class Session {
  constructor(engine, { lines, charloom }) {
    Object.assign(this, { engine, vocabulary: makeVocabulary(charloom), cache: new PrefixCache(engine, lines), queue: Promise.resolve() });
  }

  // Wait until the engine is free; resolves with a function that releases it.
  async acquire() {
    const previous = this.queue;
    let release;
    this.queue = new Promise((resolve) => { release = resolve; });
    await previous;
    return release;
  }

  async topPredictions(text, k, signal) {
    if (text) await this.cache.readTo(this.vocabulary.encode(text), signal);
    else this.engine.begin([]);
    const max = Math.min(k, this.engine.size);
    return this.engine.topPredictions(max).map(({ id, probability }) => ({ text: this.vocabulary.name(id), probability }));
  }

  // The surprisal of each character in bits. It is null for the first character, except in line models.
  async surprisals(text, signal) {
    await this.cache.readTo(this.vocabulary.encode(text), signal);
    let at = 0;
    return this.vocabulary.sizes(text).map((size) => {
      const bits = this.cache.bits.slice(at, at += size);
      return bits.includes(null) ? null : bits.reduce((sum, one) => sum + one, 0);
    });
  }

  // Yields pieces of text, {text, finish_reason}, as they are generated. The same seed gives the same text as `charloom generate`.
  async *generate(prompt, { max_tokens: length, temperature, top_p: topP, stop = [""], seed }, signal) {
    const cached = prompt !== ""; // without a prompt, the engine reads a start id that is not part of the text
    if (cached) await this.cache.readTo(this.vocabulary.encode(prompt), signal);
    else this.engine.begin([]);
    const decode = this.vocabulary.decoder(), stopSequence = new StopSequence(stop[0]), slices = new TimeSlices();
    const options = { temperature, topK: null, topP, minP: 0, repetitionPenalty: 1 };
    let firstSeed = BigInt(seed), remaining = length, size = FIRST_SLICE;
    for (;;) {
      const start = performance.now(), { ids, bits } = this.engine.sample(Math.min(size, remaining), { ...options, seed: firstSeed });
      const duration = Math.max(0.1, performance.now() - start);
      if (cached) this.cache.append(ids, bits);
      firstSeed = null;
      remaining -= ids.length;
      const [text, stopped] = stopSequence.filter(decode(ids), remaining === 0);
      yield { text, finish_reason: stopped ? "stop" : remaining === 0 ? "length" : null };
      if (stopped || remaining === 0) return;
      size = Math.max(1, Math.min(MAX_SLICE, 2 * size, Math.round((size * SLICE_TIME) / duration)));
      if (slices.over) await slices.next(signal);
    }
  }
}
