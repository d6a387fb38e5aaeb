// The menu of models, and the vocabulary of the selected model.

import { $, make } from "./dom.js";
import { storage } from "./storage.js";

const STORAGE_KEY = "charloom-model";
const MARKS = ["\u001e", "\u001f"]; // of records: characters that the text cannot contain

function describe({ charloom: facts = {} }) {
  const { parameters, corpus, bits_per_char: bits } = facts;
  const size = parameters >= 1e6 ? `${(parameters / 1e6).toFixed(1)} M parameters` : parameters && `${Math.round(parameters / 1e3)} k parameters`;
  return [size, corpus && `trained on ${corpus}`, bits && `${bits.toFixed(2)} bits per character`].filter(Boolean).join(" · ");
}

export class Models {
  // onSelected(changed) is called after every selection; `changed`: whether it differs from the previous one
  constructor(onSelected) {
    Object.assign(this, { onSelected, selected: null, vocabulary: null });
  }

  get id() { return this.selected?.id ?? null; }

  // Whether a text is one record.
  get records() { return this.selected?.charloom?.records !== undefined; }

  // The selected label; null: any.
  get label() { return $("label").selectedIndex > 0 ? $("label").value : null; }

  // Fill the menu, and select the previous model or the first one. Returns whether there is a model.
  show(models) {
    const previous = this.id ?? storage.getItem(STORAGE_KEY), menu = $("model");
    menu.replaceChildren(...models.map((one) => make("option", { value: one.id, text: [one.id, describe(one)].filter(Boolean).join(" · ") })));
    menu.onchange = () => this.#select(models.find((one) => one.id === menu.value));
    const selected = models.find((one) => one.id === previous) ?? models[0];
    if (!selected) return false;
    menu.value = selected.id;
    this.#select(selected);
    return true;
  }

  #select(model) {
    const changed = model.id !== this.id, { unit, vocabulary } = model.charloom ?? {};
    this.selected = model;
    this.vocabulary = unit === "char" && vocabulary ? new Set(vocabulary) : null; // null: all characters, or not known
    if (this.records) for (const mark of MARKS) this.vocabulary?.delete(mark);
    if (changed) this.#showLabels(model.charloom?.labels ?? []);
    storage.setItem(STORAGE_KEY, model.id);
    $("model-summary").textContent = describe(model); // visible where the menu is too narrow for it
    this.onSelected(changed);
  }

  #showLabels(labels) {
    $("label").replaceChildren(make("option", { text: "any" }), ...labels.map((label) => make("option", { value: label, text: label })));
    $("label").onchange = () => this.onSelected(true);
    $("label-field").hidden = labels.length === 0;
  }
}
