// Several continuations side by side, to choose one from.

import { make, whole } from "./dom.js";
import { countCharacters } from "./code_points.js";

export class Choices {
  // take(i) is called with the index of the chosen one
  constructor(container, take) { Object.assign(this, { container, take, streams: [] }); }

  get open() { return !this.container.hidden; }

  show(streams) {
    this.streams = streams;
    this.ends = streams.map((stream) => make("small", { text: `seed ${stream.seed}` }));
    const cards = streams.map((stream, i) => {
      const text = make("p", { class: "letters", tabindex: "0", role: "region", "aria-label": `Version ${i + 1}`, dir: "auto" });
      const node = document.createTextNode("");
      text.append(node);
      stream.sink = (more) => node.appendData(more); // not scrolled, as it is read from its beginning
      const button = make("button", { type: "button", "aria-keyshortcuts": String(i + 1), "aria-label": `Take version ${i + 1}` },
        make("kbd", { text: i + 1 }), " Take");
      return make("div", { class: "choice", onclick: (event) => this.#clicked(i, event) }, make("div", { class: "row" }, button, this.ends[i]), text);
    });
    this.container.replaceChildren(...cards);
    this.container.style.setProperty("--versions", streams.length);
    this.container.hidden = false;
  }

  // A click takes a version, unless it ends a selection of its text, which the user may want to copy.
  #clicked(i, event) {
    const selection = getSelection(), copying = !selection.isCollapsed && this.container.contains(selection.anchorNode);
    if (event.target.closest("button") || !copying) this.take(i);
  }

  // Show the result of each.
  showResults() {
    this.streams.forEach((stream, i) => {
      this.ends[i].textContent = `seed ${stream.seed} · ${whole(countCharacters(stream.shown))}${stream.reason === "stopped" ? ", stopped" : ""}`;
    });
  }

  close() {
    this.container.hidden = true;
    this.container.replaceChildren();
    this.streams = [];
  }
}
