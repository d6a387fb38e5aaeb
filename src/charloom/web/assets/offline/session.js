// A loaded model: its engine, which serves one request at a time, its vocabulary, and the cache of what it has read.

import { makeVocabulary } from "./vocabulary.js";
import { PrefixCache, TimeSlices } from "./prefix_cache.js";

const FIRST = 16, MAX_SLICE = 2048; // characters of the first slice; of the largest
const AIM = 16; // milliseconds that a slice should take

// Finds a stop sequence in a text that arrives in pieces.
class StopSequence {
  constructor(string) { Object.assign(this, { string, held: "" }); }

  // Returns the text that can be shown, and whether the stop sequence was found.
  filter(text, atEnd) {
    const all = this.held + text, end = this.string ? all.indexOf(this.string) : -1;
    if (end >= 0) return [all.slice(0, end), true];
    let open = atEnd ? 0 : Math.min(all.length, this.string.length);
    while (open && !this.string.startsWith(all.slice(-open))) open--;
    this.held = all.slice(all.length - open);
    return [all.slice(0, all.length - open), false];
  }
}

export class Session {
  constructor(engine, { lines, charloom }) {
    Object.assign(this, { engine, vocabulary: makeVocabulary(charloom), cache: new PrefixCache(engine, lines), turn: Promise.resolve() });
  }

  // Wait for the engine; resolves with a function that releases it.
  async acquire() {
    const previous = this.turn;
    let release;
    this.turn = new Promise((resolve) => { release = resolve; });
    await previous;
    return release;
  }

  async topPredictions(text, k, signal) {
    if (text) await this.cache.readTo(this.vocabulary.encode(text), signal);
    else this.engine.begin([]);
    const max = Math.min(k, this.engine.size);
    return this.engine.topPredictions(max).map(({ id, probability }) => ({ text: this.vocabulary.name(id), probability }));
  }

  // The surprisal of each character in bits; null for the first one if nothing precedes it.
  async surprisals(text, signal) {
    await this.cache.readTo(this.vocabulary.encode(text), signal);
    let at = 0;
    return this.vocabulary.sizes(text).map((size) => {
      const bits = this.cache.bits.slice(at, at += size);
      return bits.includes(null) ? null : bits.reduce((sum, one) => sum + one, 0);
    });
  }

  // Yields {text, finish_reason} as they are generated: the same text as `charloom generate` for the seed.
  async *write(prompt, { max_tokens: length, temperature, top_p: topP, stop = [""], seed }, signal) {
    const cached = prompt !== ""; // without a prompt, generation starts from a character that is not part of the text
    if (cached) await this.cache.readTo(this.vocabulary.encode(prompt), signal);
    else this.engine.begin([]);
    const decode = this.vocabulary.decoder(), stopSequence = new StopSequence(stop[0]), slices = new TimeSlices();
    const options = { temperature, topK: null, topP, minP: 0, repetitionPenalty: 1 };
    let firstSeed = BigInt(seed), remaining = length, size = FIRST;
    for (;;) {
      const start = performance.now(), { ids, bits } = this.engine.sample(Math.min(size, remaining), { ...options, seed: firstSeed });
      const took = Math.max(0.1, performance.now() - start);
      if (cached) this.cache.append(ids, bits);
      firstSeed = null;
      remaining -= ids.length;
      const [text, stopped] = stopSequence.filter(decode(ids), remaining === 0);
      yield { text, finish_reason: stopped ? "stop" : remaining === 0 ? "length" : null };
      if (stopped || remaining === 0) return;
      size = Math.max(1, Math.min(MAX_SLICE, 2 * size, Math.round((size * AIM) / took)));
      if (slices.over) await slices.next(signal);
    }
  }
}
