// Functions on text that the pages share.

// The length of the common prefix of two strings, in UTF-16 units, or of two arrays.
export function commonPrefixLength(a, b) {
  if (a === b) return a.length;
  let length = 0;
  while (length < a.length && length < b.length && a[length] === b[length]) length++;
  return length;
}

export function decodeBase64(base64) {
  const binary = atob(base64), bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

// A character in visible form: white space becomes a symbol.
export function visible(character) {
  return { "\n": "↵", " ": "␣", "\t": "⇥", "\r": "␍", "\u00a0": "⍽" }[character] ?? character;
}
