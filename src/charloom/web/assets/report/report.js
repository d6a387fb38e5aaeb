// The report page: fills its sections with the report's data. A section whose data is missing stays hidden.

import { LineChart, embeddingMap, scatter } from "./charts.js";
import { $, make, whole } from "./dom.js";
import { Reader } from "./reader.js";
import { visible } from "./text.js";

const nats = (n) => `${n.toFixed(4)} nats (${(n / Math.LN2).toFixed(3)} bits) per character`;
const count = (n, noun) => `${whole(n)} ${noun}${n === 1 ? "" : "s"}`;

// Show a section, and add it to the navigation.
function reveal(id, title) {
  if (!$(id).hidden) return;
  $(id).hidden = false;
  document.querySelector("nav").append(make("a", { href: `#${id}`, text: title }));
}

function heading(data) {
  const m = data.model;
  document.title = `${data.name} - charloom`;
  $("title").textContent = data.name;
  $("subtitle").textContent = `${m.cell.toUpperCase()}, ${count(m.num_layers, "layer")} of ${count(m.hidden_size, "unit")}, ${whole(m.parameters)} parameters, ` +
    `charloom ${data.charloom}`;
}

function overview(data) {
  const m = data.model, last = data.run?.evaluations.at(-1);
  const best = Math.min(...(data.run?.evaluations || []).filter((e) => e.val_loss != null && e.step).map((e) => e.val_loss));
  const properties = [
    ["training text", m.corpus && `${m.corpus}, ${whole(m.corpus_characters)} characters`],
    ["recipe", m.recipe],
    ["vocabulary", m.unit === "byte" ? "all 256 bytes" : `${whole(m.vocabulary_size)} characters`],
    ["checkpoint", m.step != null && `step ${whole(m.step)} (${(m.epoch ?? 0).toFixed(2)} epochs)`],
    ["held-out loss", m.val_loss != null && nats(m.val_loss)],
    ["lowest held-out loss", isFinite(best) && nats(best)],
    ["training loss", m.train_loss != null && nats(m.train_loss)],
    ["training time", last && duration(last.seconds)],
    ["training speed", last?.chars_per_second && `${whole(Math.round(last.chars_per_second))} characters per second`],
  ].filter(([, value]) => value);
  document.querySelector("#overview dl").replaceChildren(...properties.map(([name, value]) =>
    make("div", {}, make("dt", { text: name }), make("dd", { text: value }))));
  $("verdict").hidden = !data.verdict;
  $("verdict").textContent = data.verdict?.message ?? "";
  reveal("overview", "Model");
}

function duration(seconds) {
  const s = Math.round(seconds), minutes = Math.floor(s / 60), two = (n) => String(n % 60).padStart(2, "0");
  if (s >= 3600) return `${Math.floor(minutes / 60)}:${two(minutes)}:${two(s)} h`;
  return s >= 60 ? `${minutes}:${two(s)} min` : `${s} s`;
}

const METRICS = {
  loss: { name: "loss", y: "nats per character", read: "Lower is better. While both lines fall, the model learns. If the held-out loss, measured on " +
    "text that the model was not trained on, rises while the training loss falls, the model overfits. The dashed lines are baselines: all " +
    "characters equally likely (uniform), or as likely as in the training text (unigram)." },
  learning_rate: { name: "learning rate", y: "learning rate", read: "The learning rate scales how much each step changes the weights. " +
    "It usually rises in the first steps and then falls until the end of the plan." },
  grad_norm: { name: "gradient norm", y: "L2 norm of the gradient", read: "A steady training has an even line. High peaks show steps at which the " +
    "training was unstable: a lower learning rate helps." },
  chars_per_second: { name: "training speed", y: "characters per second", read: "The line shows the mean speed since the start. It falls if the machine became " +
    "slower, for example because of other programs." },
};

function curves(run) {
  const points = (key) => run.evaluations.filter((e) => Number.isFinite(e[key])).map((e) => [e.step, e[key]]);
  const steps = run.evaluations.map((e) => e.step);
  if (steps.length < 2) return;
  const horizontal = (value) => [[steps[0], value], [steps.at(-1), value]];
  const losses = [
    { name: "held-out loss", points: points("val_loss") },
    { name: "training loss", points: points("train_loss") },
    { name: "unigram baseline", points: run.guessing ? horizontal(run.guessing.unigram) : [], dashed: true },
    { name: "uniform baseline", points: run.guessing ? horizontal(run.guessing.uniform) : [], dashed: true },
  ];
  const draw = () => {
    const key = $("metric").value, { name, y, read } = METRICS[key];
    const series = key === "loss" ? losses : [{ name, points: points(key) }];
    if (series.some((one) => one.points.length)) new LineChart($("curves"), { series, x: "step", y });
    $("curves-note").textContent = read;
  };
  if (!$("metric").options.length) {
    $("metric").append(...Object.entries(METRICS).map(([value, { name }]) => make("option", { value, text: name })));
  }
  $("metric").onchange = draw;
  reveal("training", "Training curves"); // before drawing: a chart fits the width that it has on the page
  draw();
  $("events").replaceChildren(...run.events.map((e) => make("li", { text: `step ${whole(e.step)}: ${e.event}` })));
}

