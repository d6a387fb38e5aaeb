// Between text and the numbers that a model knows its characters by: code points, or the bytes of UTF-8.

class Letters {
  constructor(letters) {
    this.letters = letters;
    this.ids = new Map(letters.map((letter, id) => [letter, id]));
  }

  // Throws on a character that the model does not know.
  encode(text) {
    return Array.from(text, (letter) => {
      const id = this.ids.get(letter);
      if (id === undefined) throw new RangeError(`The model does not know ${JSON.stringify(letter)}.`);
      return id;
    });
  }

  // Returns a function from the next ids to their text, as far as it is whole.
  decoder() { return (ids) => Array.from(ids, (id) => this.letters[id]).join(""); }

  // How many ids each letter of a text has.
  sizes(text) { return Array.from(text, () => 1); }

  name(id) { return this.letters[id]; }
}

// Bytes that are no UTF-8 are shown as U+FFFD, and read as that.
class Bytes {
  encode(text) { return Array.from(new TextEncoder().encode(text)); }

  decoder() {
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    return (ids) => decoder.decode(Uint8Array.from(ids), { stream: true });
  }

  sizes(text) { return Array.from(text, (letter) => new TextEncoder().encode(letter).length); }

  name(id) { return id < 128 ? String.fromCharCode(id) : `\\x${id.toString(16)}`; }
}

export function makeAlphabet({ unit, vocabulary }) {
  return unit === "byte" ? new Bytes() : new Letters(Array.from(vocabulary));
}
