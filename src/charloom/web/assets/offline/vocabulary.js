// Converts between text and ids. Ids stand for characters (code points), or for bytes of UTF-8.

class CharacterVocabulary {
  constructor(characters) {
    this.characters = characters;
    this.ids = new Map(characters.map((character, id) => [character, id]));
  }

  // Throws if the vocabulary lacks a character.
  encode(text) {
    return Array.from(text, (character) => {
      const id = this.ids.get(character);
      if (id === undefined) throw new RangeError(`Character ${JSON.stringify(character)} is not in the model's vocabulary.`);
      return id;
    });
  }

  // Returns a function that decodes successive ids. It returns the complete characters; see ByteVocabulary.
  decoder() { return (ids) => Array.from(ids, (id) => this.characters[id]).join(""); }

  // The number of ids for each character of a text.
  sizes(text) { return Array.from(text, () => 1); }

  name(id) { return this.characters[id]; }
}

// A character may consist of several bytes. Bytes that are not valid UTF-8 are decoded to U+FFFD.
class ByteVocabulary {
  encode(text) { return Array.from(new TextEncoder().encode(text)); }

  decoder() {
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    return (ids) => decoder.decode(Uint8Array.from(ids), { stream: true });
  }

  sizes(text) { return Array.from(text, (character) => new TextEncoder().encode(character).length); }

  name(id) { return id < 128 ? String.fromCharCode(id) : `\\x${id.toString(16)}`; }
}

export function makeVocabulary({ unit, vocabulary }) {
  return unit === "byte" ? new ByteVocabulary() : new CharacterVocabulary(Array.from(vocabulary));
}
