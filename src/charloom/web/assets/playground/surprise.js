// How many bits each letter of the text cost the model, for as far as the text is still the one it read.

import { beginning, count } from "./letters.js";
import { MODEL } from "./manuscript.js";

export const LEVELS = 7; // shades; the last is for this many bits and more
export const MOST = 100_000; // letters that the server reads at once

export class Surprise {
  constructor(server) {
    this.server = server;
    this.forget();
  }

  forget() { Object.assign(this, { bits: [], known: 0 }); }

  // A letter's bits depend on what stands before it alone: those before a change stay right.
  changed(at) { this.known = Math.min(this.known, at); }

  // Returns whether all of the text was read.
  async ask(model, text, signal) {
    const read = beginning(text, MOST), others = count(read) - 1;
    // nothing comes before the first letter: it costs nothing, and alone it is no text that a server would read
    const surprisals = others > 0 ? (await this.server.score(model, read, signal)).surprisals : [null];
    const bits = new Array(read.length); // a letter's second unit has none of its own
    let unit = 0, letter = 0;
    for (const one of read) {
      bits[unit] = surprisals[letter++];
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

  // Mean bits of the letters of each author, of what is known.
  byAuthor(authors) {
    const sums = { w: [0, 0], m: [0, 0] };
    for (let unit = 0; unit < this.known; unit++) {
      const bits = this.bits[unit] ?? null;
      if (bits === null) continue; // the first letter, or a letter's second unit
      const sum = sums[authors[unit] === MODEL ? "m" : "w"];
      sum[0] += bits;
      sum[1]++;
    }
    const mean = ([bits, letters]) => (letters ? bits / letters : null);
    return { writer: mean(sums.w), model: mean(sums.m) };
  }
}
