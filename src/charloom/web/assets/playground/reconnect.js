// Retries an unreachable server until it answers.

import { ServerUnreachable } from "./server.js";

const DELAYS = [1000, 2000, 4000, 8000]; // milliseconds between attempts; the last one repeats

export class Reconnector {
  constructor(server, notice) { Object.assign(this, { server, notice, waiting: false, retryNow: () => {} }); }

  #notify() {
    this.notice.show("Cannot reach the server. Your text stays in this tab. Retrying every few seconds.",
      [["Retry now", () => { this.#notify(); this.retryNow(); }]], "unreachable");
  }

  // Resolves with the models when the server answers, or with null if already waiting. Rejects on any other error.
  async wait() {
    if (this.waiting) return null;
    this.waiting = true;
    this.#notify();
    try {
      for (let attempts = 0; ; attempts++) {
        await new Promise((resolve) => {
          this.retryNow = resolve;
          setTimeout(resolve, DELAYS[Math.min(attempts, DELAYS.length - 1)]);
        });
        try { return await this.server.models(); } catch (error) { if (!(error instanceof ServerUnreachable)) throw error; }
      }
    } finally {
      this.waiting = false;
      this.notice.clear("unreachable");
    }
  }
}
