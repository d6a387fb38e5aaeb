// For the tests: node runs a page's engine as the page does. Takes {engine, program, models: [path], calls: [[model,
// what, ...arguments]]} as JSON and prints what each call gave. The calls are the engine's own, and "keep", "back" (to
// what the last "keep" kept), "speed" (characters a second, the best of some tries).
const { readFileSync } = require("node:fs");
const { runInThisContext } = require("node:vm");

const { engine, program, models, calls } = JSON.parse(readFileSync(0, "utf8"));
const Engine = runInThisContext(`${readFileSync(engine, "utf8")}\nEngine;`);

function speed(made, count, tries) {
  const rates = Array.from({ length: tries }, () => {
    const began = performance.now();
    made.sample(count, { seed: 1n });
    return (1000 * count) / (performance.now() - began);
  });
  return Math.max(...rates);
}

function done(made, kept, [what, ...given]) {
  if (what === "keep") kept.push(made.save());
  else if (what === "back") made.restore(kept.at(-1));
  else if (what === "speed") return speed(made, ...given);
  else if (what === "sample") {
    const { ids, bits } = made.sample(...given);
    return { ids: [...ids], bits: [...bits] };
  } else if (what === "probabilities") return [...made.probabilities()];
  else return made[what](...given) ?? null;
  return null;
}

async function main() {
  const created = models.map((path) => Engine.create(readFileSync(program), readFileSync(path)));
  const kept = [], made = await Promise.all(created);
  const given = calls.map(([model, ...call]) => done(made[model], kept, call));
  const imports = WebAssembly.Module.imports(new WebAssembly.Module(readFileSync(program)));
  console.log(JSON.stringify({ supported: Engine.supported(), imports, sizes: made.map(({ size }) => size), given }));
}

main().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
