// Models of records: the marks, and the choice of a label from a seed. The marks are never part of the text in the editor.

const RECORD_MARK = "\u001e", LABEL_MARK = "\u001f";
const MASK = 2n ** 64n - 1n;

// The first output of numpy's Philox4x64-10 generator with the key [seed, 2], as in charloom/inference/generation.py.
function randomWord(seed) {
  let [c0, c1, c2, c3] = [1n, 0n, 0n, 0n], k0 = BigInt(seed) & MASK, k1 = 2n;
  for (let round = 0; round < 10; round++) {
    const p0 = 0xd2e7470ee14c6c93n * c0, p1 = 0xca5a826395121157n * c2;
    [c0, c1, c2, c3] = [(p1 >> 64n) ^ c1 ^ k0, p1 & MASK, (p0 >> 64n) ^ c3 ^ k1, p0 & MASK];
    k0 = (k0 + 0x9e3779b97f4a7c15n) & MASK;
    k1 = (k1 + 0xbb67ae8584caa73bn) & MASK;
  }
  return c0;
}

// A label by its frequency in the training text.
function drawLabel(labels, counts, seed) {
  const total = counts.reduce((sum, count) => sum + BigInt(count), 0n);
  let position = (randomWord(seed) * total) >> 64n;
  return labels.find((_, i) => {
    position -= BigInt(counts[i]);
    return position < 0n;
  });
}

export class Records {
  constructor({ label_counts: counts, charloom }, vocabulary) {
    const enabled = charloom.records !== undefined;
    Object.assign(this, { counts, vocabulary, labels: charloom.labels ?? [], enabled });
    this.mark = enabled ? vocabulary.encode(RECORD_MARK)[0] : -1; // ends a record
  }

  // The ids between the start id and the text. label: null for one that is drawn from the seed.
  hidden(label, seed) {
    if (!this.labels.length) return [];
    return this.vocabulary.encode((label ?? drawLabel(this.labels, this.counts, seed)) + LABEL_MARK);
  }

  // The number of ids before the end of the record; -1: it does not end.
  endOf(ids) { return this.enabled ? ids.indexOf(this.mark) : -1; }

  // The display name of an id's character; marks are shown as words, which cannot be inserted.
  name(name) { return this.enabled ? { [RECORD_MARK]: "(end)", [LABEL_MARK]: "(label)" }[name] ?? name : name; }
}
