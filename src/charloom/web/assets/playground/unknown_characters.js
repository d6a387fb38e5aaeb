// The notice about characters that are not in the model's vocabulary, with two actions: replace or remove them.

import { whole } from "./dom.js";
import { closestReplacement, describeCharacter, replaceCharacters, unknownCharacters } from "./code_points.js";

const MAX_NAMED = 12;

// Replace characters of the document in one undo step; returns the cursor's new offset.
function replaceInDocument(doc, editor, replacements) {
  const { text, authors } = replaceCharacters(doc.text, doc.authors, replacements);
  const cursor = replaceCharacters(doc.text.slice(0, editor.selection[0]), doc.authors, replacements).text.length;
  doc.replace(0, doc.text.length, text, authors, "repair", editor.selection);
  return cursor;
}

// The notice for a text with unknown characters, or null: {message, actions: [label, function][]}. An action's function
// changes the document and returns the cursor's new offset.
export function unknownCharacterNotice(text, models, doc, editor) {
  const unknown = unknownCharacters(text, models.vocabulary);
  if (!unknown.length) return null;
  const replaceEach = (change) => new Map(unknown.map((character) => [character, change(character)]));
  const replacements = replaceEach((character) => closestReplacement(character, models.vocabulary));
  const actions = [["Remove them", () => replaceInDocument(doc, editor, replaceEach(() => ""))]];
  if ([...replacements.values()].every((replacement) => replacement !== null)) {
    actions.unshift([`Replace ${summarize(replacements)}`, () => replaceInDocument(doc, editor, replacements)]);
  }
  const rest = unknown.length - MAX_NAMED;
  const names = unknown.slice(0, MAX_NAMED).map(describeCharacter).join(", ") + (rest > 0 ? ` and ${rest} more` : "");
  return { message: `Not in the vocabulary of ${models.id} (${whole(models.vocabulary.size)} characters): ${names}.`, actions };
}

function summarize(replacements) {
  const pairs = [...replacements].filter(([, replacement]) => replacement.trim()).slice(0, 4);
  return pairs.map(([character, replacement]) => `${character} → ${replacement}`).join(", ") || "with spaces";
}
