// Caches the engine's state at positions of the text, so that after a change only the rest is read again.

import { commonPrefixLength } from "./text.js";

const EVERY = 256; // minimum number of characters between two cached states
const SLICE = 20; // milliseconds of work before control returns to the browser

const channel = new MessageChannel(), waiting = [];
channel.port1.onmessage = () => waiting.shift()();

// Let the browser paint and handle events. Resumes at once, where a timer would wait for at least four milliseconds.
function yieldToBrowser() {
  return new Promise((resolve) => {
    waiting.push(resolve);
    channel.port2.postMessage(null);
  });
}

// Says when control should return to the browser.
export class TimeSlices {
  constructor() { this.began = performance.now(); }

  get over() { return performance.now() - this.began > SLICE; }

  // Throws if the work was cancelled meanwhile.
  async next(signal) {
    await yieldToBrowser();
    signal?.throwIfAborted();
    this.began = performance.now();
  }
}

export class PrefixCache {
  // lines: whether a text starts a line, so that a line feed precedes its first character
  constructor(engine, lines) {
    Object.assign(this, { engine, lines, ids: [], bits: [], states: new Map(), last: null, newest: 0 });
  }

  // Drop everything from a position on: the text differs from there.
  #dropFrom(from) {
    this.ids.length = this.bits.length = from;
    for (const at of this.states.keys()) if (at > from) this.states.delete(at);
    if (this.last?.at > from) this.last = null;
    this.newest = Math.max(0, ...this.states.keys());
  }

  #save() {
    const at = this.position;
    this.last = { at, state: this.engine.save() };
    if (at < this.newest + EVERY) return;
    this.states.set(at, this.last.state);
    this.newest = at;
  }

  // Restore the engine's cached state nearest before a length.
  #restore(length) {
    let at = Math.max(0, ...[...this.states.keys()].filter((position) => position <= length));
    let state = this.states.get(at);
    if (this.last && this.last.at <= length && this.last.at >= at) ({ at, state } = this.last);
    if (state) this.engine.restore(state);
    this.position = at;
  }

  // Bring the engine to the end of a text of at least one id, in time slices.
  async readTo(ids, signal) {
    const common = commonPrefixLength(this.ids, ids), slices = new TimeSlices();
    if (common < ids.length) this.#dropFrom(common);
    this.#restore(ids.length);
    if (this.position === 0) this.#begin(ids);
    while (this.position < ids.length) {
      this.#read(ids[this.position]);
      if (this.position >= this.newest + EVERY) this.#save();
      if (slices.over) await slices.next(signal);
    }
    this.#save();
  }

  #begin(ids) {
    this.engine.begin(this.lines ? [] : ids.slice(0, 1));
    if (this.lines) return;
    this.#add(ids[0], null); // nothing precedes it
    this.position = 1;
  }

  #read(id) {
    this.#add(id, this.engine.read(id));
    this.position++;
  }

  #add(id, bits) {
    if (this.position < this.ids.length) return;
    this.ids.push(id);
    this.bits.push(bits);
  }

  // The engine has generated these ids from here.
  append(ids, bits) {
    if (this.position < this.ids.length) this.#dropFrom(this.position);
    for (let i = 0; i < ids.length; i++) {
      this.ids.push(ids[i]);
      this.bits.push(bits[i]);
    }
    this.position += ids.length;
    this.#save();
  }
}
