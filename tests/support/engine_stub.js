// An engine whose predictions depend on everything that it has read since it began, so that a wrong cache shows.
class Engine {
  static made = [];

  static supported() { return true; }

  static async create(_program, model) {
    const engine = new Engine();
    Object.assign(engine, { size: model[0], ids: [], drawn: 0, seed: null, steps: 0 });
    Engine.made.push(engine);
    return engine;
  }

  begin(ids) { this.ids = ids.length ? [...ids] : ["nothing"]; }

  read(id) {
    const bits = -Math.log2(this.probabilities()[id]);
    this.ids.push(id);
    this.steps++;
    return bits;
  }

  // They depend on all that was read.
  probabilities() {
    const sum = this.ids.reduce((total, id, at) => (total * 31 + (id === "nothing" ? 7 : id + 1) * (at + 3)) % 9973, 1);
    const shares = Array.from({ length: this.size }, (_, id) => 1 + ((sum * (id + 5)) % 97));
    const all = shares.reduce((total, share) => total + share, 0);
    return shares.map((share) => share / all);
  }

  topPredictions(k) { return this.probabilities().map((probability, id) => ({ id, probability })).sort((a, b) => b.probability - a.probability || a.id - b.id).slice(0, k); }

  sample(count, { seed }) {
    if (seed !== null) Object.assign(this, { seed, drawn: 0 });
    const ids = [], bits = [];
    for (let i = 0; i < count; i++) {
      const id = (Math.imul(Number(this.seed) * 97 + this.drawn++ * 31 + this.ids.length, 2654435761) >>> 16) % this.size;
      bits.push(-Math.log2(this.probabilities()[id]));
      ids.push(id);
      this.ids.push(id);
    }
    return { ids: Uint32Array.from(ids), bits: Float32Array.from(bits) };
  }

  save() { return { ids: [...this.ids], drawn: this.drawn, seed: this.seed }; }

  restore({ ids, drawn, seed }) { Object.assign(this, { ids: [...ids], drawn, seed }); }
}
