// The generation settings: form fields, validated when they are used and stored until the tab is closed.

import { $, whole } from "./dom.js";
import { countCharacters } from "./code_points.js";
import { storage } from "./storage.js";

const STORAGE_KEY = "charloom-settings";
const NAMES = ["temperature", "top_p", "length", "versions", "seed", "stop"];
const MAX_LENGTH = 20_000, MAX_SEED = 2 ** 53 - 5, MAX_STOP = 64;

export const randomSeed = () => Math.floor(Math.random() * 1e6);

export class InvalidSetting extends Error { // a field has a value that the server would reject
  constructor(field, message) {
    super(message);
    this.field = field;
  }
}

function wholeNumber(name, title, min, max) {
  const value = $(name).value.trim(), number = Number(value);
  if (!/^\d+$/.test(value) || number < min || number > max) {
    throw new InvalidSetting($(name), `${title} must be a whole number from ${whole(min)} to ${whole(max)}, got “${value}”.`);
  }
  return number;
}

// Replace \n, \r, \t, \\ and \uXXXX, as the options of the command line do.
function unescape(text) {
  return text.replace(/\\(?:([nrt\\])|u([0-9a-fA-F]{4}))/g, (_, character, code) => (
    character ? { n: "\n", r: "\r", t: "\t", "\\": "\\" }[character] : String.fromCharCode(parseInt(code, 16))));
}

export class Settings {
  constructor() {
    let stored = {};
    try { stored = JSON.parse(storage.getItem(STORAGE_KEY)) ?? {}; } catch { /* not stored by this page */ }
    for (const name of NAMES) {
      if (typeof stored[name] === "string") $(name).value = stored[name];
      $(name).addEventListener("input", () => this.#changed());
    }
    this.#changed();
  }

  #changed() {
    for (const name of ["temperature", "top_p"]) document.querySelector(`output[for=${name}]`).value = Number($(name).value).toFixed(2);
    for (const name of NAMES) $(name).removeAttribute("aria-invalid");
    storage.setItem(STORAGE_KEY, JSON.stringify(Object.fromEntries(NAMES.map((name) => [name, $(name).value]))));
  }

  // Returns {request, seed, versions}; the seed is null if it is random. Throws InvalidSetting.
  read() {
    const stop = unescape($("stop").value);
    if (countCharacters(stop) > MAX_STOP) throw new InvalidSetting($("stop"), `Stop sequence must have at most ${MAX_STOP} characters, got ${countCharacters(stop)}.`);
    const request = {
      max_tokens: wholeNumber("length", "Length", 1, MAX_LENGTH),
      temperature: Number($("temperature").value),
      top_p: Number($("top_p").value),
    };
    if (stop) request.stop = [stop];
    const seed = $("seed").value.trim() ? wholeNumber("seed", "Seed", 0, MAX_SEED) : null;
    return { request, seed, versions: Number($("versions").value) };
  }

  setSeed(seed) {
    $("seed").value = String(seed);
    this.#changed();
  }
}
