// The playground: creates its parts and connects them to the page's events.

import { Choices } from "./choices.js";
import { countCharacters, unknownCharacters } from "./code_points.js";
import { Colours } from "./colours.js";
import { DocumentModel, MODEL } from "./document_model.js";
import { $, keepFocus, whole } from "./dom.js";
import { Editor } from "./editor.js";
import { Generation, MAX_PROMPT, resultMessage } from "./generation.js";
import { Models } from "./models.js";
import { askForToken, Notice } from "./notice.js";
import { Reconnector } from "./reconnect.js";
import { RequestRefused, Server, ServerUnreachable } from "./server.js";
import { InvalidSetting, Settings } from "./settings.js";
import { shortcutAction } from "./shortcuts.js";
import { storage } from "./storage.js";
import { copy, save } from "./text_export.js";
import { TopPredictions } from "./top_predictions.js";
import { unknownCharacterNotice } from "./unknown_characters.js";

const STORAGE_KEY = "charloom-text";
const SAVE_DELAY = 300; // milliseconds without a change before the text is stored

const notice = new Notice(), settings = new Settings(), server = new Server(askForToken), reconnector = new Reconnector(server, notice);
const doc = DocumentModel.restore(storage.getItem(STORAGE_KEY));
const models = new Models(modelChosen), editor = new Editor($("text"), $("mirror"));
const colours = new Colours(server, doc, models, () => ready() && !generation.busy, { changed: draw, status: showStatus, failed: showError });
const choices = new Choices($("choices"), (i) => generation.pick(i));
const predictions = new TopPredictions($("guesses"), server, insertPrediction, (error) => { if (error instanceof ServerUnreachable) showError(error); });
const generation = new Generation(server, doc, editor, choices, { changed: refresh, grew: keepVisible, finished: generationFinished, failed: showError });
let previousSelection = [0, 0]; // before the user's last change
let following = true; // whether the page scrolls with the generated text
let visibleOffset = null; // the offset to keep visible when the dock changes its height
let tabLeaves = false; // whether Tab moves the focus, as usual, instead of generating
let saveTimer = null;

function ready() { return models.chosen !== null && !reconnector.waiting; }

function showStatus(message) { $("status").textContent = message; }

// --- display

function refresh(...selected) {
  draw(...selected);
  updatePredictions();
  colours.schedule();
  clearTimeout(saveTimer);
  saveTimer = setTimeout(saveText, SAVE_DELAY);
}

function draw(...selected) {
  editor.show(doc, colours.shown, ...selected);
  const running = generation.busy, open = choices.open, main = $("continue");
  main.querySelector("span").textContent = running ? "Stop" : open ? "None of these" : "Continue";
  main.querySelector("kbd").textContent = running || open ? "Esc" : "Tab";
  main.setAttribute("aria-keyshortcuts", running || open ? "Escape" : "Tab");
  main.disabled = !models.chosen;
  $("another").disabled = !models.chosen || running || !(open || doc.lastContinuation());
  $("undo").disabled = open || doc.done.length === 0;
  $("redo").disabled = open || doc.undone.length === 0;
  for (const id of ["copy", "save", "clear"]) $(id).disabled = doc.text === "";
  showCounts();
}

function showCounts() {
  const length = countCharacters(doc.text), its = countCharacters(doc.text, (unit) => doc.authors[unit] === MODEL);
  const share = its && its < length ? `, ${Math.round((100 * (length - its)) / length)} % yours` : "";
  const parts = [`${whole(length)} character${length === 1 ? "" : "s"}${share}`, colours.summary()];
  $("count").textContent = parts.filter(Boolean).join(" · ");
}

function keepVisible(offset) {
  visibleOffset = offset;
  if (following) editor.scrollTo(offset, $("dock").offsetHeight);
}

function updatePredictions() {
  const text = doc.text.slice(0, editor.selection[0]);
  if (generation.busy && !choices.open) predictions.pause();
  else if (!ready() || choices.open || unknownCharacters(predictions.context(text), models.vocabulary).length) predictions.hide();
  else predictions.request(models.id, text);
}

function saveText() {
  try { storage.setItem(STORAGE_KEY, doc.serialize()); } catch {
    notice.show("The browser keeps no text as long as this one: save it before you close or reload this page.",
      [["Save", () => actions.save()]], "keeping");
  }
}

// --- the server and its errors

function showError(error) {
  if (error instanceof ServerUnreachable) waitForServer();
  else if (error instanceof RequestRefused && error.code === "no_token") notice.show(error.message, [["Enter the token", loadModels]]);
  else if (error instanceof InvalidSetting) showInvalidSetting(error);
  else if (error instanceof RequestRefused) notice.show(error.message);
  else {
    notice.show(`Something in this page went wrong: ${error.message}`);
    console.error(error);
  }
}

function showInvalidSetting(error) {
  toggleSettings(true);
  error.field.setAttribute("aria-invalid", "true");
  error.field.focus();
  notice.show(error.message);
}

async function loadModels(request = server.models()) {
  try {
    const list = await request;
    if (list && !models.show(list)) notice.show("This server has no model.");
    return list !== null;
  } catch (error) {
    showError(error);
    return false;
  }
}

async function waitForServer() {
  if (!reconnector.waiting && await loadModels(reconnector.wait())) showStatus("The server answers again.");
}

function modelChosen(changed) {
  if (changed) {
    if (generation.busy || choices.open) generation.dismiss();
    colours.reset();
    notice.clear("unknown");
  }
  refresh();
}

// --- actions

