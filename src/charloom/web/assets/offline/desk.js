// One model at work: its engine, which does one thing at a time, and its alphabet.

import { makeAlphabet } from "./alphabet.js";
import { Reading, Slices } from "./reading.js";

const FIRST = 16, MOST = 2048; // characters drawn before the first is shown; in one slice, at most
const AIM = 16; // milliseconds that a slice is to take

// Looks for the string before which a text ends, however the text comes in pieces.
class Stop {
  constructor(string) { Object.assign(this, { string, held: "" }); }

  // Returns what can be shown, and whether the text ends with it.
  take(text, atEnd) {
    const all = this.held + text, end = this.string ? all.indexOf(this.string) : -1;
    if (end >= 0) return [all.slice(0, end), true];
    let open = atEnd ? 0 : Math.min(all.length, this.string.length);
    while (open && !this.string.startsWith(all.slice(-open))) open--;
    this.held = all.slice(all.length - open);
    return [all.slice(0, all.length - open), false];
  }
}

export class Desk {
  constructor(engine, { lines, charloom }) {
    Object.assign(this, { engine, alphabet: makeAlphabet(charloom), reading: new Reading(engine, lines), turn: Promise.resolve() });
  }

  // Resolves with a function to be called when the engine is free again.
  async enter() {
    const before = this.turn;
    let leave;
    this.turn = new Promise((resolve) => { leave = resolve; });
    await before;
    return leave;
  }

  async guesses(text, k, signal) {
    if (text) await this.reading.to(this.alphabet.encode(text), signal);
    else this.engine.begin([]);
    const most = Math.min(k, this.engine.size);
    return this.engine.guesses(most).map(({ id, share }) => ({ text: this.alphabet.name(id), probability: share }));
  }

  // The bits that each letter of a text costs; null for a first one with nothing before it.
  async surprisals(text, signal) {
    await this.reading.to(this.alphabet.encode(text), signal);
    let at = 0;
    return this.alphabet.sizes(text).map((size) => {
      const bits = this.reading.bits.slice(at, at += size);
      return bits.includes(null) ? null : bits.reduce((sum, one) => sum + one, 0);
    });
  }

  // Yields {text, finish_reason} as they are written; the same text as `charloom generate` has for the seed.
  async *write(prompt, { max_tokens: length, temperature, top_p: topP, stop = [""], seed }, signal) {
    const kept = prompt !== ""; // without a prompt it goes on from a character that is not part of the text
    if (kept) await this.reading.to(this.alphabet.encode(prompt), signal);
    else this.engine.begin([]);
    const decode = this.alphabet.decoder(), ending = new Stop(stop[0]), slices = new Slices();
    const options = { temperature, topK: null, topP, minP: 0, repetitionPenalty: 1 };
    let first = BigInt(seed), left = length, size = FIRST;
    for (;;) {
      const began = performance.now(), { ids, bits } = this.engine.sample(Math.min(size, left), { ...options, seed: first });
      const took = Math.max(0.1, performance.now() - began);
      if (kept) this.reading.wrote(ids, bits);
      first = null;
      left -= ids.length;
      const [text, stopped] = ending.take(decode(ids), left === 0);
      yield { text, finish_reason: stopped ? "stop" : left === 0 ? "length" : null };
      if (stopped || left === 0) return;
      size = Math.max(1, Math.min(MOST, 2 * size, Math.round((size * AIM) / took)));
      if (slices.over) await slices.next(signal);
    }
  }
}
