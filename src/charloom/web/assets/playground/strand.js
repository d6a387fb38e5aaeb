// One continuation: it comes from the server as fast as that can, and is shown at a pace at which one can see it come.

const PACE = 250, SLOWEST = 0.12; // milliseconds in which two thirds of what waits are shown; units in a millisecond, at least
const REST = 3; // times as long as showing took, nothing more is shown: a long text comes in larger pieces, and stays quick

// A writing area knows one kind of line end; "\r" may be half of one, so it waits for what follows.
function lineEnds(text) {
  const open = text.endsWith("\r");
  return [(open ? text.slice(0, -1) : text).replace(/\r\n?/g, "\n"), open ? "\r" : ""];
}

export class Strand {
  // sink(more) is given what is to be shown, piece by piece; it may be replaced on the way
  constructor(seed, sink) {
    Object.assign(this, { seed, sink, shown: "", waiting: "", half: "", error: null, finished: false, reason: null });
    this.abort = new AbortController();
  }

  async run(server, request) {
    try {
      for await (const { text, finish_reason } of server.complete({ ...request, seed: this.seed }, this.abort.signal)) {
        if (this.abort.signal.aborted) return;
        const [whole, half] = lineEnds(this.half + text);
        this.waiting += whole;
        this.half = half;
        this.reason = finish_reason ?? this.reason;
      }
    } catch (error) {
      if (!this.abort.signal.aborted) this.error = error;
    }
    if (this.half && !this.abort.signal.aborted) this.waiting += "\n";
    this.finished = true;
  }

  get ended() { return this.finished && !this.waiting; }

  // Show what is due after so many milliseconds.
  reveal(passed) {
    if (!this.waiting) return;
    const { length: waiting } = this.waiting;
    let length = Math.min(waiting, Math.ceil(Math.max(SLOWEST * passed, waiting * (1 - Math.exp(-passed / PACE)))));
    if ((this.waiting.charCodeAt(length - 1) & 0xfc00) === 0xd800) length++; // never half a letter
    const more = this.waiting.slice(0, length);
    this.waiting = this.waiting.slice(length);
    this.shown += more;
    this.sink(more);
  }

  // What has been shown stays, what has not is dropped.
  stop() {
    this.abort.abort();
    this.waiting = "";
    this.finished = true;
    this.reason ??= "stopped";
  }
}

const still = matchMedia("(prefers-reduced-motion: reduce)");

// Several strands at once, shown frame by frame until all have ended.
export class Weaving {
  constructor(strands, server, request) {
    this.strands = strands;
    for (const strand of strands) strand.run(server, request);
    this.ended = new Promise((resolve) => { this.#resolve = resolve; });
    this.#next(performance.now());
  }

  #resolve;

  #next(before, rested = before) {
    requestAnimationFrame((now) => {
      const began = performance.now();
      if (began < rested) return this.#next(before, rested);
      for (const strand of this.strands) strand.reveal(still.matches ? Infinity : Math.max(1, now - before));
      if (this.strands.every((strand) => strand.ended)) this.#resolve();
      else setTimeout(() => this.#next(now, performance.now() + REST * (performance.now() - began))); // when it has been painted
    });
  }

  get error() { return this.strands.find((strand) => strand.error)?.error ?? null; }

  stop() { for (const strand of this.strands) strand.stop(); }

  // Go on with one of them alone.
  keep(chosen) {
    for (const strand of this.strands) if (strand !== chosen) strand.stop();
    this.strands = [chosen];
  }
}
