// Shows the report's data. A part that is missing leaves its section hidden.

import { LineChart, embeddingMap, scatter } from "./charts.js";
import { $, make, whole } from "./dom.js";
import { Reader } from "./reader.js";
import { visible } from "./text.js";

const nats = (n) => `${n.toFixed(4)} nats (${(n / Math.LN2).toFixed(3)} bits)`;

function reveal(id, title) {
  if (!$(id).hidden) return;
  $(id).hidden = false;
  document.querySelector("nav").append(make("a", { href: `#${id}`, text: title }));
}

function heading(data) {
  const m = data.model;
  document.title = `${data.name} - charloom`;
  $("title").textContent = data.name;
  $("subtitle").textContent = `${m.cell.toUpperCase()}, ${m.num_layers} x ${m.hidden_size}, ${whole(m.parameters)} parameters, ` +
    `charloom ${data.charloom}`;
}

function overview(data) {
  const m = data.model, last = data.run?.evaluations.at(-1);
  const best = Math.min(...(data.run?.evaluations || []).filter((e) => e.val_loss != null && e.step).map((e) => e.val_loss));
  const facts = [
    ["trained on", m.corpus && `${m.corpus}, ${whole(m.corpus_characters)} characters`],
    ["recipe", m.recipe],
    ["knows", m.unit === "byte" ? "all 256 bytes" : `${whole(m.vocabulary_size)} characters`],
    ["this model is of step", m.step != null && `${whole(m.step)} (${(m.epoch ?? 0).toFixed(2)} passes)`],
    ["held-out loss", m.val_loss != null && nats(m.val_loss)],
    ["lowest held-out loss", isFinite(best) && nats(best)],
    ["training loss", m.train_loss != null && nats(m.train_loss)],
    ["took", last && clock(last.seconds)],
    ["speed", last?.chars_per_second && `${whole(Math.round(last.chars_per_second))} characters a second`],
  ].filter(([, value]) => value);
  document.querySelector("#overview dl").replaceChildren(...facts.map(([name, value]) =>
    make("div", {}, make("dt", { text: name }), make("dd", { text: value }))));
  reveal("overview", "What it is");
}

function clock(seconds) {
  const s = Math.round(seconds), pad = (n) => String(n).padStart(2, "0");
  return s >= 3600 ? `${Math.floor(s / 3600)}:${pad(Math.floor(s / 60) % 60)}:${pad(s % 60)} hours` : `${Math.floor(s / 60)}:${pad(s % 60)} minutes`;
}

const CURVES = {
  loss: { name: "losses", y: "nats per character" },
  learning_rate: { name: "learning rate", y: "learning rate" },
  grad_norm: { name: "gradient norm", y: "L2 norm of the gradient" },
  chars_per_second: { name: "speed", y: "characters a second" },
};

function curves(run) {
  const points = (key) => run.evaluations.filter((e) => Number.isFinite(e[key])).map((e) => [e.step, e[key]]);
  const steps = run.evaluations.map((e) => e.step);
  if (steps.length < 2) return;
  const flat = (value) => [[steps[0], value], [steps.at(-1), value]];
  const losses = [
    { name: "held out", points: points("val_loss") },
    { name: "training", points: points("train_loss") },
    { name: "guessing by frequency", points: run.guessing ? flat(run.guessing.unigram) : [], dashed: true },
    { name: "guessing evenly", points: run.guessing ? flat(run.guessing.uniform) : [], dashed: true },
  ];
  const draw = () => {
    const key = $("curve").value, { name, y } = CURVES[key];
    const series = key === "loss" ? losses : [{ name, points: points(key) }];
    if (series.some((one) => one.points.length)) new LineChart($("curves"), { series, x: "step", y });
  };
  if (!$("curve").options.length) {
    $("curve").append(...Object.entries(CURVES).map(([value, { name }]) => make("option", { value, text: name })));
  }
  $("curve").onchange = draw;
  draw();
  $("events").replaceChildren(...run.events.map((e) => make("li", { text: `step ${whole(e.step)}: ${e.event}` })));
  reveal("training", "How it learned");
}

function samples(run) {
  if (!run.samples.length) return;
  const slider = $("when"), atEnd = slider.max === "" || slider.value === slider.max;
  slider.max = run.samples.length - 1;
  if (atEnd) slider.value = slider.max;
  slider.oninput = () => {
    const { step, text } = run.samples[slider.value];
    $("step").textContent = whole(step);
    $("sample").textContent = text;
  };
  slider.oninput();
  reveal("samples", "What it wrote meanwhile");
}

function address([layer, part, index]) { return `layer ${layer + 1}, ${part} ${index}`; }

