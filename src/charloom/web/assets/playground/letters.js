// Letters as the server counts them: code points. A model knows only those of its vocabulary.

// What may be written instead of a letter, the best first.
const PLAIN = { "‘": ["'"], "’": ["'"], "‚": ["'"], "“": ['"', "'"], "”": ['"', "'"], "„": ['"', "'"], "«": ['"', "'"], "»": ['"', "'"],
  '"': ["'"], "–": ["-"], "—": ["--", "-"], "―": ["--", "-"], "‐": ["-"], "‑": ["-"], "−": ["-"], "…": ["...", "."], "\u00a0": [" "],
  "\u202f": [" "], "\u2009": [" "], "\t": [" "], "ß": ["ss"], "æ": ["ae"], "Æ": ["AE"], "œ": ["oe"], "Œ": ["OE"], "ø": ["o"],
  "Ø": ["O"], "ł": ["l"], "Ł": ["L"], "×": ["x"], "\u00ad": [""] };

// Whether a unit is the second half of a letter.
const isLow = (text, i) => (text.charCodeAt(i) & 0xfc00) === 0xdc00;

// How many letters a text has; `counted(unit)` may leave some out.
export function count(text, counted = () => true) {
  let found = 0;
  for (let i = 0; i < text.length; i++) if (!isLow(text, i) && counted(i)) found++;
  return found;
}

// The last `most` letters of a text.
export function ending(text, most) {
  if (text.length <= most) return text;
  let from = text.length;
  for (let left = most; left > 0 && from > 0; left--) from -= isLow(text, from - 1) ? 2 : 1;
  return text.slice(Math.max(0, from));
}

// The first `most` letters of a text.
export function beginning(text, most) {
  if (text.length <= most) return text;
  let to = 0;
  for (let left = most; left > 0 && to < text.length; left--) to += isLow(text, to + 1) ? 2 : 1;
  return text.slice(0, to);
}

// The distinct letters of a text that are not in a vocabulary (null: everything is known), in their order.
export function unknown(text, vocabulary) {
  if (vocabulary === null) return [];
  return [...new Set(text)].filter((letter) => !vocabulary.has(letter));
}

// A letter as the vocabulary can write it, or null: typographic signs as a typewriter has them, accents dropped.
export function plain(letter, vocabulary) {
  const bare = letter.normalize("NFKD").replace(/\p{M}/gu, "");
  const forms = [...(PLAIN[letter] ?? []), bare].filter((form) => form !== letter);
  return forms.find((form) => [...form].every((one) => vocabulary.has(one))) ?? null;
}

// Text and authors with some letters replaced; an author writes as many units as the letter has become.
export function rewritten(text, authors, replacements) {
  let newText = "", newAuthors = "", at = 0;
  for (const letter of text) {
    const become = replacements.has(letter) ? replacements.get(letter) : letter;
    newText += become;
    newAuthors += become === letter ? authors.slice(at, at + letter.length) : authors[at].repeat(become.length);
    at += letter.length;
  }
  return { text: newText, authors: newAuthors };
}

// A letter as it can be seen.
export function visible(letter) {
  return { "\n": "↵", " ": "␣", "\t": "⇥", "\r": "␍", "\u00a0": "⍽" }[letter] ?? letter;
}

export function spoken(letter) {
  return { "\n": "new line", " ": "space", "\t": "tab", "\r": "carriage return", "\u00a0": "no-break space" }[letter] ?? letter;
}

// A letter with its number in Unicode, for messages.
export function named(letter) {
  const number = `U+${letter.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
  return /[\p{C}\p{Z}\p{M}]/u.test(letter) ? number : `“${letter}” (${number})`;
}
