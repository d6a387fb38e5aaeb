// Streams completions from the server and shows their text at a limited rate.

const TIME_CONSTANT = 250; // milliseconds in which 63 % of the pending text is shown
const MIN_RATE = 0.12; // UTF-16 units per millisecond
const IDLE_RATIO = 3; // pause after an update, relative to its duration, so that long texts are shown in larger pieces

// Convert line breaks to "\n", as a textarea does. Returns the text, and a final "\r" separately: "\n" may follow it.
function convertLineBreaks(text) {
  const incomplete = text.endsWith("\r");
  return [(incomplete ? text.slice(0, -1) : text).replace(/\r\n?/g, "\n"), incomplete ? "\r" : ""];
}

// One streamed completion.
export class CompletionStream {
  // sink(more) receives the text to show, piece by piece; it may be replaced at any time
  constructor(seed, sink) {
    Object.assign(this, { seed, sink, shown: "", pending: "", carriageReturn: "", error: null, finished: false, reason: null });
    this.abort = new AbortController();
  }

  async run(server, request) {
    try {
      for await (const { text, finish_reason } of server.complete({ ...request, seed: this.seed }, this.abort.signal)) {
        if (this.abort.signal.aborted) return;
        const [complete, carriageReturn] = convertLineBreaks(this.carriageReturn + text);
        this.pending += complete;
        this.carriageReturn = carriageReturn;
        this.reason = finish_reason ?? this.reason;
      }
    } catch (error) {
      if (!this.abort.signal.aborted) this.error = error;
    }
    if (this.carriageReturn && !this.abort.signal.aborted) this.pending += "\n";
    this.finished = true;
  }

  get ended() { return this.finished && !this.pending; }

  // Show the text that is due after `elapsed` milliseconds.
  reveal(elapsed) {
    if (!this.pending) return;
    const { length: pending } = this.pending;
    let length = Math.min(pending, Math.ceil(Math.max(MIN_RATE * elapsed, pending * (1 - Math.exp(-elapsed / TIME_CONSTANT)))));
    if ((this.pending.charCodeAt(length - 1) & 0xfc00) === 0xd800) length++; // never half a code point
    const more = this.pending.slice(0, length);
    this.pending = this.pending.slice(length);
    this.shown += more;
    this.sink(more);
  }

  // Abort the request. Shown text stays; pending text is discarded.
  stop() {
    this.abort.abort();
    this.pending = "";
    this.finished = true;
    this.reason ??= "stopped";
  }
}

const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");

// Several streams at once, updated frame by frame until all have ended.
export class StreamGroup {
  constructor(streams, server, request) {
    this.streams = streams;
    for (const stream of streams) stream.run(server, request);
    this.ended = new Promise((resolve) => { this.#resolve = resolve; });
    this.#next(performance.now());
  }

  #resolve;

  #next(previous, earliest = previous) {
    requestAnimationFrame((now) => {
      const began = performance.now();
      if (began < earliest) return this.#next(previous, earliest);
      for (const stream of this.streams) stream.reveal(reducedMotion.matches ? Infinity : Math.max(1, now - previous));
      if (this.streams.every((stream) => stream.ended)) this.#resolve();
      else setTimeout(() => this.#next(now, performance.now() + IDLE_RATIO * (performance.now() - began))); // after the frame is painted
    });
  }

  get error() { return this.streams.find((stream) => stream.error)?.error ?? null; }

  stop() { for (const stream of this.streams) stream.stop(); }

  // Stop all streams but one.
  keepOnly(accepted) {
    for (const stream of this.streams) if (stream !== accepted) stream.stop();
    this.streams = [accepted];
  }
}
