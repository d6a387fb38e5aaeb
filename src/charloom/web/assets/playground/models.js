// The menu of models, and what the chosen one knows.

import { $, make } from "./elements.js";

const KEPT = "charloom-model";

function describe({ charloom: facts = {} }) {
  const { parameters, corpus, bits_per_char: bits } = facts;
  const size = parameters >= 1e6 ? `${(parameters / 1e6).toFixed(1)} M parameters` : parameters && `${Math.round(parameters / 1e3)} k parameters`;
  return [size, corpus && `trained on ${corpus}`, bits && `${bits.toFixed(2)} bits per character`].filter(Boolean).join(" · ");
}

export class Models {
  // whenChosen(other) is called after every choice; `other`: whether it is not the one that was chosen before
  constructor(whenChosen) {
    Object.assign(this, { whenChosen, chosen: null, vocabulary: null });
  }

  get id() { return this.chosen?.id ?? null; }

  // Returns whether there is any.
  show(models) {
    const wanted = this.id ?? sessionStorage.getItem(KEPT), menu = $("model");
    menu.replaceChildren(...models.map((one) => make("option", { value: one.id, text: [one.id, describe(one)].filter(Boolean).join(" · ") })));
    menu.onchange = () => this.#choose(models.find((one) => one.id === menu.value));
    const chosen = models.find((one) => one.id === wanted) ?? models[0];
    if (!chosen) return false;
    menu.value = chosen.id;
    this.#choose(chosen);
    return true;
  }

  #choose(chosen) {
    const other = chosen.id !== this.id, { unit, vocabulary } = chosen.charloom ?? {};
    this.chosen = chosen;
    this.vocabulary = unit === "char" && vocabulary ? new Set(vocabulary) : null; // null: it knows every character, or does not say
    sessionStorage.setItem(KEPT, chosen.id);
    $("facts").textContent = describe(chosen); // where the menu is too narrow to say it
    this.whenChosen(other);
  }
}
