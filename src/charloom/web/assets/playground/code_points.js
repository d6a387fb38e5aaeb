// Characters as the server counts them: code points. A model knows only those of its vocabulary.

// Replacements for a character, the best first.
const PLAIN = { "‘": ["'"], "’": ["'"], "‚": ["'"], "“": ['"', "'"], "”": ['"', "'"], "„": ['"', "'"], "«": ['"', "'"], "»": ['"', "'"],
  '"': ["'"], "–": ["-"], "—": ["--", "-"], "―": ["--", "-"], "‐": ["-"], "‑": ["-"], "−": ["-"], "…": ["...", "."], "\u00a0": [" "],
  "\u202f": [" "], "\u2009": [" "], "\t": [" "], "ß": ["ss"], "æ": ["ae"], "Æ": ["AE"], "œ": ["oe"], "Œ": ["OE"], "ø": ["o"],
  "Ø": ["O"], "ł": ["l"], "Ł": ["L"], "×": ["x"], "\u00ad": [""] };

// Whether a UTF-16 unit is the second half of a code point.
const isLow = (text, i) => (text.charCodeAt(i) & 0xfc00) === 0xdc00;

// The number of characters in a text; `counted(unit)` selects those that count.
export function countCharacters(text, counted = () => true) {
  let number = 0;
  for (let i = 0; i < text.length; i++) if (!isLow(text, i) && counted(i)) number++;
  return number;
}

// The last `max` characters of a text.
export function lastCharacters(text, max) {
  if (text.length <= max) return text;
  let from = text.length;
  for (let remaining = max; remaining > 0 && from > 0; remaining--) from -= isLow(text, from - 1) ? 2 : 1;
  return text.slice(Math.max(0, from));
}

// The first `max` characters of a text.
export function firstCharacters(text, max) {
  if (text.length <= max) return text;
  let to = 0;
  for (let remaining = max; remaining > 0 && to < text.length; remaining--) to += isLow(text, to + 1) ? 2 : 1;
  return text.slice(0, to);
}

// The distinct characters of a text that a vocabulary lacks (null: it has all), in order of appearance.
export function unknownCharacters(text, vocabulary) {
  if (vocabulary === null) return [];
  return [...new Set(text)].filter((character) => !vocabulary.has(character));
}

// The closest form that the vocabulary has, or null: plain for typographic signs, without accents for letters.
export function plainForm(character, vocabulary) {
  const bare = character.normalize("NFKD").replace(/\p{M}/gu, "");
  const forms = [...(PLAIN[character] ?? []), bare].filter((form) => form !== character);
  return forms.find((form) => [...form].every((one) => vocabulary.has(one))) ?? null;
}

// Text and authors with some characters replaced; the author of a character becomes that of its replacement.
export function replaceCharacters(text, authors, replacements) {
  let newText = "", newAuthors = "", at = 0;
  for (const character of text) {
    const replacement = replacements.has(character) ? replacements.get(character) : character;
    newText += replacement;
    newAuthors += replacement === character ? authors.slice(at, at + character.length) : authors[at].repeat(replacement.length);
    at += character.length;
  }
  return { text: newText, authors: newAuthors };
}

// The name of a character for a screen reader.
export function spoken(character) {
  return { "\n": "new line", " ": "space", "\t": "tab", "\r": "carriage return", "\u00a0": "no-break space" }[character] ?? character;
}

// A character with its code point, for messages.
export function describeCharacter(character) {
  const number = `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
  return /[\p{C}\p{Z}\p{M}]/u.test(character) ? number : `“${character}” (${number})`;
}
