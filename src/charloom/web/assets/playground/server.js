// What the page asks of the server it came from, and what it says when that goes wrong.

const TOKEN = "charloom-token";

export class Refused extends Error { // the server answered that it will not
  constructor(message, code = null, status = 0) {
    super(message);
    Object.assign(this, { code, status });
  }
}

export class Gone extends Error { // nobody answers
  constructor() { super("The server does not answer."); }
}

async function refusal(response) {
  let said = null;
  try { said = (await response.json()).error; } catch { /* not of this server's making: a proxy's page, say */ }
  const wait = response.headers.get("Retry-After");
  const message = said?.message || `The server answered with an error: ${response.status} ${response.statusText}`.trim() + ".";
  return new Refused(response.status === 429 && wait ? `${message} Try again in ${wait} s.` : message, said?.code ?? null, response.status);
}

export class Server {
  // askForToken(again) returns a token, or null if there is none to be had
  constructor(askForToken) {
    this.askForToken = askForToken;
    this.token = sessionStorage.getItem(TOKEN) || "";
    this.asking = null;
  }

  async #newToken(used) {
    if (used !== this.token) return; // another request has asked meanwhile
    this.asking ??= this.askForToken(used !== "");
    const token = await this.asking;
    this.asking = null;
    if (!token) throw new Refused("This server answers only those who have its token.", "no_token", 401);
    this.token = token;
    sessionStorage.setItem(TOKEN, token);
  }

  async #ask(path, body = null, signal = null) {
    for (;;) {
      const used = this.token, headers = {};
      if (used) headers.Authorization = `Bearer ${used}`;
      if (body) headers["Content-Type"] = "application/json";
      const response = await this.#fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal });
      if (response.ok) return response;
      if (response.status !== 401) throw await refusal(response);
      await this.#newToken(used);
    }
  }

  async #fetch(path, options) {
    try { return await fetch(path, { ...options, cache: "no-store", credentials: "omit", redirect: "error" }); } catch (error) {
      throw options.signal?.aborted ? error : new Gone();
    }
  }

  async #json(path, body, signal) {
    const response = await this.#ask(path, body, signal);
    try { return await response.json(); } catch (error) { throw signal?.aborted ? error : new Gone(); }
  }

  async models() { return (await this.#json("v1/models")).data; }

  async score(model, text, signal) { return this.#json("score", { model, text }, signal); }

  async guesses(model, text, k, signal) { return (await this.#json("guesses", { model, text, k }, signal)).guesses; }

  // Yields {text, finish_reason} as they come.
  async *complete(request, signal) {
    const response = await this.#ask("v1/completions", { ...request, stream: true }, signal);
    let ended = false;
    for await (const data of events(response.body, signal)) {
      if (data === "[DONE]") return;
      const event = JSON.parse(data);
      if (event.error) throw new Refused(event.error.message, event.error.code);
      for (const { text, finish_reason } of event.choices) {
        ended ||= finish_reason !== null;
        yield { text, finish_reason };
      }
    }
    if (!ended) throw new Gone();
  }
}

// The data of server-sent events, one after the other, wherever the network has cut them.
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
    throw signal?.aborted ? error : new Gone();
  } finally {
    reader.cancel().catch(() => {});
  }
}
