// The client of the server that the page was loaded from, and its errors.

import { storage } from "./storage.js";

const STORAGE_KEY = "charloom-token";

export class RequestRefused extends Error { // the server answered with an error
  constructor(message, code = null, status = 0) {
    super(message);
    Object.assign(this, { code, status });
  }
}

export class ServerUnreachable extends Error { // no answer
  constructor() { super("Cannot reach the server."); }
}

async function errorOf(response) {
  let error = null;
  try { ({ error } = await response.json()); } catch { /* the answer is not from this server, but from a proxy */ }
  const retryAfter = response.headers.get("Retry-After");
  const message = error?.message || `The server returned an error: ${response.status} ${response.statusText}`.trim() + ".";
  return new RequestRefused(response.status === 429 && retryAfter ? `${message} Try again in ${retryAfter} s.` : message, error?.code ?? null, response.status);
}

export class Server {
  label = null; // of the records; null for any

  // askForToken(rejected) resolves with a token, or null; see notice.js
  constructor(askForToken) {
    this.askForToken = askForToken;
    this.token = storage.getItem(STORAGE_KEY) || "";
    this.tokenRequest = null;
  }

  // Ask for a token after the server has rejected one.
  async #newToken(rejected) {
    if (rejected !== this.token) return; // another request has already obtained a new one
    this.tokenRequest ??= this.askForToken(rejected !== "");
    const token = await this.tokenRequest;
    this.tokenRequest = null;
    if (!token) throw new RequestRefused("This server requires an access token.", "no_token", 401);
    this.token = token;
    storage.setItem(STORAGE_KEY, token);
  }

  async #request(path, body = null, signal = null) {
    for (;;) {
      const { token } = this, headers = {};
      if (token) headers.Authorization = `Bearer ${token}`;
      if (body) headers["Content-Type"] = "application/json";
      const response = await this.#fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal });
      if (response.ok) return response;
      if (response.status !== 401) throw await errorOf(response);
      await this.#newToken(token);
    }
  }

  async #fetch(path, options) {
    try { return await fetch(path, { ...options, cache: "no-store", credentials: "omit", redirect: "error" }); } catch (error) {
      throw options.signal?.aborted ? error : new ServerUnreachable();
    }
  }

  async #json(path, body, signal) {
    const response = await this.#request(path, body, signal);
    try { return await response.json(); } catch (error) { throw signal?.aborted ? error : new ServerUnreachable(); }
  }

  async models() { return (await this.#json("v1/models")).data; }

  get #labeled() { return this.label === null ? {} : { label: this.label }; }

  async score(model, text, signal) { return this.#json("score", { model, text, ...this.#labeled }, signal); }

  async topPredictions(model, text, k, signal) { return (await this.#json("guesses", { model, text, k, ...this.#labeled }, signal)).guesses; }

  // Yields the pieces of a completion, {text, finish_reason}, as they arrive.
  async *complete(request, signal) {
    const response = await this.#request("v1/completions", { ...request, ...this.#labeled, stream: true }, signal);
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

// Yields the data of server-sent events. Network chunks may end anywhere, even within a character.
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
