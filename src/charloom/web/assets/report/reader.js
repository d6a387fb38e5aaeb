// The text of the report, colored by surprisal or by a neuron's activation, with the top predictions for each character.

import { make } from "./dom.js";
import { decodeBase64, visible } from "./text.js";

const MIN_BLOCK = 500; // minimum characters in a block, which ends with a line; only visible blocks are colored

export class Reader {
  constructor(data) {
    this.text = Array.from(data.text.text); // by code point
    this.vocabulary = data.model.vocabulary;
    this.predictionsEach = data.text.guesses_each;
    this.surprisals = new Uint16Array(decodeBase64(data.text.surprisals).buffer);
    this.topIds = new Uint16Array(decodeBase64(data.text.guesses).buffer);
    this.probabilities = new Uint16Array(decodeBase64(data.text.probabilities).buffer);
    this.neurons = data.neurons;
    this.levels = null; // the packed activations of the selected neuron; null: color by surprisal
    this.version = 0;
    this.container = document.getElementById("text");
    this.side = document.getElementById("predictions");
    this.splitIntoBlocks();
    this.listen();
    this.select(Math.min(1, this.text.length - 1), false);
  }

  splitIntoBlocks() {
    this.blocks = [];
    let start = 0;
    for (let i = 0; i < this.text.length; i++) {
      const full = i - start >= MIN_BLOCK - 1;
      if (i === this.text.length - 1 || (full && this.text[i] === "\n") || i - start >= 8 * MIN_BLOCK) {
        this.blocks.push({ start, end: i + 1, version: -1, visible: false });
        start = i + 1;
      }
    }
    const observer = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        const block = this.blocks[entry.target.block];
        block.visible = entry.isIntersecting;
        if (block.visible) this.paint(block);
      }
    }, { root: this.container, rootMargin: "300px" });
    this.blocks.forEach((block, i) => {
      block.node = make("div", { text: this.text.slice(block.start, block.end).join("") });
      block.node.block = i;
      this.container.append(block.node);
      observer.observe(block.node);
    });
  }

  fill(block) {
    const spans = [];
    for (let i = block.start; i < block.end; i++) {
      const span = document.createElement("span");
      span.textContent = this.text[i];
      span.i = i;
      spans.push(span);
    }
    block.node.replaceChildren(...spans);
    block.spans = spans;
  }

  paint(block) {
    if (block.version === this.version) return;
    if (!block.spans) this.fill(block);
    for (const span of block.spans) {
      const newline = this.text[span.i] === "\n" ? "nl " : "";
      span.className = newline + this.color(span.i) + (span.i === this.here ? " here" : "");
    }
    block.version = this.version;
  }

  repaint() {
    this.version++;
    for (const block of this.blocks) if (block.visible) this.paint(block);
    this.showPredictions();
  }

  color(i) {
    if (this.levels) {
      const level = this.level(i);
      return level > 0 ? `p${level}` : level < 0 ? `n${-level}` : "";
    }
    const bits = i ? this.surprisals[i - 1] / 100 : 0;
    const step = Math.min(7, Math.floor(bits));
    return step ? `p${step}` : "";
  }

  // The selected neuron's activation at a character, quantized to -7 ... 7.
  level(i) { return ((this.levels[i >> 1] >> (i % 2 ? 4 : 0)) & 15) - this.neurons.levels - 1; }

  // Color by a neuron, or by surprisal if it is null.
  show(neuron) {
    // slice the neuron's bytes out of the base64 text for all neurons: three bytes are four characters
    if (neuron === null) this.levels = null;
    else {
      const from = neuron * this.neurons.bytes_each, to = from + this.neurons.bytes_each;
      const first = Math.floor(from / 3), last = Math.ceil(to / 3);
      this.levels = decodeBase64(this.neurons.states.slice(4 * first, 4 * last)).subarray(from - 3 * first, to - 3 * first);
    }
    this.repaint();
  }

  listen() {
    const point = (event) => { if (event.target.i !== undefined) this.select(event.target.i, false); };
    this.container.addEventListener("pointerover", point);
    this.container.addEventListener("pointerdown", point);
    this.container.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.line(-1), ArrowDown: this.line(1), PageUp: -500, PageDown: 500,
        Home: -Infinity, End: Infinity }[event.key];
      if (step === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      this.select(Math.max(0, Math.min(this.text.length - 1, this.here + step)), true);
    });
  }

  // The distance to the same column of the next or previous line.
  line(direction) {
    const newline = (i, step) => { while (i >= 0 && i < this.text.length && this.text[i] !== "\n") i += step; return i; };
    const begin = newline(this.here - 1, -1) + 1, column = this.here - begin;
    if (direction > 0) {
      const next = newline(this.here, 1) + 1;
      return Math.max(1, Math.min(next + column, newline(next, 1)) - this.here);
    }
    const before = newline(begin - 2, -1) + 1;
    return Math.max(1, this.here - Math.min(before + column, Math.max(before, begin - 1)));
  }

  span(i) {
    const block = this.blocks.find((one) => i < one.end);
    if (!block.spans) { this.fill(block); block.version = -1; this.paint(block); }
    return block.spans[i - block.start];
  }

  select(i, follow) {
    if (this.here !== undefined) this.span(this.here).classList.remove("here");
    this.here = i;
    const span = this.span(i);
    span.classList.add("here");
    if (follow) span.scrollIntoView({ block: "nearest" });
    this.showPredictions();
  }

  showPredictions() {
    const i = this.here, character = this.text[i];
    const rows = [make("p", { text: `“${visible(character)}”, character ${(i + 1).toLocaleString("en")}` })];
    if (this.levels) rows.push(make("p", { text: `Activation: ${this.level(i)} on a scale of ±${this.neurons.levels}` }));
    if (i === 0) rows.push(make("p", { text: "The first character is not predicted, because no character precedes it." }));
    else {
      const bits = this.surprisals[i - 1] / 100;
      rows.push(make("p", { text: `Surprisal: ${bits.toFixed(2)} bits. Top predictions (✓: actual character):` }));
      rows.push(make("ol", {}, ...this.predictions(i).map(([c, probability, actual]) => {
        const bar = make("i");
        bar.style.width = `${100 * probability}%`;
        const percent = probability >= 0.0995 ? (100 * probability).toFixed(0) : probability >= 0.001 ? (100 * probability).toPrecision(2) : "< 0.1";
        return make("li", actual ? { class: "actual" } : {}, make("kbd", { text: visible(c) }), make("span", {}, bar),
          make("b", { text: `${percent} %` }));
      })));
    }
    this.side.replaceChildren(...rows);
  }

  // The top predictions for a character, and the character itself: [character, probability, whether it is the actual one].
  predictions(i) {
    const rows = [];
    for (let k = 0; k < this.predictionsEach; k++) {
      const at = (i - 1) * this.predictionsEach + k, c = this.vocabulary[this.topIds[at]];
      rows.push([c, this.probabilities[at] / 65535, c === this.text[i]]);
    }
    if (!rows.some((row) => row[2])) rows.push([this.text[i], 2 ** (-this.surprisals[i - 1] / 100), true]);
    return rows;
  }
}
