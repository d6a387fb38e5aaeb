// Letters that the model does not know: which they are, and two ways to be rid of them.

import { whole } from "./elements.js";
import { named, plain, rewritten, unknown } from "./letters.js";

const MOST_NAMED = 12;

// Put some letters in place of others, in one step that can be taken back.
function repair(manuscript, paper, become) {
  const { text, authors } = rewritten(manuscript.text, manuscript.authors, become);
  const cursor = rewritten(manuscript.text.slice(0, paper.selection[0]), manuscript.authors, become).text.length;
  manuscript.replace(0, manuscript.text.length, text, authors, "repair", paper.selection);
  return cursor;
}

// What is wrong with a text, as {message, actions: [label, function returning the cursor's new place]}; null if nothing is.
export function complaint(text, models, manuscript, paper) {
  const strange = unknown(text, models.vocabulary);
  if (!strange.length) return null;
  const become = (change) => new Map(strange.map((letter) => [letter, change(letter)]));
  const simple = become((letter) => plain(letter, models.vocabulary));
  const actions = [["Take them out", () => repair(manuscript, paper, become(() => ""))]];
  if ([...simple.values()].every((form) => form !== null)) {
    actions.unshift([`Write them plainly: ${sketch(simple)}`, () => repair(manuscript, paper, simple)]);
  }
  const rest = strange.length - MOST_NAMED;
  const names = strange.slice(0, MOST_NAMED).map(named).join(", ") + (rest > 0 ? ` and ${rest} more` : "");
  return { message: `${models.id} knows ${whole(models.vocabulary.size)} characters, but not ${names}.`, actions };
}

function sketch(simple) {
  const pairs = [...simple].filter(([, form]) => form.trim()).slice(0, 4);
  return pairs.map(([letter, form]) => `${letter} → ${form}`).join(", ") || "as spaces";
}
