// The editor: a textarea with transparent text on top of an element, the mirror, that shows the same text in color. The
// mirror has one text node per line. Colors are CSS highlights, which never change the layout.

import { MODEL } from "./document_model.js";
import { LEVELS } from "./surprisal.js";

const MARGIN = 600; // pixels above and below the viewport that are also painted
export const canColor = typeof Highlight === "function" && Boolean(CSS.highlights);

export class Editor {
  constructor(area, mirror) {
    Object.assign(this, { area, mirror, lines: [], starts: [0], nodes: [], marks: new Map() });
    if (canColor) {
      for (const name of ["model", ...Array.from({ length: LEVELS }, (_, i) => `bits${i + 1}`)]) {
        const marks = new Highlight();
        this.marks.set(name, marks);
        CSS.highlights.set(name, marks);
      }
    }
    let scheduled = false;
    const schedulePaint = () => {
      if (scheduled) return;
      scheduled = true;
      requestAnimationFrame(() => { scheduled = false; this.#paint(); });
    };
    addEventListener("scroll", schedulePaint, { passive: true });
    addEventListener("resize", schedulePaint);
  }

  get selection() { return [this.area.selectionStart, this.area.selectionEnd]; }

  select(start, end = start) { this.area.setSelectionRange(start, end); }

  // Show a document and select a range. `surprisals` is null if characters are not colored.
  show(doc, surprisals, start = null, end = start) {
    Object.assign(this, { doc, surprisals });
    const selected = start === null ? this.selection : [start, end], changed = this.area.value !== doc.text;
    if (changed) this.area.value = doc.text;
    if (changed || start !== null) this.select(...selected);
    this.#updateMirror(doc.text);
    this.#paint();
  }

  // Update only the lines of the mirror that have changed.
  #updateMirror(text) {
    const old = this.lines, lines = text.split("\n");
    let head = 0, tail = 0;
    const max = Math.min(old.length, lines.length);
    while (head < max && old[head] === lines[head]) head++;
    while (tail < max - head && old[old.length - 1 - tail] === lines[lines.length - 1 - tail]) tail++;
    const changed = old.length - tail - head, needed = lines.length - tail - head;
    for (let i = 0; i < Math.min(changed, needed); i++) this.nodes[head + i].firstChild.data = lines[head + i];
    const removed = this.nodes.splice(head + needed, Math.max(0, changed - needed));
    for (const node of removed) node.remove();
    if (needed > changed) {
      const added = lines.slice(head + changed, head + needed).map((line) => {
        const node = document.createElement("div");
        node.append(document.createTextNode(line));
        return node;
      });
      const after = this.nodes[head + changed] ?? null;
      for (const node of added) this.mirror.insertBefore(node, after);
      this.nodes.splice(head + changed, 0, ...added);
    }
    this.lines = lines;
    let start = 0;
    this.starts = lines.map((line) => { const here = start; start += line.length + 1; return here; });
  }

  // The first line whose lower edge is below a y-coordinate in the viewport.
  #lineAt(y) {
    let low = 0, high = this.nodes.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.nodes[middle].getBoundingClientRect().bottom > y) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  #paint() {
    if (!canColor || !this.doc) return;
    for (const marks of this.marks.values()) marks.clear();
    const last = this.#lineAt(innerHeight + MARGIN);
    for (let i = this.#lineAt(-MARGIN); i <= last; i++) this.#paintLine(i);
  }

  #paintLine(i) {
    const { authors } = this.doc, from = this.starts[i], length = this.lines[i].length, node = this.nodes[i].firstChild;
    const highlightRuns = (kindOf, name) => {
      for (let start = 0; start < length;) {
        const kind = kindOf(from + start);
        let end = start + 1;
        while (end < length && kindOf(from + end) === kind) end++;
        if (kind) this.marks.get(name(kind)).add(new StaticRange({ startContainer: node, startOffset: start, endContainer: node, endOffset: end }));
        start = end;
      }
    };
    highlightRuns((unit) => authors[unit] === MODEL, () => "model");
    if (this.surprisals) highlightRuns((unit) => this.surprisals.level(unit), (level) => `bits${level}`);
  }

  // The rectangle of the character at an offset, in viewport coordinates.
  rectangleAt(offset) {
    let i = this.starts.findLastIndex((start) => start <= offset);
    if (i < 0) i = 0;
    const node = this.nodes[i].firstChild, range = document.createRange();
    range.setStart(node, Math.min(offset - this.starts[i], node.length));
    const rectangle = range.getBoundingClientRect();
    return rectangle.height ? rectangle : this.nodes[i].getBoundingClientRect();
  }

  // Scroll so that an offset is visible above a footer.
  scrollTo(offset, footerHeight) {
    const { top, bottom } = this.rectangleAt(offset), margin = 24, lowest = innerHeight - footerHeight - margin;
    if (bottom > lowest) scrollBy(0, bottom - lowest);
    else if (top < margin) scrollBy(0, top - margin);
  }
}
