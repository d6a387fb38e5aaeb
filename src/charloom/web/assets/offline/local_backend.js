// Replaces server.js in the exported page: the models and the engine that runs them are in the page.

import { Session } from "./session.js";
import { $ } from "./dom.js";
import { decodeBase64 } from "./text.js";

export class RequestRefused extends Error { // a request cannot be fulfilled
  constructor(message, code = null) {
    super(message);
    this.code = code;
  }
}

export class ServerUnreachable extends Error {} // never thrown: the models are in the page

export const { models: MODELS, prompts: PROMPTS } = JSON.parse($("contents").textContent);

const sessions = new Map();

async function createSession(id) {
  const i = MODELS.findIndex((one) => one.id === id);
  try {
    return new Session(await Engine.create(decodeBase64($("engine").textContent), decodeBase64($(`model-${i}`).textContent)), MODELS[i]);
  } catch (error) {
    sessions.delete(id); // allow another attempt
    throw new RequestRefused(`Cannot load the model: ${error.message}`, "model_load_failed");
  }
}

function sessionOf(id) {
  if (!sessions.has(id)) sessions.set(id, createSession(id));
  return sessions.get(id);
}

export class Server {
  label = null; // of the records; null for any

  // Characters before the cursor that predictions depend on: all of them, because the session caches what it has read.
  get predictionContext() { return Infinity; }

  async models() { return MODELS; }

  async #withSession(model, signal, work) {
    const session = await sessionOf(model), release = await session.acquire();
    try {
      signal?.throwIfAborted();
      return await work(session);
    } finally { release(); }
  }

  async score(model, text, signal) {
    return this.#withSession(model, signal, async (session) => ({ surprisals: await session.surprisals(text, this.label, signal) }));
  }

  async topPredictions(model, text, k, signal) { return this.#withSession(model, signal, (session) => session.topPredictions(text, k, this.label, signal)); }

  // Yields the pieces of a completion, {text, finish_reason}, as they are generated.
  async *complete({ model, prompt, ...options }, signal) {
    const session = await sessionOf(model), release = await session.acquire(), start = performance.now();
    try {
      signal?.throwIfAborted();
      yield* session.generate(prompt, { ...options, label: this.label }, signal);
    } finally {
      performance.measure("generate", { start });
      release();
    }
  }
}
