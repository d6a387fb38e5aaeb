// One streamed completion. Text arrives as fast as the server sends it and is shown at a visible pace.

const PACE = 250, MIN_RATE = 0.12; // milliseconds in which two thirds of the pending text are shown; minimum units per millisecond
const REST = 3; // pause between updates, as a multiple of the time an update takes: long texts are shown in larger pieces

// Convert line ends to "\n", as a textarea does. A final "\r" may be half of a line end, so it is returned separately.
function convertLineEnds(text) {
  const open = text.endsWith("\r");
  return [(open ? text.slice(0, -1) : text).replace(/\r\n?/g, "\n"), open ? "\r" : ""];
}

export class CompletionStream {
  // sink(more) receives the text to show, piece by piece; it may be replaced in between
  constructor(seed, sink) {
    Object.assign(this, { seed, sink, shown: "", pending: "", half: "", error: null, finished: false, reason: null });
    this.abort = new AbortController();
  }

  async run(server, request) {
    try {
      for await (const { text, finish_reason } of server.complete({ ...request, seed: this.seed }, this.abort.signal)) {
        if (this.abort.signal.aborted) return;
        const [whole, half] = convertLineEnds(this.half + text);
        this.pending += whole;
        this.half = half;
        this.reason = finish_reason ?? this.reason;
      }
    } catch (error) {
      if (!this.abort.signal.aborted) this.error = error;
    }
    if (this.half && !this.abort.signal.aborted) this.pending += "\n";
    this.finished = true;
  }

  get ended() { return this.finished && !this.pending; }

  // Show the text that is due after `elapsed` milliseconds.
  reveal(elapsed) {
    if (!this.pending) return;
    const { length: pending } = this.pending;
    let length = Math.min(pending, Math.ceil(Math.max(MIN_RATE * elapsed, pending * (1 - Math.exp(-elapsed / PACE)))));
    if ((this.pending.charCodeAt(length - 1) & 0xfc00) === 0xd800) length++; // never half a code point
    const more = this.pending.slice(0, length);
    this.pending = this.pending.slice(length);
    this.shown += more;
    this.sink(more);
  }

  // Abort the request. Shown text stays, pending text is dropped.
  stop() {
    this.abort.abort();
    this.pending = "";
    this.finished = true;
    this.reason ??= "stopped";
  }
}

const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");

// Several streams at once, shown frame by frame until all have ended.
export class StreamGroup {
  constructor(streams, server, request) {
    this.streams = streams;
    for (const stream of streams) stream.run(server, request);
    this.ended = new Promise((resolve) => { this.#resolve = resolve; });
    this.#next(performance.now());
  }

  #resolve;

  #next(before, rested = before) {
    requestAnimationFrame((now) => {
      const began = performance.now();
      if (began < rested) return this.#next(before, rested);
      for (const stream of this.streams) stream.reveal(reducedMotion.matches ? Infinity : Math.max(1, now - before));
      if (this.streams.every((stream) => stream.ended)) this.#resolve();
      else setTimeout(() => this.#next(now, performance.now() + REST * (performance.now() - began))); // after the frame was painted
    });
  }

  get error() { return this.streams.find((stream) => stream.error)?.error ?? null; }

  stop() { for (const stream of this.streams) stream.stop(); }

  // Continue with only one of them.
  keepOnly(chosen) {
    for (const stream of this.streams) if (stream !== chosen) stream.stop();
    this.streams = [chosen];
  }
}
