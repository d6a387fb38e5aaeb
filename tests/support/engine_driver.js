// Used by the tests: runs the exported page's engine in Node. Reads {engine, program, models: [path], calls: [[model,
// method, ...arguments]]} as JSON from standard input, and prints the result of each call. The methods are those of the
// engine, and "save", "restore" (the last saved state) and "speed" (characters per second, the best of several tries).
const { readFileSync } = require("node:fs");
const { runInThisContext } = require("node:vm");

const { engine, program, models, calls } = JSON.parse(readFileSync(0, "utf8"));
const Engine = runInThisContext(`${readFileSync(engine, "utf8")}\nEngine;`);

function speed(engine, count, tries) {
  const rates = Array.from({ length: tries }, () => {
    const start = performance.now();
    engine.sample(count, { seed: 1n });
    return (1000 * count) / (performance.now() - start);
  });
  return Math.max(...rates);
}

function run(engine, states, [method, ...args]) {
  if (method === "save") states.push(engine.save());
  else if (method === "restore") engine.restore(states.at(-1));
  else if (method === "speed") return speed(engine, ...args);
  else if (method === "sample") {
    const { ids, bits } = engine.sample(...args);
    return { ids: [...ids], bits: [...bits] };
  } else if (method === "probabilities") return [...engine.probabilities()];
  else return engine[method](...args) ?? null;
  return null;
}

async function main() {
  const engines = await Promise.all(models.map((path) => Engine.create(readFileSync(program), readFileSync(path))));
  const states = [], results = calls.map(([model, ...call]) => run(engines[model], states, call));
  const imports = WebAssembly.Module.imports(new WebAssembly.Module(readFileSync(program)));
  console.log(JSON.stringify({ supported: Engine.supported(), imports, sizes: engines.map(({ size }) => size), results }));
}

main().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
