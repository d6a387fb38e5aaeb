// Functions on text that several pages share.

// How many UTF-16 units (or elements of arrays) two sequences have in common at their beginning.
export function commonPrefixLength(a, b) {
  if (a === b) return a.length;
  let length = 0;
  while (length < a.length && length < b.length && a[length] === b[length]) length++;
  return length;
}

export function decodeBase64(base64) {
  const raw = atob(base64), bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes;
}

// A character as it can be seen: white space as a symbol.
export function visible(character) {
  return { "\n": "↵", " ": "␣", "\t": "⇥", "\r": "␍", "\u00a0": "⍽" }[character] ?? character;
}
