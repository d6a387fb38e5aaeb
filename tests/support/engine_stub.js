// A stub of the exported page's engine. Its predictions depend on everything that it has read, which reveals cache errors.
class Engine {
  static supported() { return true; }

  static async create(_program, model) {
    const engine = new Engine();
    Object.assign(engine, { size: model[0], ids: [], sampled: 0, seed: null, steps: 0 });
    return engine;
  }

  begin(ids) { this.ids = ids.length ? [...ids] : ["start"]; }

  read(id) {
    const bits = -Math.log2(this.probabilities()[id]);
    this.ids.push(id);
    this.steps++;
    return bits;
  }

  probabilities() {
    const sum = this.ids.reduce((hash, id, at) => (hash * 31 + (id === "start" ? 7 : id + 1) * (at + 3)) % 9973, 1);
    const weights = Array.from({ length: this.size }, (_, id) => 1 + ((sum * (id + 5)) % 97));
    const total = weights.reduce((partial, weight) => partial + weight, 0);
    return weights.map((weight) => weight / total);
  }

  topPredictions(k) { return this.probabilities().map((probability, id) => ({ id, probability })).sort((a, b) => b.probability - a.probability || a.id - b.id).slice(0, k); }

  sample(count, { seed }) {
    if (seed !== null) Object.assign(this, { seed, sampled: 0 });
    const ids = [], bits = [];
    for (let i = 0; i < count; i++) {
      const id = (Math.imul(Number(this.seed) * 97 + this.sampled++ * 31 + this.ids.length, 2654435761) >>> 16) % this.size;
      bits.push(-Math.log2(this.probabilities()[id]));
      ids.push(id);
      this.ids.push(id);
    }
    return { ids: Uint32Array.from(ids), bits: Float32Array.from(bits) };
  }

  save() { return { ids: [...this.ids], sampled: this.sampled, seed: this.seed }; }

  restore({ ids, sampled, seed }) { Object.assign(this, { ids: [...ids], sampled, seed }); }
}
