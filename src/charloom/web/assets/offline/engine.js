// Runs a model with native/wasm/page_engine.cpp. A plain class, because the page has no network and so no modules.

class Engine {
  // Whether this browser has WebAssembly with vectors (SIMD), tried with a function that uses one.
  static supported() {
    const types = [1, 5, 1, 96, 0, 1, 123], functions = [3, 2, 1, 0]; // one, which returns a vector
    const code = [10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11]; // i32.const 0, i8x16.splat, i8x16.popcnt
    const tried = [0, 97, 115, 109, 1, 0, 0, 0, ...types, ...functions, ...code];
    return typeof WebAssembly === "object" && WebAssembly.validate(new Uint8Array(tried));
  }

  // wasmBytes: the program; modelBytes: what charloom.web.wasm_model packed. Throws if they are no model.
  static async create(wasmBytes, modelBytes) {
    const { instance } = await WebAssembly.instantiate(wasmBytes);
    return new Engine(instance.exports, modelBytes);
  }

  #native;
  #most;

  constructor(native, modelBytes) {
    native._initialize();
    const at = native.allocate(modelBytes.length);
    new Uint8Array(native.memory.buffer, at, modelBytes.length).set(modelBytes);
    if (!native.load(at, modelBytes.length)) throw new RangeError("These bytes are no whole model of this engine.");
    this.#native = native;
    this.#most = native.most();
    this.size = native.size();
  }

  // From the beginning of a text read all ids; of none, the one that `charloom generate` without a prompt begins with.
  begin(ids) {
    this.#native.begin();
    this.#read(ids.length ? ids : [this.#native.opening()]);
  }

  // Read one more, and return the bits that it costs.
  take(id) { return this.#read([id])[0]; }

  // Draw `count` characters and read them. Without a seed the stream of random numbers goes on: the ids do not depend
  // on the pieces they are asked for in. bits: what each costs under the model, whatever the temperature.
  sample(count, { temperature = 0.8, topK = null, topP = 1, minP = 0, repetitionPenalty = 1, seed = null } = {}) {
    if (seed !== null) this.#native.seed(BigInt(seed));
    const heat = temperature > 0 ? Math.min(Math.LOG2E / temperature, 3e38) : 0;
    const ids = new Uint32Array(count), bits = new Float32Array(count);
    for (let done = 0; done < count; done += this.#most) {
      const size = Math.min(this.#most, count - done);
      this.#native.write(size, heat, topK ?? 0, topP, minP, repetitionPenalty);
      ids.set(new Uint32Array(this.#native.memory.buffer, this.#native.ids(), size), done);
      bits.set(this.#bits(size), done);
    }
    return { ids, bits };
  }

  // What may come next, the likeliest first; of equals the lower id.
  guesses(k) {
    const shares = this.shares();
    const order = Array.from(shares.keys()).sort((a, b) => shares[b] - shares[a] || a - b);
    return order.slice(0, k).map((id) => ({ id, share: shares[id] }));
  }

  // The share of each character in what comes next.
  shares() { return this.#floats(this.#native.shares(), this.size).slice(); }

  // Everything that what comes next depends on.
  save() { return this.#place.slice(); }

  restore(saved) {
    this.#place.set(saved);
    this.#native.moved();
  }

  get #place() { return new Uint8Array(this.#native.memory.buffer, this.#native.place(), this.#native.place_size()); }

  #floats(at, count) { return new Float32Array(this.#native.memory.buffer, at, count); }

  #bits(count) { return this.#floats(this.#native.costs(), count).map(Math.log2); }

  #read(ids) {
    const bits = new Float32Array(ids.length);
    for (let done = 0; done < ids.length; done += this.#most) {
      const some = ids.slice(done, done + this.#most);
      for (const id of some) if (!(id >= 0 && id < this.size)) throw new RangeError(`There is no character ${id}.`);
      new Uint32Array(this.#native.memory.buffer, this.#native.ids(), some.length).set(some);
      this.#native.read(some.length);
      bits.set(this.#bits(some.length), done);
    }
    return bits;
  }
}
