// Line charts with zoom, and scatter plots.

import { assemble, make } from "./dom.js";
import { visible } from "./text.js";

function makeSvg(name, attributes, ...children) {
  return assemble(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function short(value) {
  const size = Math.abs(value);
  if (size >= 1e6) return +(value / 1e6).toPrecision(3) + "M";
  if (size >= 1e4) return +(value / 1e3).toPrecision(3) + "k";
  return size !== 0 && size < 1e-3 ? value.toExponential(1) : String(+value.toPrecision(4));
}

function ticks(low, high, about) {
  const rough = (high - low) / about || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const result = [];
  for (let t = Math.ceil(low / step) * step; t <= high + step * 1e-6; t += step) result.push(Math.abs(t) < step * 1e-6 ? 0 : t);
  return result;
}

const FRAME = { width: 720, height: 300, left: 58, right: 12, top: 10, bottom: 40 };

export class LineChart {
  // series: [{name, points: [[x, y], ...], dashed}]. Zoom by dragging, with the buttons, or with + - arrows 0.
  constructor(container, { series, x, y, log = false }) {
    Object.assign(this, { container, series: series.filter((one) => one.points.length), x, y, log });
    const all = this.series.flatMap((one) => one.points);
    this.whole = [Math.min(...all.map((p) => p[0])), Math.max(...all.map((p) => p[0]))];
    if (this.whole[0] === this.whole[1]) this.whole[1] += 1;
    this.range = [...this.whole];
    this.svg = makeSvg("svg", { viewBox: `0 0 ${FRAME.width} ${FRAME.height}`, tabindex: 0, role: "img",
      "aria-label": `${y} over ${x}: ${this.series.map((one) => one.name).join(", ")}. Plus and minus zoom, arrows move.` });
    this.keys = make("div", { class: "keys" }, ...this.series.map((one, i) => make("span", { class: `s${i}`, text: one.name })));
    this.readout = make("p", { class: "note", text: "Drag over a part of the chart to see it closer." });
    const buttons = [["Closer", () => this.zoom(0.5)], ["Farther", () => this.zoom(2)], ["All", () => this.show(this.whole)]];
    const bar = make("div", { class: "bar" }, ...buttons.map(([text, onclick]) => make("button", { type: "button", text, onclick })));
    container.replaceChildren(this.keys, this.svg, bar, this.readout);
    this.listen();
    this.draw();
  }

  warp(v) { return this.log ? Math.log(v) : v; }

  along(v) {
    const [a, b] = this.range.map((r) => this.warp(r));
    return FRAME.left + ((this.warp(v) - a) / (b - a)) * (FRAME.width - FRAME.left - FRAME.right);
  }

  at(pixel) {
    const [a, b] = this.range.map((r) => this.warp(r));
    const v = a + ((pixel - FRAME.left) / (FRAME.width - FRAME.left - FRAME.right)) * (b - a);
    return this.log ? Math.exp(v) : v;
  }

  up(v) { return FRAME.top + (1 - (v - this.low) / (this.high - this.low)) * (FRAME.height - FRAME.top - FRAME.bottom); }

  show([from, to]) {
    const minWidth = (this.whole[1] - this.whole[0]) / 1000;
    from = Math.max(this.whole[0], from);
    to = Math.min(this.whole[1], to);
    if (to - from >= minWidth) this.range = [from, to];
    this.draw();
  }

  zoom(factor) {
    const middle = (this.range[0] + this.range[1]) / 2, half = ((this.range[1] - this.range[0]) / 2) * factor;
    this.show([middle - half, middle + half]);
  }

  move(share) {
    const width = this.range[1] - this.range[0];
    const by = Math.max(this.whole[0] - this.range[0], Math.min(this.whole[1] - this.range[1], share * width));
    this.show([this.range[0] + by, this.range[1] + by]);
  }

  draw() {
    const [from, to] = this.range;
    const seen = this.series.flatMap((one) => one.points.filter(([px]) => px >= from && px <= to).map((p) => p[1]));
    this.low = Math.min(...seen); this.high = Math.max(...seen);
    if (!seen.length) [this.low, this.high] = [0, 1];
    const room = (this.high - this.low || Math.abs(this.high) || 1) * 0.05;
    this.low -= room; this.high += room;
    const parts = [];
    const { left, right, top, bottom, width, height } = FRAME;
    for (const t of ticks(this.low, this.high, 5)) {
      parts.push(makeSvg("line", { class: "grid", x1: left, x2: width - right, y1: this.up(t), y2: this.up(t) }));
      parts.push(makeSvg("text", { x: left - 6, y: this.up(t) + 4, "text-anchor": "end", text: short(t) }));
    }
    const marks = this.log ? this.series[0].points.map((p) => p[0]).filter((v, i) => i % 2 === 0 && v >= from && v <= to) : ticks(from, to, 6);
    for (const t of marks) parts.push(makeSvg("text", { x: this.along(t), y: height - bottom + 18, "text-anchor": "middle", text: short(t) }));
    parts.push(makeSvg("text", { x: (left + width - right) / 2, y: height - 4, "text-anchor": "middle", text: this.x }));
    parts.push(makeSvg("text", { x: 12, y: height / 2, "text-anchor": "middle", transform: `rotate(-90 12 ${height / 2})`, text: this.y }));
    const paths = this.series.map((one, i) => {
      const inRange = one.points.filter(([px], j, all) => (all[j + 1]?.[0] ?? px) >= from && (all[j - 1]?.[0] ?? px) <= to);
      const d = inRange.map(([px, py], j) => `${j ? "L" : "M"}${this.along(px).toFixed(1)} ${this.up(py).toFixed(1)}`).join("");
      return makeSvg("path", { d, class: `s${i}${one.dashed ? " dashed" : ""}` });
    });
    const inner = { x: left, y: top, width: width - left - right, height: height - top - bottom };
    parts.push(makeSvg("svg", { ...inner, viewBox: Object.values(inner).join(" ") }, ...paths)); // clips what is outside
    this.brush = makeSvg("rect", { class: "brush", x: 0, y: top, width: 0, height: height - top - bottom });
    this.cross = makeSvg("line", { class: "cross", x1: -9, x2: -9, y1: top, y2: height - bottom });
    this.svg.replaceChildren(...parts, this.brush, this.cross);
  }

  listen() {
    let began = null;
    const pixel = (event) => {
      const box = this.svg.getBoundingClientRect();
      return Math.max(FRAME.left, Math.min(FRAME.width - FRAME.right, ((event.clientX - box.left) / box.width) * FRAME.width));
    };
    this.svg.addEventListener("pointerdown", (event) => { began = pixel(event); this.svg.setPointerCapture(event.pointerId); });
    this.svg.addEventListener("pointermove", (event) => {
      const here = pixel(event);
      this.showValues(here);
      if (began === null) return;
      this.brush.setAttribute("x", Math.min(began, here));
      this.brush.setAttribute("width", Math.abs(here - began));
    });
    this.svg.addEventListener("pointerup", (event) => {
      const here = pixel(event), from = began;
      began = null;
      this.brush.setAttribute("width", 0);
      if (from !== null && Math.abs(here - from) > 8) this.show([this.at(Math.min(from, here)), this.at(Math.max(from, here))]);
    });
    this.svg.addEventListener("pointercancel", () => { began = null; this.brush.setAttribute("width", 0); });
    this.svg.addEventListener("keydown", (event) => {
      const action = { "+": () => this.zoom(0.5), "=": () => this.zoom(0.5), "-": () => this.zoom(2), 0: () => this.show(this.whole),
        ArrowLeft: () => this.move(-0.25), ArrowRight: () => this.move(0.25) }[event.key];
      if (action) { event.preventDefault(); action(); }
    });
  }

  showValues(here) {
    const x = this.at(here);
    const values = this.series.map((one) => {
      const best = one.points.reduce((a, b) => (Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a));
      return [best[0], `${one.name} ${short(best[1])}`];
    });
    this.cross.setAttribute("x1", this.along(values[0][0]));
    this.cross.setAttribute("x2", this.along(values[0][0]));
    this.readout.textContent = `${this.x} ${short(values[0][0])}: ${values.map((v) => v[1]).join(", ")}`;
  }
}

function square(label, parts) {
  return makeSvg("svg", { viewBox: "-24 -14 260 262", role: "img", "aria-label": label }, ...parts);
}

export function scatter(points, label) {
  // points: [[x, y], ...] in [0, 1]
  const parts = [0, 0.5, 1].flatMap((t) => [
    makeSvg("line", { class: "grid", x1: 0, x2: 220, y1: 220 - 220 * t, y2: 220 - 220 * t }),
    makeSvg("text", { x: -4, y: 224 - 220 * t, "text-anchor": "end", text: t }),
    makeSvg("text", { x: 220 * t, y: 236, "text-anchor": "middle", text: t }),
  ]);
  for (const [x, y] of points) parts.push(makeSvg("circle", { class: "dot", cx: 220 * x, cy: 220 - 220 * y, r: 2.5 }));
  return square(label, parts);
}

export function embeddingMap(points) {
  const parts = points.map((p) => makeSvg("text", { class: "letter", x: 110 + 104 * p.x, y: 114 - 104 * p.y, "text-anchor": "middle",
    text: visible(p.character) }));
  return square("Characters where their embeddings lie", parts);
}
