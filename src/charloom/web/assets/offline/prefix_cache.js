// Caches the engine's state at positions in the text, so that after a change only the text after it is read again.

import { commonPrefixLength } from "./text.js";

const MIN_DISTANCE = 256; // characters between two cached states
const SLICE_TIME = 20; // milliseconds of work before control returns to the browser

const channel = new MessageChannel(), waiting = [];
channel.port1.onmessage = () => waiting.shift()();

// Let the browser paint and handle events. Resumes immediately afterwards; a timer would wait for at least 4 milliseconds.
function yieldToBrowser() {
  return new Promise((resolve) => {
    waiting.push(resolve);
    channel.port2.postMessage(null);
  });
}

// Divides work into slices; between them, control returns to the browser.
export class TimeSlices {
  constructor() { this.start = performance.now(); }

  get over() { return performance.now() - this.start > SLICE_TIME; }

  // Start the next slice. Throws if the work has been aborted.
  async next(signal) {
    await yieldToBrowser();
    signal?.throwIfAborted();
    this.start = performance.now();
  }
}

export class PrefixCache {
  // lines: whether texts start after a mark that is not part of them: a line feed, or the mark of records
  constructor(engine, lines) {
    Object.assign(this, { engine, lines, ids: [], bits: [], states: new Map(), last: null, newest: 0 });
  }

  // Discard everything from a position on, because the text differs from there.
  #discardFrom(from) {
    this.ids.length = this.bits.length = from;
    for (const at of this.states.keys()) if (at > from) this.states.delete(at);
    if (this.last?.at > from) this.last = null;
    this.newest = Math.max(0, ...this.states.keys());
  }

  #save() {
    const at = this.position;
    this.last = { at, state: this.engine.save() };
    if (at < this.newest + MIN_DISTANCE) return;
    this.states.set(at, this.last.state);
    this.newest = at;
  }

  // Restore the last cached state that is not after a position.
  #restore(end) {
    let at = Math.max(0, ...[...this.states.keys()].filter((position) => position <= end));
    let state = this.states.get(at);
    if (this.last && this.last.at <= end && this.last.at >= at) ({ at, state } = this.last);
    if (state) this.engine.restore(state);
    this.position = at;
  }

  // Move the engine to the end of a text of at least one id, in time slices.
  async readTo(ids, signal) {
    const common = commonPrefixLength(this.ids, ids), slices = new TimeSlices();
    if (common < ids.length) this.#discardFrom(common);
    this.#restore(ids.length);
    if (this.position === 0) this.#begin(ids);
    while (this.position < ids.length) {
      this.#read(ids[this.position]);
      if (this.position >= this.newest + MIN_DISTANCE) this.#save();
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

  // Add ids that the engine has generated at its position.
  append(ids, bits) {
    if (this.position < this.ids.length) this.#discardFrom(this.position);
    for (let i = 0; i < ids.length; i++) {
      this.ids.push(ids[i]);
      this.bits.push(bits[i]);
    }
    this.position += ids.length;
    this.#save();
  }
}
