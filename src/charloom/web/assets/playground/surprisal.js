// The surprisal of each character in bits, up to the first change since the text was scored.

import { countCharacters, firstCharacters } from "./code_points.js";
import { MODEL } from "./document_model.js";

export const LEVELS = 7; // shades, one for each whole number of bits; the last is for 7 bits or more
export const MAX_CHARACTERS = 100_000; // characters per request

export class Surprisals {
  constructor(server) {
    this.server = server;
    this.reset();
  }

  reset() { Object.assign(this, { bits: [], known: 0 }); }

  // The text has changed at an offset. A surprisal depends only on preceding characters, so those before stay valid.
  changed(at) { this.known = Math.min(this.known, at); }

  // Score a text; returns whether all of it was scored.
  async score(model, text, signal) {
    const scored = firstCharacters(text, MAX_CHARACTERS);
    // the first character has no surprisal because nothing precedes it, so the server rejects a text of one character
    const surprisals = countCharacters(scored) > 1 ? (await this.server.score(model, scored, signal)).surprisals : [null];
    const bits = new Array(scored.length); // undefined for a code point's second unit
    let unit = 0, character = 0;
    for (const codePoint of scored) {
      bits[unit] = surprisals[character++];
      unit += codePoint.length;
    }
    Object.assign(this, { bits, known: scored.length });
    return scored.length === text.length;
  }

  // The shade of a UTF-16 unit, 0 (none) to LEVELS.
  level(unit) {
    if (unit >= this.known) return 0;
    const bits = this.bits[unit] === undefined ? this.bits[unit - 1] : this.bits[unit];
    return Math.min(LEVELS, Math.floor(bits ?? 0));
  }

  // The mean surprisal of the characters that each author wrote, {writer, model}; null without any.
  byAuthor(authors) {
    const sums = { w: [0, 0], m: [0, 0] };
    for (let unit = 0; unit < this.known; unit++) {
      const bits = this.bits[unit] ?? null;
      if (bits === null) continue; // the first character, or a code point's second unit
      const sum = sums[authors[unit] === MODEL ? "m" : "w"];
      sum[0] += bits;
      sum[1]++;
    }
    const mean = ([bits, count]) => (count ? bits / count : null);
    return { writer: mean(sums.w), model: mean(sums.m) };
  }
}
