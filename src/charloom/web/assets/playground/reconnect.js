// Reattempts a server that does not answer until it does.

import { ServerUnreachable } from "./server.js";

const PAUSES = [1000, 2000, 4000, 8000]; // milliseconds between attempts; the last one repeats

export class Reconnector {
  constructor(server, notice) { Object.assign(this, { server, notice, waiting: false, wake: () => {} }); }

  #notify() {
    this.notice.show("The server does not answer. Your text is safe in this tab; the server is tried again every few seconds.",
      [["Try now", () => { this.#notify(); this.wake(); }]], "gone");
  }

  // Resolves with the models when the server answers, rejects on another error; null if already waiting.
  async wait() {
    if (this.waiting) return null;
    this.waiting = true;
    this.#notify();
    try {
      for (let attempts = 0; ; attempts++) {
        await new Promise((resolve) => {
          this.wake = resolve;
          setTimeout(resolve, PAUSES[Math.min(attempts, PAUSES.length - 1)]);
        });
        try { return await this.server.models(); } catch (error) { if (!(error instanceof ServerUnreachable)) throw error; }
      }
    } finally {
      this.waiting = false;
      this.notice.clear("gone");
    }
  }
}
