// How the model is to write: the fields beside the text, checked when they are used and kept for as long as the tab lives.

import { $, whole } from "./elements.js";
import { count } from "./letters.js";

const KEPT = "charloom-settings";
const NAMES = ["temperature", "top_p", "length", "versions", "seed", "stop"];
const MOST_LENGTH = 20_000, MOST_SEED = 2 ** 53 - 5, MOST_STOP = 64;

export const randomSeed = () => Math.floor(Math.random() * 1e6);

export class Wrong extends Error { // a field that says something the server would not take
  constructor(field, message) {
    super(message);
    this.field = field;
  }
}

function wholeNumber(name, title, least, most) {
  const written = $(name).value.trim(), number = Number(written);
  if (!/^\d+$/.test(written) || number < least || number > most) {
    throw new Wrong($(name), `${title} is “${written}”. It takes a whole number from ${whole(least)} to ${whole(most)}.`);
  }
  return number;
}

export class Settings {
  constructor() {
    let kept = {};
    try { kept = JSON.parse(sessionStorage.getItem(KEPT)) ?? {}; } catch { /* not written by this page */ }
    for (const name of NAMES) {
      if (typeof kept[name] === "string") $(name).value = kept[name];
      $(name).addEventListener("input", () => this.#changed());
    }
    this.#changed();
  }

  #changed() {
    for (const name of ["temperature", "top_p"]) document.querySelector(`output[for=${name}]`).value = Number($(name).value).toFixed(2);
    for (const name of NAMES) $(name).removeAttribute("aria-invalid");
    sessionStorage.setItem(KEPT, JSON.stringify(Object.fromEntries(NAMES.map((name) => [name, $(name).value]))));
  }

  // {request, seed (null: any), versions}; throws Wrong
  read() {
    const stop = $("stop").value.replace(/\\([nt\\])/g, (_, letter) => ({ n: "\n", t: "\t", "\\": "\\" })[letter]);
    if (count(stop) > MOST_STOP) throw new Wrong($("stop"), `Stop at has ${count(stop)} characters. It takes up to ${MOST_STOP}.`);
    const request = {
      max_tokens: wholeNumber("length", "Length", 1, MOST_LENGTH),
      temperature: Number($("temperature").value),
      top_p: Number($("top_p").value),
    };
    if (stop) request.stop = [stop];
    const seed = $("seed").value.trim() ? wholeNumber("seed", "Seed", 0, MOST_SEED) : null;
    return { request, seed, versions: Number($("versions").value) };
  }

  keepSeed(seed) {
    $("seed").value = String(seed);
    this.#changed();
  }
}
