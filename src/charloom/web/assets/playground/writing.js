// The text being written by two: what the reader types, what the model adds, and which of its versions is taken.

import { count, ending } from "./letters.js";
import { Strand, Weaving } from "./strand.js";
import { randomSeed } from "./settings.js";

export const MOST_READ = 100_000; // characters before the cursor that the server reads

export class Writing {
  // told: {changed(), followed(offset), wrote(strands, several), failed(error)}
  constructor(server, manuscript, paper, choices, told) {
    Object.assign(this, { server, manuscript, paper, choices, told, weaving: null, edit: null, place: null });
  }

  get busy() { return this.weaving !== null; }

  // Let the model write between two offsets of the text, instead of what is there.
  goOn(model, place, asked, anew) {
    const seed = anew || asked.seed === null ? randomSeed() : asked.seed;
    const strands = Array.from({ length: asked.versions }, (_, i) => new Strand(seed + i, () => {}));
    const prompt = ending(this.manuscript.text.slice(0, place[0]), MOST_READ);
    this.place = place;
    if (strands.length > 1) this.#offer(strands);
    else this.#pour(strands[0]);
    const weaving = this.weaving = new Weaving(strands, this.server, { model, prompt, ...asked.request });
    weaving.ended.then(() => { if (this.weaving === weaving) this.#settle(); });
    this.told.changed();
  }

  #offer(strands) {
    this.choices.show(strands);
    this.paper.area.readOnly = true; // digits choose now
  }

  // What a strand has shown and will show goes into the text.
  #pour(strand) {
    const edit = this.edit = this.manuscript.begin(...this.place, this.paper.selection);
    strand.sink = (more) => {
      this.manuscript.grow(edit, more);
      const end = edit.at + edit.inserted.length;
      this.told.changed(end);
      this.told.followed(end);
    };
    this.told.changed(edit.at);
    if (strand.shown) strand.sink(strand.shown);
  }

  stop() {
    this.weaving?.stop();
    this.#settle();
  }

  // All that was to come has come.
  #settle() {
    if (!this.weaving) return;
    const { strands, error } = this.weaving;
    this.weaving = null;
    this.#finish();
    if (this.choices.open) {
      this.choices.ended();
      if (strands.every((strand) => strand.error && !strand.shown)) this.dismiss();
    }
    this.told.wrote(strands, this.choices.open);
    if (error) this.told.failed(error);
    this.told.changed();
  }

  #finish() {
    if (this.edit) this.manuscript.finish(this.edit);
    this.edit = null;
  }

  // Take one of several versions; one that is still being written goes on in the text.
  pick(i) {
    const strand = this.choices.strands[i];
    if (!strand) return;
    this.#putAway();
    this.weaving?.keep(strand);
    this.#pour(strand);
    if (!this.weaving) {
      this.#finish();
      this.told.wrote([strand], false);
    }
    this.told.changed();
  }

  dismiss() {
    this.weaving?.stop();
    this.weaving = null;
    this.#finish();
    this.#putAway();
    this.told.changed();
  }

  #putAway() {
    const { area } = this.paper, within = this.choices.place.contains(document.activeElement);
    this.choices.close();
    area.readOnly = false;
    if (within && matchMedia("(pointer: fine)").matches) area.focus({ preventScroll: true }); // a phone would bring up its keyboard
  }
}

// What is said when the model has written.
export function report(strands, several) {
  if (several) {
    const how = matchMedia("(pointer: coarse)").matches ? "Tap the one to take." : `Press 1 to ${strands.length} to take one, Escape for none.`;
    return `${strands.length} versions. ${how}`;
  }
  const [{ seed, shown, reason }] = strands, letters = count(shown);
  const how = { stopped: "Stopped after", stop: "Came to the stop after" }[reason] ?? "Wrote";
  return `${how} ${letters.toLocaleString("en")} character${letters === 1 ? "" : "s"}, seed ${seed}.`;
}
