// The playground: puts its parts together and says what is done with them.

import { Choices } from "./choices.js";
import { Colours } from "./colours.js";
import { $, keepFocus, whole } from "./elements.js";
import { Guesses } from "./guesses.js";
import { meaning } from "./keys.js";
import { count, unknown } from "./letters.js";
import { Manuscript, MODEL } from "./manuscript.js";
import { Models } from "./models.js";
import { Notice, askForToken } from "./notice.js";
import { copy, save } from "./outside.js";
import { Paper } from "./paper.js";
import { Patience } from "./patience.js";
import { Gone, Refused, Server } from "./server.js";
import { Settings, Wrong } from "./settings.js";
import { complaint } from "./strange.js";
import { MOST_READ, Writing, report } from "./writing.js";

const KEPT = "charloom-text";
const KEEP_AFTER = 300; // milliseconds without a change before the text is kept

const notice = new Notice(), settings = new Settings(), server = new Server(askForToken), patience = new Patience(server, notice);
const manuscript = Manuscript.restored(sessionStorage.getItem(KEPT));
const models = new Models(chosen), paper = new Paper($("text"), $("mirror"));
const colours = new Colours(server, manuscript, models, () => ready() && !writing.busy, { changed: draw, said: say, failed });
const choices = new Choices($("choices"), (i) => writing.pick(i));
const guesses = new Guesses($("guesses"), server, takeGuess, (error) => { if (error instanceof Gone) failed(error); });
const writing = new Writing(server, manuscript, paper, choices, { changed: refresh, followed: follow, wrote, failed });
let before = [0, 0]; // what was selected before the reader's last change
let following = true; // whether the page scrolls with what is being written
let inSight = null; // the place that is to stay in sight, however tall the dock becomes
let tabLeaves = false; // whether Tab moves to the next part of the page, as everywhere else
let keeping = null;

function ready() { return models.chosen !== null && !patience.waiting; }

function say(message) { $("status").textContent = message; }

// --- what is seen

function refresh(...selected) {
  draw(...selected);
  lookAhead();
  colours.soon();
  clearTimeout(keeping);
  keeping = setTimeout(keep, KEEP_AFTER);
}

function draw(...selected) {
  paper.show(manuscript, colours.shown, ...selected);
  const running = writing.busy, open = choices.open, main = $("continue");
  main.querySelector("span").textContent = running ? "Stop" : open ? "None of these" : "Continue";
  main.querySelector("kbd").textContent = running || open ? "Esc" : "Tab";
  main.setAttribute("aria-keyshortcuts", running || open ? "Escape" : "Tab");
  main.disabled = !models.chosen;
  $("another").disabled = !models.chosen || running || !(open || manuscript.lastContinuation());
  $("undo").disabled = open || manuscript.done.length === 0;
  $("redo").disabled = open || manuscript.undone.length === 0;
  for (const id of ["copy", "save", "clear"]) $(id).disabled = manuscript.text === "";
  tally();
}

function tally() {
  const length = count(manuscript.text), its = count(manuscript.text, (unit) => manuscript.authors[unit] === MODEL);
  const share = its && its < length ? `, ${Math.round((100 * (length - its)) / length)} % yours` : "";
  const parts = [`${whole(length)} character${length === 1 ? "" : "s"}${share}`, colours.cost()];
  $("count").textContent = parts.filter(Boolean).join(" · ");
}

function follow(offset) {
  inSight = offset;
  if (following) paper.follow(offset, $("dock").offsetHeight);
}

function lookAhead() {
  const text = manuscript.text.slice(0, paper.selection[0]);
  if (writing.busy && !choices.open) guesses.pause();
  else if (!ready() || choices.open || unknown(guesses.read(text), models.vocabulary).length) guesses.hide();
  else guesses.ask(models.id, text);
}

function keep() {
  try { sessionStorage.setItem(KEPT, manuscript.saved()); } catch {
    notice.show("The browser keeps no text as long as this one: save it before you close or reload this page.",
      [["Save", () => deeds.save()]], "keeping");
  }
}

// --- the server

function failed(error) {
  if (error instanceof Gone) waitForServer();
  else if (error instanceof Refused && error.code === "no_token") notice.show(error.message, [["Enter the token", load]]);
  else if (error instanceof Wrong) wrong(error);
  else if (error instanceof Refused) notice.show(error.message);
  else {
    notice.show(`Something in this page went wrong: ${error.message}`);
    console.error(error);
  }
}

function wrong(error) {
  toggleSettings(true);
  error.field.setAttribute("aria-invalid", "true");
  error.field.focus();
  notice.show(error.message);
}

async function load(asked = server.models()) {
  try {
    const found = await asked;
    if (found && !models.show(found)) notice.show("This server has no model.");
    return found !== null;
  } catch (error) {
    failed(error);
    return false;
  }
}

async function waitForServer() {
  if (!patience.waiting && await load(patience.wait())) say("The server answers again.");
}

function chosen(other) {
  if (other) {
    if (writing.busy || choices.open) writing.dismiss();
    colours.forget();
    notice.clear("unknown");
  }
  refresh();
}

// --- what can be done