function samples(run) {
  if (!run.samples.length) return;
  const slider = $("sample-index"), atEnd = slider.max === "" || slider.value === slider.max;
  slider.max = run.samples.length - 1;
  if (atEnd) slider.value = slider.max;
  slider.oninput = () => {
    const { step, text } = run.samples[slider.value];
    $("step").textContent = whole(step);
    $("sample").textContent = text;
  };
  slider.oninput();
  reveal("samples", "Samples during training");
}

// The name of a neuron.
function neuronName([layer, part, index]) { return `layer ${layer + 1}, ${part} ${index}`; }

function readText(data) {
  const reader = new Reader(data), { list, named, count: total } = data.neurons;
  const option = (one) => make("option", { value: one.neuron,
    text: `${one.feature} (${neuronName(list[one.neuron])}, r = ${one.correlation.toFixed(2)})` });
  const group = (label, neurons) => neurons.length ? make("optgroup", { label }, ...neurons.map(option)) : null;
  $("color").append(make("option", { value: "", text: "surprisal" }), ...[group("interpretable neurons", named.filter((n) => n.is_clear)),
    group("weaker correlations", named.filter((n) => !n.is_clear))].filter((one) => one),
    make("option", { value: "any", text: "neuron by number" }));
  $("neuron").max = list.length - 1;
  const show = (neuron) => {
    const known = named.find((one) => one.neuron === neuron);
    $("color").value = neuron === null ? "" : known ? String(neuron) : "any";
    if (neuron !== null) $("neuron").value = neuron;
    reader.show(neuron);
    $("legend").dataset.neuron = neuron ?? "";
    $("legend").textContent = neuron === null ? "The stronger the color, the higher the surprisal: from 1 bit (lightest) to 7 bits or more."
      : `${neuronName(list[neuron])}${known ? `, correlates with: ${known.feature}` : ""}. Orange: positive activation; blue: negative.` +
        (list.length < total ? ` This page contains ${whole(list.length)} of ${whole(total)} neurons.` : "");
  };
  const selected = () => Math.max(0, Math.min(list.length - 1, Math.round(Number($("neuron").value) || 0)));
  const step = (by) => show($("color").value === "" ? selected() : (selected() + by + list.length) % list.length);
  $("color").onchange = () => show($("color").value === "" ? null : $("color").value === "any" ? selected() : Number($("color").value));
  $("neuron").onchange = () => show(selected());
  $("previous-neuron").onclick = () => step(-1);
  $("next-neuron").onclick = () => step(1);
  $("text-note").textContent = `${data.text.about} Mean surprisal: ${data.text.bits_per_char.toFixed(3)} bits per character. ` +
    "Point at a character, tap it or select it with the arrow keys to see the model's top predictions for it.";
  reveal("reading", "Predictions and neurons");
  show(null);
  neuronTable(data.neurons, show);
}

function neuronTable({ named, list, not_followed: none }, show) {
  const clear = named.filter((one) => one.is_clear);
  if (!named.length && !none.length) return;
  const weak = named.length - clear.length;
  $("neurons-summary").textContent = [
    clear.length ? "The activation of these neurons follows a feature of the text." : "No neuron clearly follows a feature of the text.",
    weak ? `${weak === 1 ? "1 weaker correlation is" : `${weak} weaker correlations are`} in the menu “Color by”.` : "",
    none.length ? `No neuron follows: ${none.join(", ")}.` : "",
  ].filter((one) => one).join(" ");
  document.querySelector("#neurons .scroll").hidden = document.querySelector("#neurons .note").hidden = !clear.length;
  document.querySelector("#neurons tbody").replaceChildren(...clear.map((one) => {
    const link = make("a", { href: "#reading", text: neuronName(list[one.neuron]), onclick: () => show(one.neuron) });
    return make("tr", {}, make("td", { text: one.feature }), make("td", {}, link), make("td", { text: one.correlation.toFixed(2) }),
      make("td", { text: one.by_chance.toFixed(2) }));
  }));
  reveal("neurons", "Interpretable neurons");
}

