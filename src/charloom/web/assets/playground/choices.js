// Shows several continuations side by side. The user accepts one of them.

import { make, whole } from "./dom.js";
import { countCharacters } from "./code_points.js";

export class Choices {
  // accept(i) is called with the index of the accepted version
  constructor(container, accept) { Object.assign(this, { container, accept, streams: [] }); }

  get open() { return !this.container.hidden; }

  show(streams) {
    this.streams = streams;
    this.captions = streams.map((stream) => make("small", { text: `seed ${stream.seed}` }));
    const cards = streams.map((stream, i) => {
      const text = make("p", { class: "prose", tabindex: "0", role: "region", "aria-label": `Version ${i + 1}`, dir: "auto" });
      const node = document.createTextNode("");
      text.append(node);
      stream.sink = (more) => node.appendData(more); // without scrolling: the user reads from the beginning
      const button = make("button", { type: "button", "aria-keyshortcuts": String(i + 1), "aria-label": `Accept version ${i + 1}` },
        make("kbd", { text: i + 1 }), " Accept");
      return make("div", { class: "choice", onclick: (event) => this.#clicked(i, event) }, make("div", { class: "row" }, button, this.captions[i]), text);
    });
    this.container.replaceChildren(...cards);
    this.container.style.setProperty("--versions", streams.length);
    this.container.hidden = false;
  }

  // A click accepts a version, unless the user has selected some of its text, probably to copy it.
  #clicked(i, event) {
    const selection = getSelection(), copying = !selection.isCollapsed && this.container.contains(selection.anchorNode);
    if (event.target.closest("button") || !copying) this.accept(i);
  }

  // Show the length of each version.
  showResults() {
    this.streams.forEach((stream, i) => {
      this.captions[i].textContent = `seed ${stream.seed} · ${whole(countCharacters(stream.shown))} characters${stream.reason === "stopped" ? ", stopped" : ""}`;
    });
  }

  close() {
    this.container.hidden = true;
    this.container.replaceChildren();
    this.streams = [];
  }
}
