// The document: the text, the author of each character, and the undo history. Offsets count UTF-16 units.

export const WRITER = "w", MODEL = "m"; // the `authors` string has one of these for each unit of the text
const MERGE_TIME = 1500; // milliseconds after which typing starts a new undo step
const MAX_STEPS = 500; // undo steps
const MAX_STORED = 2e6; // UTF-16 units of JSON in the browser's storage

const isLow = (unit) => unit >= 0xdc00 && unit <= 0xdfff;

// The range in which two texts differ, {at, removed, inserted}. If the new character equals its neighbors, the caret tells
// which one is new. Never splits a code point.
export function difference(old, value, caret) {
  let tail = 0;
  const maxTail = Math.min(old.length, value.length - caret);
  while (tail < maxTail && old[old.length - 1 - tail] === value[value.length - 1 - tail]) tail++;
  let start = 0;
  const maxStart = Math.min(old.length, value.length) - tail;
  while (start < maxStart && old[start] === value[start]) start++;
  if (tail && isLow(value.charCodeAt(value.length - tail))) tail--;
  if (start && (isLow(value.charCodeAt(start)) || isLow(old.charCodeAt(start)))) start--;
  return { at: start, removed: old.slice(start, old.length - tail), inserted: value.slice(start, value.length - tail) };
}

function canMerge(last, edit) {
  if (!last || last.kind !== edit.kind || edit.kind === "model" || edit.kind === "repair" || edit.time - last.time > MERGE_TIME) return false;
  if (!last.inserted) return !edit.inserted && (edit.at + edit.removed.length === last.at || edit.at === last.at);
  const appends = edit.at >= last.at && edit.at + edit.removed.length === last.at + last.inserted.length;
  const newWord = !edit.removed && /\s$/.test(last.inserted) && /^\S/.test(edit.inserted);
  return appends && !newWord;
}

function merge(last, edit) {
  if (last.inserted) {
    const offset = edit.at - last.at;
    last.inserted = last.inserted.slice(0, offset) + edit.inserted;
    last.authors = last.authors.slice(0, offset) + edit.authors;
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

export class DocumentModel {
  constructor({ text = "", authors = "", done = [], undone = [] } = {}) {
    Object.assign(this, { text, done, undone });
    this.authors = authors.length === text.length ? authors : WRITER.repeat(text.length);
    this.onChange = () => {}; // called with the first changed unit
  }

  #splice(at, length, inserted, authors) {
    this.text = this.text.slice(0, at) + inserted + this.text.slice(at + length);
    this.authors = this.authors.slice(0, at) + authors + this.authors.slice(at + length);
    this.onChange(at);
  }

  // Replace text[start:end] in one undo step. `authors` is one author for all, or one for each unit. Returns the step.
  replace(start, end, inserted, authors, kind, before) {
    const edit = { at: start, removed: this.text.slice(start, end), removedAuthors: this.authors.slice(start, end), inserted,
      authors: authors.length === inserted.length ? authors : authors.repeat(inserted.length), kind, before, time: Date.now() };
    this.#splice(start, end - start, inserted, edit.authors);
    this.undone = [];
    const last = this.done.at(-1);
    if (canMerge(last, edit)) {
      merge(last, edit);
      return last;
    }
    this.done.push(edit);
    if (this.done.length > MAX_STEPS) this.done.shift();
    return edit;
  }

  // Apply the user's change to the text area.
  applyTyping(value, caret, before) {
    const { at, removed, inserted } = difference(this.text, value, caret);
    if (removed || inserted) this.replace(at, at + removed.length, inserted, WRITER, "typing", before);
  }

  // Start an undo step to which generated text is appended.
  beginGeneration(start, end, before) { return this.replace(start, end, "", MODEL, "model", before); }

  appendGenerated(edit, more) {
    this.#splice(edit.at + edit.inserted.length, 0, more, MODEL.repeat(more.length));
    edit.inserted += more;
    edit.authors += MODEL.repeat(more.length);
  }

  finishGeneration(edit) {
    if (edit.inserted || this.done.at(-1) !== edit) return;
    this.undo(); // nothing was generated: restore the selected text
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

  // The undo step of the last continuation, or null if the text has changed since.
  lastContinuation() {
    const edit = this.done.at(-1);
    return edit?.kind === "model" ? edit : null;
  }

  serialize() {
    const json = JSON.stringify({ text: this.text, authors: this.authors, done: this.done.slice(-100), undone: this.undone.slice(-100) });
    return json.length <= MAX_STORED ? json : JSON.stringify({ text: this.text, authors: this.authors });
  }

  static restore(json) {
    try {
      const { text, authors, done = [], undone = [] } = JSON.parse(json);
      if (typeof text === "string" && typeof authors === "string") return new DocumentModel({ text, authors, done, undone });
    } catch { /* nothing stored, or not by this page */ }
    return new DocumentModel();
  }
}
