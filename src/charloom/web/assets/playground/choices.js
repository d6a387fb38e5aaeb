// Several continuations side by side, of which one is taken.

import { make, whole } from "./elements.js";
import { count } from "./letters.js";

export class Choices {
  // take(i) is called with the number of the one that was chosen
  constructor(place, take) { Object.assign(this, { place, take, strands: [] }); }

  get open() { return !this.place.hidden; }

  show(strands) {
    this.strands = strands;
    this.ends = strands.map((strand) => make("small", { text: `seed ${strand.seed}` }));
    const cards = strands.map((strand, i) => {
      const text = make("p", { class: "letters", tabindex: "0", role: "region", "aria-label": `Version ${i + 1}`, dir: "auto" });
      const node = document.createTextNode("");
      text.append(node);
      strand.sink = (more) => node.appendData(more); // read from its beginning, so it is not scrolled
      const button = make("button", { type: "button", "aria-keyshortcuts": String(i + 1), "aria-label": `Take version ${i + 1}` },
        make("kbd", { text: i + 1 }), " Take");
      return make("div", { class: "choice", onclick: (event) => this.#clicked(i, event) }, make("div", { class: "row" }, button, this.ends[i]), text);
    });
    this.place.replaceChildren(...cards);
    this.place.style.setProperty("--versions", strands.length);
    this.place.hidden = false;
  }

  // A click takes one, but not the one that ends a selection of its text, which somebody may want to copy.
  #clicked(i, event) {
    const marked = getSelection(), copying = !marked.isCollapsed && this.place.contains(marked.anchorNode);
    if (event.target.closest("button") || !copying) this.take(i);
  }

  // Say how each has come out.
  ended() {
    this.strands.forEach((strand, i) => {
      this.ends[i].textContent = `seed ${strand.seed} · ${whole(count(strand.shown))}${strand.reason === "stopped" ? ", stopped" : ""}`;
    });
  }

  close() {
    this.place.hidden = true;
    this.place.replaceChildren();
    this.strands = [];
  }
}
