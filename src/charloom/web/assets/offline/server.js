// Stands where the playground's server would: the models are in this page, and so is the engine that runs them.

import { Desk } from "./desk.js";
import { $ } from "./elements.js";

export class Refused extends Error { // it cannot be done
  constructor(message, code = null) {
    super(message);
    this.code = code;
  }
}

export class Gone extends Error {} // what is in the page never goes

function bytes(place) {
  const raw = atob(place.textContent), found = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) found[i] = raw.charCodeAt(i);
  return found;
}

export const { models: MODELS, prompts: PROMPTS } = JSON.parse($("contents").textContent);

const desks = new Map();

async function makeDesk(id) {
  const at = MODELS.findIndex((one) => one.id === id);
  try {
    return new Desk(await Engine.create(bytes($("engine")), bytes($(`model-${at}`))), MODELS[at]);
  } catch (error) {
    desks.delete(id); // it may be tried again
    throw new Refused(`The model cannot be started in this browser: ${error.message}`);
  }
}

function deskOf(id) {
  if (!desks.has(id)) desks.set(id, makeDesk(id));
  return desks.get(id);
}

export class Server {
  // Characters before the cursor that guesses are made from: all, as what was read is remembered.
  get reads() { return Infinity; }

  async models() { return MODELS; }

  async #atDesk(model, signal, work) {
    const desk = await deskOf(model), leave = await desk.enter();
    try {
      signal?.throwIfAborted();
      return await work(desk);
    } finally { leave(); }
  }

  async score(model, text, signal) {
    return this.#atDesk(model, signal, async (desk) => ({ surprisals: await desk.surprisals(text, signal) }));
  }

  async guesses(model, text, k, signal) { return this.#atDesk(model, signal, (desk) => desk.guesses(text, k, signal)); }

  // Yields {text, finish_reason} as they come.
  async *complete({ model, prompt, ...asked }, signal) {
    const desk = await deskOf(model), leave = await desk.enter(), began = performance.now();
    try {
      signal?.throwIfAborted();
      yield* desk.write(prompt, asked, signal);
    } finally {
      performance.measure("write", { start: began });
      leave();
    }
  }
}
