// The menu of models, and the chosen model's vocabulary.

import { $, make } from "./dom.js";
import { storage } from "./storage.js";

const STORAGE_KEY = "charloom-model";

function describe({ charloom: facts = {} }) {
  const { parameters, corpus, bits_per_char: bits } = facts;
  const size = parameters >= 1e6 ? `${(parameters / 1e6).toFixed(1)} M parameters` : parameters && `${Math.round(parameters / 1e3)} k parameters`;
  return [size, corpus && `trained on ${corpus}`, bits && `${bits.toFixed(2)} bits per character`].filter(Boolean).join(" · ");
}

export class Models {
  // onChosen(changed) is called after every choice; `changed`: whether it differs from the previous one
  constructor(onChosen) {
    Object.assign(this, { onChosen, chosen: null, vocabulary: null });
  }

  get id() { return this.chosen?.id ?? null; }

  // Returns whether there is at least one.
  show(models) {
    const previous = this.id ?? storage.getItem(STORAGE_KEY), menu = $("model");
    menu.replaceChildren(...models.map((one) => make("option", { value: one.id, text: [one.id, describe(one)].filter(Boolean).join(" · ") })));
    menu.onchange = () => this.#choose(models.find((one) => one.id === menu.value));
    const chosen = models.find((one) => one.id === previous) ?? models[0];
    if (!chosen) return false;
    menu.value = chosen.id;
    this.#choose(chosen);
    return true;
  }

  #choose(chosen) {
    const changed = chosen.id !== this.id, { unit, vocabulary } = chosen.charloom ?? {};
    this.chosen = chosen;
    this.vocabulary = unit === "char" && vocabulary ? new Set(vocabulary) : null; // null: every character, or unknown
    storage.setItem(STORAGE_KEY, chosen.id);
    $("facts").textContent = describe(chosen); // shown where the menu is too narrow
    this.onChosen(changed);
  }
}
