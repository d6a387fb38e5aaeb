// Characters that the model does not know: which they are, and two ways to replace them.

import { whole } from "./dom.js";
import { describeCharacter, plainForm, replaceCharacters, unknownCharacters } from "./code_points.js";

const MAX_NAMED = 12;

// Replace characters in one undo step; returns the cursor's new offset.
function replaceUnknown(doc, editor, replacements) {
  const { text, authors } = replaceCharacters(doc.text, doc.authors, replacements);
  const cursor = replaceCharacters(doc.text.slice(0, editor.selection[0]), doc.authors, replacements).text.length;
  doc.replace(0, doc.text.length, text, authors, "repair", editor.selection);
  return cursor;
}

// The notice for a text with unknown characters, {message, actions: [label, function returning the cursor's new offset]}; else null.
export function unknownCharacterNotice(text, models, doc, editor) {
  const unknown = unknownCharacters(text, models.vocabulary);
  if (!unknown.length) return null;
  const replaceEach = (change) => new Map(unknown.map((character) => [character, change(character)]));
  const simple = replaceEach((character) => plainForm(character, models.vocabulary));
  const actions = [["Take them out", () => replaceUnknown(doc, editor, replaceEach(() => ""))]];
  if ([...simple.values()].every((form) => form !== null)) {
    actions.unshift([`Write them plainly: ${summarize(simple)}`, () => replaceUnknown(doc, editor, simple)]);
  }
  const rest = unknown.length - MAX_NAMED;
  const names = unknown.slice(0, MAX_NAMED).map(describeCharacter).join(", ") + (rest > 0 ? ` and ${rest} more` : "");
  return { message: `${models.id} knows ${whole(models.vocabulary.size)} characters, but not ${names}.`, actions };
}

function summarize(simple) {
  const pairs = [...simple].filter(([, form]) => form.trim()).slice(0, 4);
  return pairs.map(([character, form]) => `${character} → ${form}`).join(", ") || "as spaces";
}