function readText(data) {
  const reader = new Reader(data), { list, named, count } = data.neurons;
  const option = (one) => make("option", { value: one.neuron,
    text: `${one.feature} (${address(list[one.neuron])}, r = ${one.correlation.toFixed(2)})` });
  const group = (label, some) => some.length ? make("optgroup", { label }, ...some.map(option)) : null;
  $("colour").append(make("option", { value: "", text: "surprisal" }), ...[group("neurons with a name", named.filter((n) => n.is_clear)),
    group("weaker", named.filter((n) => !n.is_clear))].filter((one) => one),
    make("option", { value: "any", text: "any neuron" }));
  $("neuron").max = list.length - 1;
  const show = (neuron) => {
    const known = named.find((one) => one.neuron === neuron);
    $("colour").value = neuron === null ? "" : known ? String(neuron) : "any";
    if (neuron !== null) $("neuron").value = neuron;
    reader.show(neuron);
    $("legend").textContent = neuron === null ? "The stronger the colour, the more surprising the character was: from 1 to 7 bits and more."
      : `${address(list[neuron])}${known ? `, which follows: ${known.feature}` : ""}. Orange: above zero; blue: below.` +
        (list.length < count ? ` ${whole(list.length)} of ${whole(count)} neurons are in this page.` : "");
  };
  const chosen = () => Math.max(0, Math.min(list.length - 1, Math.round(Number($("neuron").value) || 0)));
  const step = (by) => show($("colour").value === "" ? chosen() : (chosen() + by + list.length) % list.length);
  $("colour").onchange = () => show($("colour").value === "" ? null : $("colour").value === "any" ? chosen() : Number($("colour").value));
  $("neuron").onchange = () => show(chosen());
  $("before").onclick = () => step(-1);
  $("after").onclick = () => step(1);
  $("about").textContent = `${data.text.about} It costs ${data.text.bits_per_char.toFixed(3)} bits per character. Point at a character, tap it ` +
    "or move to it with the arrow keys to see what was expected there.";
  reveal("reading", "What it sees in a text");
  show(null);
  table(named, list, show);
}

function table(named, list, show) {
  const clear = named.filter((one) => one.is_clear);
  if (!clear.length) return;
  document.querySelector("#neurons tbody").replaceChildren(...clear.map((one) => {
    const link = make("a", { href: "#reading", text: address(list[one.neuron]), onclick: () => show(one.neuron) });
    return make("tr", {}, make("td", { text: one.feature }), make("td", {}, link), make("td", { text: one.correlation.toFixed(2) }),
      make("td", { text: one.by_chance.toFixed(2) }));
  }));
  reveal("neurons", "Neurons with a name");
}

function gates(layers) {
  document.querySelector("#gates .charts").replaceChildren(...layers.map((one) => {
    const name = `layer ${one.layer + 1}, ${one.gate} gate`;
    return make("div", { class: "chart" }, make("h3", { text: name }), scatter(one.open.map((x, i) => [x, one.shut[i]]), name));
  }));
  reveal("gates", "Gates");
}

function context(points) {
  if (points.length < 2) return;
  const series = [{ name: "loss", points: points.map((p) => [p.characters, p.bits_per_char]) }];
  reveal("context", "Context");
  new LineChart($("memory"), { series, x: "characters of context", y: "bits per character", log: true });
}

function confusions(data) {
  document.querySelector("#letters tbody").replaceChildren(...data.mistakes.map((one) => make("tr", {},
    make("td", {}, make("kbd", { text: visible(one.actual) })), make("td", {}, make("kbd", { text: visible(one.guessed) })),
    make("td", { text: whole(one.count) }), make("td", { text: `${(100 * one.share).toFixed(0)} %` }))));
  if (data.embedding.length) $("map").replaceChildren(embeddingMap(data.embedding));
  reveal("letters", "Mistakes");
}

function copied(novelty, limit) {
  return `${(100 * novelty.copied).toFixed(1)} % of it lies in runs of more than ${limit} characters that stand in the training text; ` +
    `the longest has ${whole(novelty.longest)}.`;
}

function written(data) {
  const { copies } = data;
  $("copies").textContent = copies.missing ? `${copies.missing} So it is not known what is copied.`
    : copies.held_out ? `For comparison, the held-out text: ${copied(copies.held_out, copies.longer_than)} Copied runs are marked.`
      : "Copied runs are marked.";
  document.querySelector("#written div").replaceChildren(...data.written.flatMap((one) => {
    const text = Array.from(one.text), pre = make("pre", { tabindex: 0, "aria-label": `Written at temperature ${one.temperature}` });
    let at = 0;
    for (const [from, to] of one.novelty?.passages || []) {
      pre.append(text.slice(at, from).join(""), make("mark", { text: text.slice(from, to).join("") }));
      at = to;
    }
    pre.append(text.slice(at).join(""));
    return [make("h3", { text: `at temperature ${one.temperature}` }),
      one.novelty ? make("p", { class: "note", text: copied(one.novelty, copies.longer_than) }) : null, pre].filter((node) => node);
  }));
  reveal("written", "What it writes");
}

function theme() {
  const button = $("theme");
  const set = (dark) => {
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    button.setAttribute("aria-pressed", String(dark));
  };
  set(matchMedia("(prefers-color-scheme: dark)").matches);
  button.onclick = () => set(document.documentElement.dataset.theme !== "dark");
}

function show(data) {
  if (!data.model) return;
  heading(data);
  overview(data);
  if (data.run) { curves(data.run); samples(data.run); }
}

function start() {
  theme();
  const data = JSON.parse($("data").textContent);
  if (data.live) { follow(data.live); return; }
  show(data);
  if (data.text) readText(data);
  if (data.gates) gates(data.gates);
  if (data.context) context(data.context);
  if (data.mistakes) confusions(data);
  if (data.written) written(data);
}

// Poll a running training; it answers with the same data, with fewer parts.
async function follow({ address: source, seconds }) {
  let previous = "";
  const status = $("status");
  status.hidden = false;
  for (;;) {
    try {
      const data = await (await fetch(source, { cache: "no-store" })).json(), run = JSON.stringify(data.run);
      if (run !== previous) show(data); // only on changes: redrawing would reset a zoomed chart
      previous = run;
      status.textContent = data.status;
      if (data.finished) return;
    } catch { status.textContent = "The training no longer answers: it has ended or was stopped."; }
    await new Promise((wake) => setTimeout(wake, 1000 * seconds));
  }
}

start();
