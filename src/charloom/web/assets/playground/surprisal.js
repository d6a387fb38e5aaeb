// The surprisal of each character in bits, as far as the text is still the one that was scored.

import { countCharacters, firstCharacters } from "./code_points.js";
import { MODEL } from "./document_model.js";

export const LEVELS = 7; // shades; the last is for this number of bits and more
export const MAX_CHARACTERS = 100_000; // characters in one request

export class Surprisals {
  constructor(server) {
    this.server = server;
    this.reset();
  }

  reset() { Object.assign(this, { bits: [], known: 0 }); }

  // A character's surprisal depends only on what precedes it, so those before a change stay valid.
  changed(at) { this.known = Math.min(this.known, at); }

  // Score a text; returns whether all of it was scored.
  async score(model, text, signal) {
    const read = firstCharacters(text, MAX_CHARACTERS), rest = countCharacters(read) - 1;
    // the first character has no surprisal, as nothing precedes it; the server rejects a text of only one character
    const surprisals = rest > 0 ? (await this.server.score(model, read, signal)).surprisals : [null];
    const bits = new Array(read.length); // undefined for a code point's second unit
    let unit = 0, character = 0;
    for (const one of read) {
      bits[unit] = surprisals[character++];
      unit += one.length;
    }
    Object.assign(this, { bits, known: read.length });
    return read.length === text.length;
  }

  level(unit) {
    if (unit >= this.known) return 0;
    const bits = this.bits[unit] === undefined ? this.bits[unit - 1] : this.bits[unit];
    return Math.min(LEVELS, Math.floor(bits ?? 0));
  }

  // The mean surprisal of each author's characters, as far as known.
  byAuthor(authors) {
    const sums = { w: [0, 0], m: [0, 0] };
    for (let unit = 0; unit < this.known; unit++) {
      const bits = this.bits[unit] ?? null;
      if (bits === null) continue; // the first character, or a code point's second unit
      const sum = sums[authors[unit] === MODEL ? "m" : "w"];
      sum[0] += bits;
      sum[1]++;
    }
    const mean = ([bits, number]) => (number ? bits / number : null);
    return { writer: mean(sums.w), model: mean(sums.m) };
  }
}
