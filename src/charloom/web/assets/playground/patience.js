// A server that does not answer is asked again and again until it does.

import { Gone } from "./server.js";

const PAUSES = [1000, 2000, 4000, 8000]; // milliseconds between two tries; the last one from then on

export class Patience {
  constructor(server, notice) { Object.assign(this, { server, notice, waiting: false, wake: () => {} }); }

  #tell() {
    this.notice.show("The server does not answer. Your text is safe in this tab; the server is tried again every few seconds.",
      [["Try now", () => { this.#tell(); this.wake(); }]], "gone");
  }

  // Resolves with its models when it answers, or rejects with what it says instead; null if somebody waits already.
  async wait() {
    if (this.waiting) return null;
    this.waiting = true;
    this.#tell();
    try {
      for (let tries = 0; ; tries++) {
        await new Promise((resolve) => {
          this.wake = resolve;
          setTimeout(resolve, PAUSES[Math.min(tries, PAUSES.length - 1)]);
        });
        try { return await this.server.models(); } catch (error) { if (!(error instanceof Gone)) throw error; }
      }
    } finally {
      this.waiting = false;
      this.notice.clear("gone");
    }
  }
}
