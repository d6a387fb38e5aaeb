"use strict";
// The text, coloured by surprisal or by a neuron, with what was expected at each character.

const PER_BLOCK = 500; // characters at least, up to the end of a line; colours are given to blocks that are seen

function bytes(base64) {
  const raw = atob(base64), found = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) found[i] = raw.charCodeAt(i);
  return found;
}

class Reader {
  constructor(data) {
    this.text = Array.from(data.text.text); // by code point
    this.vocabulary = data.model.vocabulary;
    this.each = data.text.guesses_each;
    this.surprisals = new Uint16Array(bytes(data.text.surprisals).buffer);
    this.likeliest = new Uint16Array(bytes(data.text.guesses).buffer);
    this.shares = new Uint16Array(bytes(data.text.probabilities).buffer);
    this.neurons = data.neurons;
    this.levels = null; // of the neuron that is shown
    this.version = 0;
    this.place = document.getElementById("text");
    this.side = document.getElementById("guesses");
    this.cut();
    this.listen();
    this.go(Math.min(1, this.text.length - 1), false);
  }

  cut() {
    this.blocks = [];
    let start = 0;
    for (let i = 0; i < this.text.length; i++) {
      const full = i - start >= PER_BLOCK - 1;
      if (i === this.text.length - 1 || (full && this.text[i] === "\n") || i - start >= 8 * PER_BLOCK) {
        this.blocks.push({ start, end: i + 1, version: -1, seen: false });
        start = i + 1;
      }
    }
    const watcher = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        const block = this.blocks[entry.target.block];
        block.seen = entry.isIntersecting;
        if (block.seen) this.paint(block);
      }
    }, { root: this.place, rootMargin: "300px" });
    this.blocks.forEach((block, i) => {
      block.node = make("div", { text: this.text.slice(block.start, block.end).join("") });
      block.node.block = i;
      this.place.append(block.node);
      watcher.observe(block.node);
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
      span.className = newline + this.colour(span.i) + (span.i === this.here ? " here" : "");
    }
    block.version = this.version;
  }

  repaint() {
    this.version++;
    for (const block of this.blocks) if (block.seen) this.paint(block);
    this.tell();
  }

  colour(i) {
    if (this.levels) {
      const level = this.level(i);
      return level > 0 ? `p${level}` : level < 0 ? `n${-level}` : "";
    }
    const bits = i ? this.surprisals[i - 1] / 100 : 0;
    const step = Math.min(7, Math.floor(bits));
    return step ? `p${step}` : "";
  }

  level(i) { return ((this.levels[i >> 1] >> (i % 2 ? 4 : 0)) & 15) - this.neurons.levels - 1; }

  show(neuron) {
    // bytes of one neuron are cut out of the text of all of them: three bytes are four characters there
    if (neuron === null) this.levels = null;
    else {
      const from = neuron * this.neurons.bytes_each, to = from + this.neurons.bytes_each;
      const first = Math.floor(from / 3), last = Math.ceil(to / 3);
      this.levels = bytes(this.neurons.states.slice(4 * first, 4 * last)).subarray(from - 3 * first, to - 3 * first);
    }
    this.repaint();
  }

  listen() {
    const point = (event) => { if (event.target.i !== undefined) this.go(event.target.i, false); };
    this.place.addEventListener("pointerover", point);
    this.place.addEventListener("pointerdown", point);
    this.place.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.line(-1), ArrowDown: this.line(1), PageUp: -500, PageDown: 500,
        Home: -Infinity, End: Infinity }[event.key];
      if (step === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      this.go(Math.max(0, Math.min(this.text.length - 1, this.here + step)), true);
    });
  }

  line(direction) {
    // how far the same column of the next line is, or of the one before
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

  go(i, follow) {
    if (this.here !== undefined) this.span(this.here).classList.remove("here");
    this.here = i;
    const span = this.span(i);
    span.classList.add("here");
    if (follow) span.scrollIntoView({ block: "nearest" });
    this.tell();
  }

  tell() {
    const i = this.here, character = this.text[i];
    const rows = [make("p", { text: `“${shown(character)}”, character ${(i + 1).toLocaleString("en")}` })];
    if (this.levels) rows.push(make("p", { text: `the neuron: ${this.level(i)} of ±${this.neurons.levels}` }));
    if (i === 0) rows.push(make("p", { text: "Nothing comes before the first character." }));
    else {
      const bits = this.surprisals[i - 1] / 100;
      rows.push(make("p", { text: `${bits.toFixed(2)} bits. Expected here were:` }));
      rows.push(make("ol", {}, ...this.expected(i).map(([c, share, came]) => {
        const bar = make("i");
        bar.style.width = `${100 * share}%`;
        const percent = share >= 0.0995 ? (100 * share).toFixed(0) : share >= 0.001 ? (100 * share).toPrecision(2) : "< 0.1";
        return make("li", came ? { class: "came" } : {}, make("kbd", { text: shown(c) + (came ? " came" : "") }), make("span", {}, bar),
          make("b", { text: `${percent} %` }));
      })));
    }
    this.side.replaceChildren(...rows);
  }

  expected(i) {
    const rows = [];
    for (let k = 0; k < this.each; k++) {
      const at = (i - 1) * this.each + k, c = this.vocabulary[this.likeliest[at]];
      rows.push([c, this.shares[at] / 65535, c === this.text[i]]);
    }
    if (!rows.some((row) => row[2])) rows.push([this.text[i], 2 ** (-this.surprisals[i - 1] / 100), true]);
    return rows;
  }
}