function goOn({ place = paper.selection, anew = false } = {}) {
  if (writing.busy || choices.open || !models.chosen) return;
  if (patience.waiting) return say("The server does not answer yet.");
  const prompt = manuscript.text.slice(0, place[0]), strange = complaint(prompt, models, manuscript, paper);
  if (strange) {
    const then = (mend) => () => {
      refresh(mend());
      goOn({ anew });
    };
    notice.show(strange.message, strange.actions.map(([label, mend]) => [label, then(mend)]), "unknown");
    return;
  }
  try { start(place, settings.read(), anew, count(prompt)); } catch (error) { failed(error); }
}

function start(place, asked, anew, read) {
  notice.clear();
  following = true;
  tabLeaves = false;
  $("keep-seed").hidden = true;
  say(read > MOST_READ ? `Writing, from the last ${whole(MOST_READ)} characters …` : "Writing …");
  writing.goOn(models.id, place, asked, anew);
  follow(place[0]);
}

function another() {
  const last = manuscript.lastContinuation(), { place } = writing;
  if (writing.busy) return;
  if (choices.open) {
    writing.dismiss();
    goOn({ place, anew: true });
  } else if (last) goOn({ place: [last.at, last.at + last.inserted.length], anew: true });
}

function wrote(strands, several) {
  if (strands.every((strand) => strand.error && !strand.shown)) return say("");
  const { seed } = strands[0], offer = $("keep-seed");
  say(report(strands, several));
  if (several) follow(writing.place[0]); // what they go on from
  offer.hidden = several || $("seed").value === String(seed);
  offer.onclick = () => {
    settings.keepSeed(seed);
    offer.hidden = true;
    say(`Seed ${seed} is kept: from the same place it writes the same text.`);
  };
}

function takeGuess(text) {
  following = true;
  const [start, end] = paper.selection, letters = text.replace(/\r\n?/g, "\n"), cursor = start + letters.length;
  manuscript.replace(start, end, letters, MODEL, "guess", [start, end]);
  refresh(cursor);
  follow(cursor);
}

function step(which) {
  if (choices.open) return;
  if (writing.busy) writing.stop();
  following = true;
  const selected = manuscript[which]();
  if (!selected) return;
  refresh(...selected);
  follow(selected[1]);
}

function escape() {
  if (writing.busy) writing.stop();
  else if (choices.open) {
    writing.dismiss();
    say("None was taken.");
  } else if (document.body.classList.contains("settings-open")) toggleSettings(false);
  else if (notice.kind) notice.clear();
  else if (document.activeElement === $("text")) {
    tabLeaves = true;
    say("Tab now leaves the text.");
  }
}

function clear() {
  if (writing.busy || choices.open) writing.dismiss();
  manuscript.replace(0, manuscript.text.length, "", MODEL, "repair", paper.selection);
  refresh();
  $("text").focus();
  say("Cleared. Undo brings it back.");
}

function toggleSettings(open = !document.body.classList.contains("settings-open")) {
  document.body.classList.toggle("settings-open", open);
  $("more").setAttribute("aria-expanded", String(open));
}

const deeds = {
  escape, another, step, goOn, clear,
  pick: (i) => writing.pick(i),
  guess: (i) => guesses.choose(i),
  save: () => say(save(manuscript.text)),
  copy: async () => say(await copy(manuscript.text, $("text"))),
};

// --- who does it

function typing(event) {
  before = paper.selection;
  if (writing.busy) writing.stop(); // who types takes over
  if (event.inputType !== "historyUndo" && event.inputType !== "historyRedo") return;
  event.preventDefault();
  step(event.inputType === "historyUndo" ? "undo" : "redo");
}

function typed() {
  manuscript.typed($("text").value, $("text").selectionEnd, before);
  tabLeaves = false;
  inSight = null; // the browser sees to that itself
  notice.clear("unknown");
  refresh();
}

function pressed(event) {
  if (event.isComposing || $("door").open) return;
  const meant = meaning(event, { choosing: choices.open, tabLeaves });
  if (!meant) return;
  event.preventDefault();
  const [deed, ...argument] = meant;
  deeds[deed](...argument);
}

function listen() {
  $("text").addEventListener("beforeinput", typing);
  $("text").addEventListener("input", typed);
  $("text").addEventListener("blur", () => { tabLeaves = false; });
  document.addEventListener("keydown", pressed);
  document.addEventListener("selectionchange", () => {
    if (document.activeElement === $("text") && !writing.busy) lookAhead();
  });
  for (const scrolled of ["wheel", "touchmove"]) addEventListener(scrolled, () => { following = false; }, { passive: true });
  addEventListener("pagehide", keep);
  new ResizeObserver(() => { if (inSight !== null) follow(inSight); }).observe($("dock"));
  keepFocus($("dock"));
  $("continue").onclick = () => (writing.busy || choices.open ? escape() : goOn());
  for (const id of ["another", "copy", "save", "clear"]) $(id).onclick = () => deeds[id]();
  for (const id of ["undo", "redo"]) $(id).onclick = () => step(id);
  $("more").onclick = () => toggleSettings();
  $("done").onclick = () => toggleSettings(false);
  $("settings").querySelector("form").onsubmit = (event) => event.preventDefault();
}

paper.show(manuscript, colours.shown, manuscript.text.length);
listen();
draw();
if (matchMedia("(pointer: fine)").matches) $("text").focus(); // a phone would bring up its keyboard
load();