function continueText({ range = editor.selection, newSeed = false } = {}) {
  if (generation.busy || choices.open || !models.chosen) return;
  if (reconnector.waiting) return showStatus("The server does not answer yet.");
  const prompt = doc.text.slice(0, range[0]), unknown = unknownCharacterNotice(prompt, models, doc, editor);
  if (unknown) {
    const repairAndContinue = (repair) => () => {
      refresh(repair());
      continueText({ newSeed });
    };
    notice.show(unknown.message, unknown.actions.map(([label, repair]) => [label, repairAndContinue(repair)]), "unknown");
    return;
  }
  try { start(range, settings.read(), newSeed, countCharacters(prompt)); } catch (error) { showError(error); }
}

function start(range, values, newSeed, promptLength) {
  notice.clear();
  following = true;
  tabLeaves = false;
  $("keep-seed").hidden = true;
  showStatus(promptLength > MAX_PROMPT ? `Writing, from the last ${whole(MAX_PROMPT)} characters …` : "Writing …");
  generation.start(models.id, range, values, newSeed);
  keepVisible(range[0]);
}

function another() {
  const last = doc.lastContinuation(), { range } = generation;
  if (generation.busy) return;
  if (choices.open) {
    generation.dismiss();
    continueText({ range, newSeed: true });
  } else if (last) continueText({ range: [last.at, last.at + last.inserted.length], newSeed: true });
}

function generationFinished(streams, several) {
  if (streams.every((stream) => stream.error && !stream.shown)) return showStatus("");
  const { seed } = streams[0], offer = $("keep-seed");
  showStatus(resultMessage(streams, several));
  if (several) keepVisible(generation.range[0]); // where they start
  offer.hidden = several || $("seed").value === String(seed);
  offer.onclick = () => {
    settings.keepSeed(seed);
    offer.hidden = true;
    showStatus(`Seed ${seed} is kept: from the same place it writes the same text.`);
  };
}

function insertPrediction(text) {
  following = true;
  const [start, end] = editor.selection, characters = text.replace(/\r\n?/g, "\n"), cursor = start + characters.length;
  doc.replace(start, end, characters, MODEL, "guess", [start, end]);
  refresh(cursor);
  keepVisible(cursor);
}

function undoOrRedo(which) {
  if (choices.open) return;
  if (generation.busy) generation.stop();
  following = true;
  const selected = doc[which]();
  if (!selected) return;
  refresh(...selected);
  keepVisible(selected[1]);
}

function escape() {
  if (generation.busy) generation.stop();
  else if (choices.open) {
    generation.dismiss();
    showStatus("None was taken.");
  } else if (document.body.classList.contains("settings-open")) toggleSettings(false);
  else if (notice.kind) notice.clear();
  else if (document.activeElement === $("text")) {
    tabLeaves = true;
    showStatus("Tab now leaves the text.");
  }
}

function clear() {
  if (generation.busy || choices.open) generation.dismiss();
  doc.replace(0, doc.text.length, "", MODEL, "repair", editor.selection);
  refresh();
  $("text").focus();
  showStatus("Cleared. Undo brings it back.");
}

function toggleSettings(open = !document.body.classList.contains("settings-open")) {
  document.body.classList.toggle("settings-open", open);
  $("more").setAttribute("aria-expanded", String(open));
}

const actions = {
  escape, another, undoOrRedo, continueText, clear,
  pick: (i) => generation.pick(i),
  takePrediction: (i) => predictions.choose(i),
  save: () => showStatus(save(doc.text)),
  copy: async () => showStatus(await copy(doc.text, $("text"))),
};

// --- events

function beforeInput(event) {
  previousSelection = editor.selection;
  if (generation.busy) generation.stop(); // typing stops the generation
  if (event.inputType !== "historyUndo" && event.inputType !== "historyRedo") return;
  event.preventDefault();
  undoOrRedo(event.inputType === "historyUndo" ? "undo" : "redo");
}

function input() {
  doc.applyTyping($("text").value, $("text").selectionEnd, previousSelection);
  tabLeaves = false;
  visibleOffset = null; // the browser scrolls to the cursor itself
  notice.clear("unknown");
  refresh();
}

function keyDown(event) {
  if (event.isComposing || $("door").open) return;
  const shortcut = shortcutAction(event, { choosing: choices.open, tabLeaves });
  if (!shortcut) return;
  event.preventDefault();
  const [action, ...args] = shortcut;
  actions[action](...args);
}

function listen() {
  $("text").addEventListener("beforeinput", beforeInput);
  $("text").addEventListener("input", input);
  $("text").addEventListener("blur", () => { tabLeaves = false; });
  document.addEventListener("keydown", keyDown);
  document.addEventListener("selectionchange", () => {
    if (document.activeElement === $("text") && !generation.busy) updatePredictions();
  });
  for (const scrolled of ["wheel", "touchmove"]) addEventListener(scrolled, () => { following = false; }, { passive: true });
  addEventListener("pagehide", saveText);
  new ResizeObserver(() => { if (visibleOffset !== null) keepVisible(visibleOffset); }).observe($("dock"));
  keepFocus($("dock"));
  $("continue").onclick = () => (generation.busy || choices.open ? escape() : continueText());
  for (const id of ["another", "copy", "save", "clear"]) $(id).onclick = () => actions[id]();
  for (const id of ["undo", "redo"]) $(id).onclick = () => undoOrRedo(id);
  $("more").onclick = () => toggleSettings();
  $("done").onclick = () => toggleSettings(false);
  $("settings").querySelector("form").onsubmit = (event) => event.preventDefault();
}

editor.show(doc, colours.shown, doc.text.length);
listen();
draw();
if (matchMedia("(pointer: fine)").matches) $("text").focus(); // a phone would show its keyboard
loadModels();