function gates(layers) {
  document.querySelector("#gates .charts").replaceChildren(...layers.map((one) => {
    const name = `layer ${one.layer + 1}, ${one.gate} gate`;
    return make("div", { class: "chart" }, make("h3", { text: name }), scatter(one.open.map((x, i) => [x, one.shut[i]]), name));
  }));
  reveal("gates", "Gate activations");
}

function context(points) {
  if (points.length < 2) return;
  const series = [{ name: "mean surprisal", points: points.map((p) => [p.characters, p.bits_per_char]) }];
  reveal("context", "Context length");
  new LineChart($("context-curve"), { series, x: "characters of context", y: "bits per character", log: true });
}

function confusions(data) {
  document.querySelector("#confusions tbody").replaceChildren(...data.mistakes.map((one) => make("tr", {},
    make("td", {}, make("kbd", { text: visible(one.actual) })), make("td", {}, make("kbd", { text: visible(one.guessed) })),
    make("td", { text: whole(one.count) }), make("td", { text: `${(100 * one.share).toFixed(0)} %` }))));
  if (data.embedding.length) $("embedding-map").replaceChildren(embeddingMap(data.embedding));
  reveal("confusions", "Confusion matrix");
}

const MIN_SEGMENT = 15; // shorter lines and sentences are not compared, as in charloom.inference.segments

// Describe the overlap of a text with the training text. limit: shorter passages are not counted, in characters.
function overlap({ copied, longest, segments, copied_segments: whole_segments }, limit) {
  const lines = segments ? ` ${percent(whole_segments / segments)} of ${whole(segments)} lines or sentences of at least ${MIN_SEGMENT} characters occur there as a whole.` : "";
  return `${percent(copied)} of the characters are copied from the training text in passages of more than ${limit} characters ` +
    `(longest: ${whole(longest)}).${lines}`;
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;

// Describe a copied passage: its length, where it is in the training text, and which sample contains it.
function copiedPassage({ text, temperature, line, record }) {
  const characters = Array.from(text), start = characters.slice(0, 100).join("") + (characters.length > 100 ? "\u2026" : "");
  const place = record ? `record ${whole(record)}` : line ? `line ${whole(line)}` : "";
  return make("li", { text: `${whole(characters.length)} characters, temperature ${temperature}${place && `, ${place} of the training text`}: ${visible(start)}` });
}

function generatedText(data) {
  const { copies } = data;
  $("memorization-note").textContent = copies.missing ? `${copies.missing} Memorization was therefore not measured.`
    : `Copied passages, lines and sentences are highlighted.${copies.held_out ? ` What is usual by chance, measured on the author's own held-out text: ${overlap(copies.held_out, copies.longer_than)}` : ""}`;
  $("longest-passages").replaceChildren(...copies.longest_passages.map(copiedPassage));
  document.querySelector("#generated div").replaceChildren(...data.written.flatMap((one) => {
    const text = Array.from(one.text), pre = make("pre", { tabindex: 0, "aria-label": `Text generated at temperature ${one.temperature}` });
    let at = 0;
    for (const [from, to] of one.novelty?.passages || []) {
      pre.append(text.slice(at, from).join(""), make("mark", { text: text.slice(from, to).join("") }));
      at = to;
    }
    pre.append(text.slice(at).join(""));
    return [make("h3", { text: `Temperature ${one.temperature}` }),
      one.novelty ? make("p", { class: "note", text: overlap(one.novelty, copies.longer_than) }) : null, pre].filter((node) => node);
  }));
  reveal("generated", "Memorization");
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
  if (data.written) generatedText(data);
}

// Poll a running training, which answers with part of the report's data.
async function follow({ address, seconds }) {
  let previous = "";
  const status = $("status");
  status.hidden = false;
  for (;;) {
    try {
      const data = await (await fetch(address, { cache: "no-store" })).json(), run = JSON.stringify([data.run, data.verdict]);
      if (run !== previous) show(data); // only on changes: redrawing would reset a zoomed chart
      previous = run;
      status.textContent = data.status;
      status.dataset.state = data.finished ? "finished" : "running";
      if (data.finished) return;
    } catch { status.textContent = "Cannot reach the training process: it has finished or was stopped."; }
    await new Promise((wake) => setTimeout(wake, 1000 * seconds));
  }
}

start();
