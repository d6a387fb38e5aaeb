// Runs a model with native/wasm/page_engine.cpp. A plain class, because the page has no network and so no modules.

class Engine {
  // Whether this browser has WebAssembly with SIMD: validates a function that uses it.
  static supported() {
    const types = [1, 5, 1, 96, 0, 1, 123], functions = [3, 2, 1, 0]; // one function, which returns a v128
    const code = [10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11]; // i32.const 0, i8x16.splat, i8x16.popcnt
    const tried = [0, 97, 115, 109, 1, 0, 0, 0, ...types, ...functions, ...code];
    return typeof WebAssembly === "object" && WebAssembly.validate(new Uint8Array(tried));
  }

  // wasmBytes: the program; modelBytes: from charloom.web.wasm_model. Throws if they are not a model.
  static async create(wasmBytes, modelBytes) {
    const { instance } = await WebAssembly.instantiate(wasmBytes);
    return new Engine(instance.exports, modelBytes);
  }

  #native;
  #maxCount;

  constructor(native, modelBytes) {
    native._initialize();
    const at = native.allocate(modelBytes.length);
    new Uint8Array(native.memory.buffer, at, modelBytes.length).set(modelBytes);
    if (!native.load(at, modelBytes.length)) throw new RangeError("These bytes are no whole model of this engine.");
    this.#native = native;
    this.#maxCount = native.max_count();
    this.size = native.size();
  }

  // Start a text and read all ids; without ids, the one that `charloom generate` without a prompt starts from.
  begin(ids) {
    this.#native.begin();
    this.#readAll(ids.length ? ids : [this.#native.start_id()]);
  }

  // Read one more id, and return its surprisal in bits.
  read(id) { return this.#readAll([id])[0]; }

  // Sample `count` characters and read them. Without a seed the random stream continues, so the ids do not depend on how
  // many calls they are requested in. bits: each one's surprisal under the model, whatever the temperature.
  sample(count, { temperature = 0.8, topK = null, topP = 1, minP = 0, repetitionPenalty = 1, seed = null } = {}) {
    if (seed !== null) this.#native.seed(BigInt(seed));
    const inverseTemperature = temperature > 0 ? Math.min(Math.LOG2E / temperature, 3e38) : 0;
    const ids = new Uint32Array(count), bits = new Float32Array(count);
    for (let done = 0; done < count; done += this.#maxCount) {
      const size = Math.min(this.#maxCount, count - done);
      this.#native.write(size, inverseTemperature, topK ?? 0, topP, minP, repetitionPenalty);
      ids.set(new Uint32Array(this.#native.memory.buffer, this.#native.ids(), size), done);
      bits.set(this.#bits(size), done);
    }
    return { ids, bits };
  }

  // The k most likely next characters; of equal ones the lower id first.
  topPredictions(k) {
    const probabilities = this.probabilities();
    const order = Array.from(probabilities.keys()).sort((a, b) => probabilities[b] - probabilities[a] || a - b);
    return order.slice(0, k).map((id) => ({ id, probability: probabilities[id] }));
  }

  // The probability of each character as the next one.
  probabilities() { return this.#floats(this.#native.probabilities(), this.size).slice(); }

  // A copy of the engine's state.
  save() { return this.#state.slice(); }

  restore(saved) {
    this.#state.set(saved);
    this.#native.position_changed();
  }

  get #state() { return new Uint8Array(this.#native.memory.buffer, this.#native.position(), this.#native.position_size()); }

  #floats(at, count) { return new Float32Array(this.#native.memory.buffer, at, count); }

  #bits(count) { return this.#floats(this.#native.inverse_probabilities(), count).map(Math.log2); }

  #readAll(ids) {
    const bits = new Float32Array(ids.length);
    for (let done = 0; done < ids.length; done += this.#maxCount) {
      const part = ids.slice(done, done + this.#maxCount);
      for (const id of part) if (!(id >= 0 && id < this.size)) throw new RangeError(`There is no character ${id}.`);
      new Uint32Array(this.#native.memory.buffer, this.#native.ids(), part.length).set(part);
      this.#native.read(part.length);
      bits.set(this.#bits(part.length), done);
    }
    return bits;
  }
}
