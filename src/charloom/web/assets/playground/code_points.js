// Functions on characters, counted as the server does: by code point. A model has only the characters of its vocabulary.

// ASCII or simpler replacements for characters, the closest first.
const REPLACEMENTS = { "‘": ["'"], "’": ["'"], "‚": ["'"], "“": ['"', "'"], "”": ['"', "'"], "„": ['"', "'"], "«": ['"', "'"], "»": ['"', "'"],
  '"': ["'"], "–": ["-"], "—": ["--", "-"], "―": ["--", "-"], "‐": ["-"], "‑": ["-"], "−": ["-"], "…": ["...", "."], "\u00a0": [" "],
  "\u202f": [" "], "\u2009": [" "], "\t": [" "], "ß": ["ss"], "æ": ["ae"], "Æ": ["AE"], "œ": ["oe"], "Œ": ["OE"], "ø": ["o"],
  "Ø": ["O"], "ł": ["l"], "Ł": ["L"], "×": ["x"], "\u00ad": [""] };

// Whether a UTF-16 unit is the second half of a code point.
const isLow = (text, i) => (text.charCodeAt(i) & 0xfc00) === 0xdc00;

// The number of characters in a text. `filter(unit)` selects the UTF-16 units whose characters are counted.
export function countCharacters(text, filter = () => true) {
  let count = 0;
  for (let i = 0; i < text.length; i++) if (!isLow(text, i) && filter(i)) count++;
  return count;
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

// The distinct characters of a text that are not in a vocabulary, in order of appearance. null is a vocabulary of all characters.
export function unknownCharacters(text, vocabulary) {
  if (vocabulary === null) return [];
  return [...new Set(text)].filter((character) => !vocabulary.has(character));
}

// The closest replacement that the vocabulary has, or null: an ASCII form for a typographic character, a letter without its accents.
export function closestReplacement(character, vocabulary) {
  const unaccented = character.normalize("NFKD").replace(/\p{M}/gu, "");
  const candidates = [...(REPLACEMENTS[character] ?? []), unaccented].filter((candidate) => candidate !== character);
  return candidates.find((candidate) => [...candidate].every((one) => vocabulary.has(one))) ?? null;
}

// Replace characters of a text; a replacement keeps the author of the character. Returns {text, authors}.
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

// A character as a screen reader should say it.
export function spoken(character) {
  return { "\n": "new line", " ": "space", "\t": "tab", "\r": "carriage return", "\u00a0": "no-break space" }[character] ?? character;
}

// A character with its code point, for messages.
export function describeCharacter(character) {
  const number = `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
  return /[\p{C}\p{Z}\p{M}]/u.test(character) ? number : `“${character}” (${number})`;
}
