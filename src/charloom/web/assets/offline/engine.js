// Runs a model with native/wasm/page_engine.cpp. A plain class instead of a module, because the page cannot load modules.

class Engine {
  // Whether this browser supports WebAssembly with SIMD. Validates a function that uses it.
  static supported() {
    const types = [1, 5, 1, 96, 0, 1, 123], functions = [3, 2, 1, 0]; // one function, which returns a v128
    const code = [10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11]; // i32.const 0, i8x16.splat, i8x16.popcnt
    const program = [0, 97, 115, 109, 1, 0, 0, 0, ...types, ...functions, ...code];
    return typeof WebAssembly === "object" && WebAssembly.validate(new Uint8Array(program));
  }

  // wasmBytes: the compiled engine; modelBytes: see charloom/web/wasm_model.py. Throws if modelBytes is not one whole model.
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
    if (!native.load(at, modelBytes.length)) throw new RangeError("The model data is damaged or incomplete.");
    this.#native = native;
    this.#maxCount = native.max_count();
    this.size = native.size();
  }

  // Start a text and read its ids. Without ids, read the start id, as `charloom generate` without a prompt does.
  begin(ids) {
    this.#native.begin();
    this.#readAll(ids.length ? ids : [this.#native.start_id()]);
  }

  // Read one more id; return its surprisal in bits.
  read(id) { return this.#readAll([id])[0]; }

  // Sample `count` characters and read them; returns {ids, bits}. Without a seed, the stream of random numbers continues, so
  // several calls give the same ids as one. bits: the surprisals under the model's own distribution (temperature 1).
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

  // The k most likely next characters; ties are ordered by id.
  topPredictions(k) {
    const probabilities = this.probabilities();
    const order = Array.from(probabilities.keys()).sort((a, b) => probabilities[b] - probabilities[a] || a - b);
    return order.slice(0, k).map((id) => ({ id, probability: probabilities[id] }));
  }

  // The probability of each character as the next one.
  probabilities() { return this.#floats(this.#native.probabilities(), this.size).slice(); }

  // Return a copy of the state for `restore`: the position in the text, the network's state, the random stream.
  save() { return this.#state.slice(); }

  restore(state) {
    this.#state.set(state);
    this.#native.position_changed();
  }

  get #state() { return new Uint8Array(this.#native.memory.buffer, this.#native.position(), this.#native.position_size()); }

  #floats(at, count) { return new Float32Array(this.#native.memory.buffer, at, count); }

  #bits(count) { return this.#floats(this.#native.inverse_probabilities(), count).map(Math.log2); }

  #readAll(ids) {
    const bits = new Float32Array(ids.length);
    for (let done = 0; done < ids.length; done += this.#maxCount) {
      const part = ids.slice(done, done + this.#maxCount);
      for (const id of part) if (!(id >= 0 && id < this.size)) throw new RangeError(`Id ${id} is out of range: the vocabulary has ${this.size} characters.`);
      new Uint32Array(this.#native.memory.buffer, this.#native.ids(), part.length).set(part);
      this.#native.read(part.length);
      bits.set(this.#bits(part.length), done);
    }
    return bits;
  }
}
