// The client of the server that the page came from, and its errors.

import { storage } from "./storage.js";

const TOKEN = "charloom-token";

export class RequestRefused extends Error { // the server answered with an error
  constructor(message, code = null, status = 0) {
    super(message);
    Object.assign(this, { code, status });
  }
}

export class ServerUnreachable extends Error { // no answer
  constructor() { super("The server does not answer."); }
}

async function errorOf(response) {
  let error = null;
  try { ({ error } = await response.json()); } catch { /* not from this server, but from a proxy */ }
  const wait = response.headers.get("Retry-After");
  const message = error?.message || `The server answered with an error: ${response.status} ${response.statusText}`.trim() + ".";
  return new RequestRefused(response.status === 429 && wait ? `${message} Try again in ${wait} s.` : message, error?.code ?? null, response.status);
}

export class Server {
  // askForToken(again) resolves with a token, or null
  constructor(askForToken) {
    this.askForToken = askForToken;
    this.token = storage.getItem(TOKEN) || "";
    this.tokenRequest = null;
  }

  async #newToken(used) {
    if (used !== this.token) return; // another request has got it meanwhile
    this.tokenRequest ??= this.askForToken(used !== "");
    const token = await this.tokenRequest;
    this.tokenRequest = null;
    if (!token) throw new RequestRefused("This server answers only those who have its token.", "no_token", 401);
    this.token = token;
    storage.setItem(TOKEN, token);
  }

  async #ask(path, body = null, signal = null) {
    for (;;) {
      const used = this.token, headers = {};
      if (used) headers.Authorization = `Bearer ${used}`;
      if (body) headers["Content-Type"] = "application/json";
      const response = await this.#fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal });
      if (response.ok) return response;
      if (response.status !== 401) throw await errorOf(response);
      await this.#newToken(used);
    }
  }

  async #fetch(path, options) {
    try { return await fetch(path, { ...options, cache: "no-store", credentials: "omit", redirect: "error" }); } catch (error) {
      throw options.signal?.aborted ? error : new ServerUnreachable();
    }
  }

  async #json(path, body, signal) {
    const response = await this.#ask(path, body, signal);
    try { return await response.json(); } catch (error) { throw signal?.aborted ? error : new ServerUnreachable(); }
  }

  async models() { return (await this.#json("v1/models")).data; }

  async score(model, text, signal) { return this.#json("score", { model, text }, signal); }

  async topPredictions(model, text, k, signal) { return (await this.#json("guesses", { model, text, k }, signal)).guesses; }

  // Yields {text, finish_reason} as they arrive.
  async *complete(request, signal) {
    const response = await this.#ask("v1/completions", { ...request, stream: true }, signal);
    let ended = false;
    for await (const data of events(response.body, signal)) {
      if (data === "[DONE]") return;
      const event = JSON.parse(data);
      if (event.error) throw new RequestRefused(event.error.message, event.error.code);
      for (const { text, finish_reason } of event.choices) {
        ended ||= finish_reason !== null;
        yield { text, finish_reason };
      }
    }
    if (!ended) throw new ServerUnreachable();
  }
}

// The data of server-sent events, however the network has split them.
async function* events(body, signal) {
  const reader = body.getReader(), decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const lines = (rest + decoder.decode(value, { stream: true })).split(/\r?\n/);
      rest = lines.pop();
      for (const line of lines) if (line.startsWith("data:")) yield line.slice(5).trim();
    }
  } catch (error) {
    throw signal?.aborted ? error : new ServerUnreachable();
  } finally {
    reader.cancel().catch(() => {});
  }
}
