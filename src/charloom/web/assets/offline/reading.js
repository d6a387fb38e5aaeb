// What an engine has read. It keeps the engine's state at places of the text, so that a change costs the rest alone.

const EVERY = 256; // characters between two places, at least
const SLICE = 20; // milliseconds of work, after which the browser has its turn

const channel = new MessageChannel(), waiting = [];
channel.port1.onmessage = () => waiting.shift()();

// Let the browser draw and listen; it is back at once, where a timer would wait for four milliseconds.
function breath() {
  return new Promise((resolve) => {
    waiting.push(resolve);
    channel.port2.postMessage(null);
  });
}

// Says when the browser shall have its turn.
export class Slices {
  constructor() { this.began = performance.now(); }

  get over() { return performance.now() - this.began > SLICE; }

  // Throws if what is done was called off meanwhile.
  async next(signal) {
    await breath();
    signal?.throwIfAborted();
    this.began = performance.now();
  }
}

function agreement(one, other) {
  let length = 0;
  while (length < one.length && length < other.length && one[length] === other[length]) length++;
  return length;
}

export class Reading {
  // afresh: whether a text's first character is one of a line, and so has something before it
  constructor(engine, afresh) {
    Object.assign(this, { engine, afresh, ids: [], bits: [], places: new Map(), last: null, newest: 0 });
  }

  // Forget what stands from a place on: the text is another there.
  #forget(from) {
    this.ids.length = this.bits.length = from;
    for (const at of this.places.keys()) if (at > from) this.places.delete(at);
    if (this.last?.at > from) this.last = null;
    this.newest = Math.max(0, ...this.places.keys());
  }

  #keep() {
    const at = this.here;
    this.last = { at, state: this.engine.save() };
    if (at < this.newest + EVERY) return;
    this.places.set(at, this.last.state);
    this.newest = at;
  }

  // Bring the engine to the kept place nearest before a length.
  #back(length) {
    let at = Math.max(0, ...[...this.places.keys()].filter((place) => place <= length));
    let state = this.places.get(at);
    if (this.last && this.last.at <= length && this.last.at >= at) ({ at, state } = this.last);
    if (state) this.engine.restore(state);
    this.here = at;
  }

  // Take the engine to the end of a text of at least one id, in slices.
  async to(ids, signal) {
    const alike = agreement(this.ids, ids), slices = new Slices();
    if (alike < ids.length) this.#forget(alike);
    this.#back(ids.length);
    if (this.here === 0) this.#begin(ids);
    while (this.here < ids.length) {
      this.#read(ids[this.here]);
      if (this.here >= this.newest + EVERY) this.#keep();
      if (slices.over) await slices.next(signal);
    }
    this.#keep();
  }

  #begin(ids) {
    this.engine.begin(this.afresh ? [] : ids.slice(0, 1));
    if (this.afresh) return;
    this.#add(ids[0], null); // nothing comes before it
    this.here = 1;
  }

  #read(id) {
    this.#add(id, this.engine.take(id));
    this.here++;
  }

  #add(id, bits) {
    if (this.here < this.ids.length) return;
    this.ids.push(id);
    this.bits.push(bits);
  }

  // The engine has written on from here.
  wrote(ids, bits) {
    if (this.here < this.ids.length) this.#forget(this.here);
    for (let i = 0; i < ids.length; i++) {
      this.ids.push(ids[i]);
      this.bits.push(bits[i]);
    }
    this.here += ids.length;
    this.#keep();
  }
}
