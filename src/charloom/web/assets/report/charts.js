// Line charts with zoom, scatter plots, and the map of embeddings.

import { assemble, make } from "./dom.js";
import { visible } from "./text.js";

function makeSvg(name, attributes, ...children) {
  return assemble(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

// Format a number for an axis.
function short(value) {
  const size = Math.abs(value);
  if (size >= 1e6) return +(value / 1e6).toPrecision(3) + "M";
  if (size >= 1e4) return +(value / 1e3).toPrecision(3) + "k";
  return size !== 0 && size < 1e-3 ? value.toExponential(1) : String(+value.toPrecision(4));
}

// About `count` round numbers from low to high.
function ticks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const result = [];
  for (let t = Math.ceil(low / step) * step; t <= high + step * 1e-6; t += step) result.push(Math.abs(t) < step * 1e-6 ? 0 : t);
  return result;
}

const FRAME = { width: 720, height: 300, left: 58, right: 12, top: 10, bottom: 40 };
const MIN_WIDTH = 300; // a chart is drawn at most at this scale on a narrow screen, so that its labels stay legible

export class LineChart {
  // series: [{name, points: [[x, y], ...], dashed}]; x, y: axis labels; log: whether the x axis is logarithmic.
  // Zoom by dragging, with the buttons, or with the keys + - 0 and the arrow keys.
  constructor(container, { series, x, y, log = false }) {
    const width = Math.max(MIN_WIDTH, Math.min(FRAME.width, container.clientWidth || FRAME.width));
    Object.assign(this, { container, series: series.filter((one) => one.points.length), x, y, log, frame: { ...FRAME, width } });
    const all = this.series.flatMap((one) => one.points);
    this.fullRange = [Math.min(...all.map((p) => p[0])), Math.max(...all.map((p) => p[0]))];
    if (this.fullRange[0] === this.fullRange[1]) this.fullRange[1] += 1;
    this.range = [...this.fullRange];
    this.svg = makeSvg("svg", { viewBox: `0 0 ${this.frame.width} ${this.frame.height}`, tabindex: 0, role: "img",
      "aria-label": `${y} over ${x}: ${this.series.map((one) => one.name).join(", ")}. Press plus or minus to zoom, arrow keys to pan, 0 to reset.` });
    this.keys = make("div", { class: "keys" }, ...this.series.map((one, i) => make("span", { class: `s${i}`, text: one.name })));
    this.readout = make("p", { class: "note", text: "Drag across the chart to zoom in." });
    const buttons = [["Zoom in", () => this.zoom(0.5)], ["Zoom out", () => this.zoom(2)], ["Reset zoom", () => this.show(this.fullRange)]];
    const bar = make("div", { class: "bar" }, ...buttons.map(([text, onclick]) => make("button", { type: "button", text, onclick })));
    container.replaceChildren(this.keys, this.svg, bar, this.readout);
    this.listen();
    this.draw();
  }

  // Apply the scale of the x axis.
  scale(v) { return this.log ? Math.log(v) : v; }

  // The horizontal pixel of a value.
  pixelX(v) {
    const [a, b] = this.range.map((r) => this.scale(r));
    return this.frame.left + ((this.scale(v) - a) / (b - a)) * (this.frame.width - this.frame.left - this.frame.right);
  }

  // The value at a horizontal pixel.
  valueX(pixel) {
    const [a, b] = this.range.map((r) => this.scale(r));
    const v = a + ((pixel - this.frame.left) / (this.frame.width - this.frame.left - this.frame.right)) * (b - a);
    return this.log ? Math.exp(v) : v;
  }

  // The vertical pixel of a value.
  pixelY(v) { return this.frame.top + (1 - (v - this.low) / (this.high - this.low)) * (this.frame.height - this.frame.top - this.frame.bottom); }

  show([from, to]) {
    const minWidth = (this.fullRange[1] - this.fullRange[0]) / 1000;
    from = Math.max(this.fullRange[0], from);
    to = Math.min(this.fullRange[1], to);
    if (to - from >= minWidth) this.range = [from, to];
    this.draw();
  }

  zoom(factor) {
    const middle = (this.range[0] + this.range[1]) / 2, half = ((this.range[1] - this.range[0]) / 2) * factor;
    this.show([middle - half, middle + half]);
  }

  // Pan by a fraction of the visible range.
  pan(fraction) {
    const width = this.range[1] - this.range[0];
    const by = Math.max(this.fullRange[0] - this.range[0], Math.min(this.fullRange[1] - this.range[1], fraction * width));
    this.show([this.range[0] + by, this.range[1] + by]);
  }

  draw() {
    const [from, to] = this.range;
    const visibleValues = this.series.flatMap((one) => one.points.filter(([px]) => px >= from && px <= to).map((p) => p[1]));
    this.low = Math.min(...visibleValues); this.high = Math.max(...visibleValues);
    if (!visibleValues.length) [this.low, this.high] = [0, 1];
    const margin = (this.high - this.low || Math.abs(this.high) || 1) * 0.05;
    this.low -= margin; this.high += margin;
    const elements = [];
    const { left, right, top, bottom, width, height } = this.frame;
    for (const t of ticks(this.low, this.high, 5)) {
      elements.push(makeSvg("line", { class: "grid", x1: left, x2: width - right, y1: this.pixelY(t), y2: this.pixelY(t) }));
      elements.push(makeSvg("text", { x: left - 6, y: this.pixelY(t) + 4, "text-anchor": "end", text: short(t) }));
    }
    const xTicks = this.log ? this.series[0].points.map((p) => p[0]).filter((v, i) => i % (width < 480 ? 4 : 2) === 0 && v >= from && v <= to) : ticks(from, to, width / 120);
    for (const t of xTicks) elements.push(makeSvg("text", { x: this.pixelX(t), y: height - bottom + 18, "text-anchor": "middle", text: short(t) }));
    elements.push(makeSvg("text", { x: (left + width - right) / 2, y: height - 4, "text-anchor": "middle", text: this.x }));
    elements.push(makeSvg("text", { x: 12, y: height / 2, "text-anchor": "middle", transform: `rotate(-90 12 ${height / 2})`, text: this.y }));
    const paths = this.series.map((one, i) => {
      const inRange = one.points.filter(([px], j, all) => (all[j + 1]?.[0] ?? px) >= from && (all[j - 1]?.[0] ?? px) <= to);
      const d = inRange.map(([px, py], j) => `${j ? "L" : "M"}${this.pixelX(px).toFixed(1)} ${this.pixelY(py).toFixed(1)}`).join("");
      return makeSvg("path", { d, class: `s${i}${one.dashed ? " dashed" : ""}` });
    });
    const inner = { x: left, y: top, width: width - left - right, height: height - top - bottom };
    elements.push(makeSvg("svg", { ...inner, viewBox: Object.values(inner).join(" ") }, ...paths)); // clips the lines to the frame
    this.brush = makeSvg("rect", { class: "brush", x: 0, y: top, width: 0, height: height - top - bottom });
    this.crosshair = makeSvg("line", { class: "crosshair", x1: -9, x2: -9, y1: top, y2: height - bottom });
    this.svg.replaceChildren(...elements, this.brush, this.crosshair);
  }

  listen() {
    let dragStart = null; // pixel
    const pixel = (event) => {
      const box = this.svg.getBoundingClientRect();
      return Math.max(this.frame.left, Math.min(this.frame.width - this.frame.right, ((event.clientX - box.left) / box.width) * this.frame.width));
    };
    this.svg.addEventListener("pointerdown", (event) => { dragStart = pixel(event); this.svg.setPointerCapture(event.pointerId); });
    this.svg.addEventListener("pointermove", (event) => {
      const here = pixel(event);
      this.showValues(here);
      if (dragStart === null) return;
      this.brush.setAttribute("x", Math.min(dragStart, here));
      this.brush.setAttribute("width", Math.abs(here - dragStart));
    });
    this.svg.addEventListener("pointerup", (event) => {
      const here = pixel(event), from = dragStart;
      dragStart = null;
      this.brush.setAttribute("width", 0);
      if (from !== null && Math.abs(here - from) > 8) this.show([this.valueX(Math.min(from, here)), this.valueX(Math.max(from, here))]);
    });
    this.svg.addEventListener("pointercancel", () => { dragStart = null; this.brush.setAttribute("width", 0); });
    this.svg.addEventListener("keydown", (event) => {
      const action = { "+": () => this.zoom(0.5), "=": () => this.zoom(0.5), "-": () => this.zoom(2), 0: () => this.show(this.fullRange),
        ArrowLeft: () => this.pan(-0.25), ArrowRight: () => this.pan(0.25) }[event.key];
      if (action) { event.preventDefault(); action(); }
    });
  }

  // Show the values of all series nearest to a horizontal pixel.
  showValues(here) {
    const x = this.valueX(here);
    const values = this.series.map((one) => {
      const nearest = one.points.reduce((a, b) => (Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a));
      return [nearest[0], `${one.name} ${short(nearest[1])}`];
    });
    this.crosshair.setAttribute("x1", this.pixelX(values[0][0]));
    this.crosshair.setAttribute("x2", this.pixelX(values[0][0]));
    this.readout.textContent = `${this.x} ${short(values[0][0])}: ${values.map((v) => v[1]).join(", ")}`;
  }
}

function square(label, elements) {
  return makeSvg("svg", { viewBox: "-24 -14 260 262", role: "img", "aria-label": label }, ...elements);
}

export function scatter(points, label) {
  // points: [[x, y], ...] in [0, 1]
  const elements = [0, 0.5, 1].flatMap((t) => [
    makeSvg("line", { class: "grid", x1: 0, x2: 220, y1: 220 - 220 * t, y2: 220 - 220 * t }),
    makeSvg("text", { x: -4, y: 224 - 220 * t, "text-anchor": "end", text: t }),
    makeSvg("text", { x: 220 * t, y: 236, "text-anchor": "middle", text: t }),
  ]);
  for (const [x, y] of points) elements.push(makeSvg("circle", { class: "dot", cx: 220 * x, cy: 220 - 220 * y, r: 2.5 }));
  return square(label, elements);
}

export function embeddingMap(points) {
  const elements = points.map((p) => makeSvg("text", { class: "character", x: 110 + 104 * p.x, y: 114 - 104 * p.y, "text-anchor": "middle",
    text: visible(p.character) }));
  return square("Map of the characters' embeddings", elements);
}
