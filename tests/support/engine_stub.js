// An engine whose guesses tell everything that it has read since it began: what it remembers wrongly is seen.
class Engine {
  static made = [];

  static supported() { return true; }

  static async create(_program, model) {
    const engine = new Engine();
    Object.assign(engine, { size: model[0], read: [], drawn: 0, seed: null, steps: 0 });
    Engine.made.push(engine);
    return engine;
  }

  begin(ids) { this.read = ids.length ? [...ids] : ["nothing"]; }

  take(id) {
    const bits = -Math.log2(this.shares()[id]);
    this.read.push(id);
    this.steps++;
    return bits;
  }

  // They depend on all that was read.
  shares() {
    const sum = this.read.reduce((total, id, at) => (total * 31 + (id === "nothing" ? 7 : id + 1) * (at + 3)) % 9973, 1);
    const shares = Array.from({ length: this.size }, (_, id) => 1 + ((sum * (id + 5)) % 97));
    const all = shares.reduce((total, share) => total + share, 0);
    return shares.map((share) => share / all);
  }

  guesses(k) { return this.shares().map((share, id) => ({ id, share })).sort((a, b) => b.share - a.share || a.id - b.id).slice(0, k); }

  sample(count, { seed }) {
    if (seed !== null) Object.assign(this, { seed, drawn: 0 });
    const ids = [], bits = [];
    for (let i = 0; i < count; i++) {
      const id = (Math.imul(Number(this.seed) * 97 + this.drawn++ * 31 + this.read.length, 2654435761) >>> 16) % this.size;
      bits.push(-Math.log2(this.shares()[id]));
      ids.push(id);
      this.read.push(id);
    }
    return { ids: Uint32Array.from(ids), bits: Float32Array.from(bits) };
  }

  save() { return { read: [...this.read], drawn: this.drawn, seed: this.seed }; }

  restore({ read, drawn, seed }) { Object.assign(this, { read: [...read], drawn, seed }); }
}
