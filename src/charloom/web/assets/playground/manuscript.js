// The text, who wrote each of its letters, and every change made to it, so that it can be taken back.
// Offsets are those of JavaScript: UTF-16 units.

export const WRITER = "w", MODEL = "m"; // one of them for every unit of the text, in a string as long as the text
const PAUSE = 1500; // milliseconds after which typing begins a new step to undo
const MOST_STEPS = 500, MOST_SAVED = 2e6; // steps kept; characters of JSON that the browser is asked to keep

const isLow = (unit) => unit >= 0xdc00 && unit <= 0xdfff;

// The one stretch in which two texts differ, the caret saying which of several equal letters is new; never half a pair.
export function difference(old, value, caret) {
  let tail = 0;
  const mostTail = Math.min(old.length, value.length - caret);
  while (tail < mostTail && old[old.length - 1 - tail] === value[value.length - 1 - tail]) tail++;
  let start = 0;
  const mostStart = Math.min(old.length, value.length) - tail;
  while (start < mostStart && old[start] === value[start]) start++;
  if (tail && isLow(value.charCodeAt(value.length - tail))) tail--;
  if (start && (isLow(value.charCodeAt(start)) || isLow(old.charCodeAt(start)))) start--;
  return { at: start, removed: old.slice(start, old.length - tail), inserted: value.slice(start, value.length - tail) };
}

function joins(last, edit) {
  if (!last || last.kind !== edit.kind || edit.kind === "model" || edit.kind === "repair" || edit.time - last.time > PAUSE) return false;
  if (!last.inserted) return !edit.inserted && (edit.at + edit.removed.length === last.at || edit.at === last.at);
  const atItsEnd = edit.at >= last.at && edit.at + edit.removed.length === last.at + last.inserted.length;
  const newWord = !edit.removed && /\s$/.test(last.inserted) && /^\S/.test(edit.inserted);
  return atItsEnd && !newWord;
}

function join(last, edit) {
  if (last.inserted) {
    const kept = edit.at - last.at;
    last.inserted = last.inserted.slice(0, kept) + edit.inserted;
    last.authors = last.authors.slice(0, kept) + edit.authors;
  } else if (edit.at === last.at) {
    last.removed += edit.removed;
    last.removedAuthors += edit.removedAuthors;
  } else {
    last.at = edit.at;
    last.removed = edit.removed + last.removed;
    last.removedAuthors = edit.removedAuthors + last.removedAuthors;
  }
  last.time = edit.time;
}

export class Manuscript {
  constructor({ text = "", authors = "", done = [], undone = [] } = {}) {
    Object.assign(this, { text, done, undone });
    this.authors = authors.length === text.length ? authors : WRITER.repeat(text.length);
    this.whenChanged = () => {}; // is told from which unit on the text is another
  }

  #splice(at, length, inserted, authors) {
    this.text = this.text.slice(0, at) + inserted + this.text.slice(at + length);
    this.authors = this.authors.slice(0, at) + authors + this.authors.slice(at + length);
    this.whenChanged(at);
  }

  // Replace text[start:end] in one step; `authors` may be one letter for all. Returns the step.
  replace(start, end, inserted, authors, kind, before) {
    const edit = { at: start, removed: this.text.slice(start, end), removedAuthors: this.authors.slice(start, end), inserted,
      authors: authors.length === inserted.length ? authors : authors.repeat(inserted.length), kind, before, time: Date.now() };
    this.#splice(start, end - start, inserted, edit.authors);
    this.undone = [];
    const last = this.done.at(-1);
    if (joins(last, edit)) {
      join(last, edit);
      return last;
    }
    this.done.push(edit);
    if (this.done.length > MOST_STEPS) this.done.shift();
    return edit;
  }

  // Take over what the reader has made of the text in the writing area.
  typed(value, caret, before) {
    const { at, removed, inserted } = difference(this.text, value, caret);
    if (removed || inserted) this.replace(at, at + removed.length, inserted, WRITER, "typing", before);
  }

  // A step that goes on growing: what the model writes.
  begin(start, end, before) { return this.replace(start, end, "", MODEL, "model", before); }

  grow(edit, more) {
    this.#splice(edit.at + edit.inserted.length, 0, more, MODEL.repeat(more.length));
    edit.inserted += more;
    edit.authors += MODEL.repeat(more.length);
  }

  finish(edit) {
    if (edit.inserted || this.done.at(-1) !== edit) return;
    this.undo(); // nothing was written: what was selected comes back
    this.undone.pop();
  }

  undo() {
    const edit = this.done.pop();
    if (!edit) return null;
    this.#splice(edit.at, edit.inserted.length, edit.removed, edit.removedAuthors);
    this.undone.push(edit);
    return edit.before;
  }

  redo() {
    const edit = this.undone.pop();
    if (!edit) return null;
    this.#splice(edit.at, edit.removed.length, edit.inserted, edit.authors);
    this.done.push(edit);
    const end = edit.at + edit.inserted.length;
    return [end, end];
  }

  // The continuation that was written last, if nothing has been done since.
  lastContinuation() {
    const edit = this.done.at(-1);
    return edit?.kind === "model" ? edit : null;
  }

  saved() {
    const whole = JSON.stringify({ text: this.text, authors: this.authors, done: this.done.slice(-100), undone: this.undone.slice(-100) });
    return whole.length <= MOST_SAVED ? whole : JSON.stringify({ text: this.text, authors: this.authors });
  }

  static restored(json) {
    try {
      const { text, authors, done = [], undone = [] } = JSON.parse(json);
      if (typeof text === "string" && typeof authors === "string") return new Manuscript({ text, authors, done, undone });
    } catch { /* nothing was kept, or not by this page: begin with an empty text */ }
    return new Manuscript();
  }
}
