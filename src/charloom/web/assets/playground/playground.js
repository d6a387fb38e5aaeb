// The main module of the playground: creates the parts of the page and connects them to its events.

import { Choices } from "./choices.js";
import { countCharacters, unknownCharacters } from "./code_points.js";
import { Colors } from "./colors.js";
import { DocumentModel, MODEL } from "./document_model.js";
import { $, keepFocus, whole } from "./dom.js";
import { Editor } from "./editor.js";
import { Generation, MAX_PROMPT, generationStatus } from "./generation.js";
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
const models = new Models(modelSelected), editor = new Editor($("text"), $("mirror"));
const colors = new Colors(server, doc, models, () => ready() && !generation.busy, { changed: draw, status: showStatus, failed: showError });
const choices = new Choices($("choices"), (i) => generation.accept(i));
const predictions = new TopPredictions($("predictions"), server, insertPrediction, (error) => { if (error instanceof ServerUnreachable) showError(error); });
const generation = new Generation(server, doc, editor, choices, { changed: refresh, appended: keepVisible, finished: generationFinished, failed: showError });
let previousSelection = [0, 0]; // before the user's last change
let autoScroll = true; // whether the page scrolls with the generated text
let visibleOffset = null; // the offset to keep visible when the controls below the text change their height
let tabLeaves = false; // whether Tab moves the focus instead of generating text
let saveTimer = null;

function ready() { return models.selected !== null && !reconnector.waiting; }

// `data` describes the status for programs; it becomes data attributes of the element.
function showStatus(message, data = {}) {
  const status = $("status");
  for (const key of Object.keys(status.dataset)) delete status.dataset[key];
  Object.assign(status.dataset, data);
  status.textContent = message;
}

// --- display

function refresh(...selected) {
  draw(...selected);
  updatePredictions();
  colors.schedule();
  clearTimeout(saveTimer);
  saveTimer = setTimeout(saveText, SAVE_DELAY);
}

function draw(...selected) {
  editor.show(doc, colors.shown, ...selected);
  const running = generation.busy, open = choices.open, main = $("continue");
  main.querySelector("span").textContent = running ? "Stop" : open ? "Discard all" : "Continue";
  main.querySelector("kbd").textContent = running || open ? "Esc" : "Tab";
  main.setAttribute("aria-keyshortcuts", running || open ? "Escape" : "Tab");
  main.title = running ? "Stop generating" : open ? "Discard all versions" : "Generate text at the cursor";
  main.disabled = !models.selected;
  $("another").disabled = !models.selected || running || !(open || doc.lastContinuation());
  $("undo").disabled = open || doc.done.length === 0;
  $("redo").disabled = open || doc.undone.length === 0;
  for (const id of ["copy", "save", "clear"]) $(id).disabled = doc.text === "";
  showCounts();
}

function showCounts() {
  const length = countCharacters(doc.text), generated = countCharacters(doc.text, (unit) => doc.authors[unit] === MODEL);
  const percent = Math.round((100 * (length - generated)) / length);
  const typed = generated && generated < length ? `, ${percent} % typed` : "";
  const parts = [`${whole(length)} character${length === 1 ? "" : "s"}${typed}`, colors.summary()];
  $("count").textContent = parts.filter(Boolean).join(" · ");
}

function keepVisible(offset) {
  visibleOffset = offset;
  if (autoScroll) editor.scrollTo(offset, $("controls").offsetHeight);
}

function updatePredictions() {
  const text = doc.text.slice(0, editor.selection[0]);
  if (generation.busy && !choices.open) predictions.pause();
  else if (!ready() || choices.open || unknownCharacters(predictions.context(text), models.vocabulary).length) predictions.hide();
  else predictions.request(models.id, text);
}

function saveText() {
  try { storage.setItem(STORAGE_KEY, doc.serialize()); } catch {
    notice.show("The text is too long for the browser's storage. Save it before you close or reload this page.",
      [["Save", () => actions.save()]], "text_too_long");
  }
}

// --- the server and its errors

function showError(error) {
  if (error instanceof ServerUnreachable) waitForServer();
  else if (error instanceof RequestRefused && error.code === "no_token") notice.show(error.message, [["Enter the token", loadModels]], error.code);
  else if (error instanceof InvalidSetting) showInvalidSetting(error);
  else if (error instanceof RequestRefused) notice.show(error.message, [], error.code ?? "error");
  else {
    notice.show(`Unexpected error in this page: ${error.message}`);
    console.error(error);
  }
}

function showInvalidSetting(error) {
  toggleSettings(true);
  error.field.setAttribute("aria-invalid", "true");
  error.field.focus();
  notice.show(error.message, [], "invalid_setting");
}

async function loadModels(request = server.models()) {
  try {
    const list = await request;
    if (list && !models.show(list)) notice.show("The server has no models.", [], "no_models");
    return list !== null;
  } catch (error) {
    showError(error);
    return false;
  }
}

async function waitForServer() {
  if (!reconnector.waiting && await loadModels(reconnector.wait())) showStatus("Reconnected to the server.", { state: "reconnected" });
}

function modelSelected(changed) {
  server.label = models.label;
  if (changed) {
    if (generation.busy || choices.open) generation.discard();
    colors.reset();
    notice.clear("unknown_characters");
  }
  refresh();
}

// --- actions

function continueText({ range = editor.selection, newSeed = false } = {}) {
  if (generation.busy || choices.open || !models.selected) return;
  if (reconnector.waiting) return showStatus("Still waiting for the server.", { state: "waiting" });
  const prompt = doc.text.slice(0, range[0]), unknown = unknownCharacterNotice(prompt, models, doc, editor);
  if (unknown) {
    const applyAndContinue = (apply) => () => {
      refresh(apply());
      continueText({ newSeed });
    };
    notice.show(unknown.message, unknown.actions.map(([label, apply]) => [label, applyAndContinue(apply)]), "unknown_characters");
    return;
  }
  try { start(range, settings.read(), newSeed, countCharacters(prompt)); } catch (error) { showError(error); }
}

function start(range, values, newSeed, promptLength) {
  notice.clear();
  autoScroll = true;
  tabLeaves = false;
  $("reuse-seed").hidden = true;
  const message = promptLength > MAX_PROMPT ? `Generating from the last ${whole(MAX_PROMPT)} characters …` : "Generating …";
  showStatus(message, { state: "generating" });
  generation.start(models.id, range, values, newSeed);
  keepVisible(range[0]);
}

// Replace the last continuation, or all offered versions, with new ones from another seed.
function another() {
  const last = doc.lastContinuation(), { range } = generation;
  if (generation.busy) return;
  if (choices.open) {
    generation.discard();
    continueText({ range, newSeed: true });
  } else if (last) continueText({ range: [last.at, last.at + last.inserted.length], newSeed: true });
}

function generationFinished(streams, choosing) {
  if (streams.every((stream) => stream.error && !stream.shown)) return showStatus("");
  const { seed } = streams[0], reuse = $("reuse-seed"), { message, data } = generationStatus(streams, choosing, models.records && !$("stop").value);
  showStatus(message, data);
  if (choosing) keepVisible(generation.range[0]); // where the versions start
  reuse.hidden = choosing || $("seed").value === String(seed);
  reuse.onclick = () => {
    settings.setSeed(seed);
    reuse.hidden = true;
    showStatus(`Seed set to ${seed}: the same text and settings give the same continuation.`, { state: "seed_set", seed });
  };
}

function insertPrediction(text) {
  autoScroll = true;
  const [start, end] = editor.selection, characters = text.replace(/\r\n?/g, "\n"), cursor = start + characters.length;
  doc.replace(start, end, characters, MODEL, "guess", [start, end]);
  refresh(cursor);
  keepVisible(cursor);
}

function undoOrRedo(which) {
  if (choices.open) return;
  if (generation.busy) generation.stop();
  autoScroll = true;
  const selected = doc[which]();
  if (!selected) return;
  refresh(...selected);
  keepVisible(selected[1]);
}

function escape() {
  if (generation.busy) generation.stop();
  else if (choices.open) {
    generation.discard();
    showStatus("All versions discarded.", { state: "discarded" });
  } else if (document.body.classList.contains("settings-open")) toggleSettings(false);
  else if (notice.kind) notice.clear();
  else if (document.activeElement === $("text")) {
    tabLeaves = true;
    showStatus("Press Tab to leave the editor.", { state: "tab_leaves" });
  }
}

function clear() {
  if (generation.busy || choices.open) generation.discard();
  doc.replace(0, doc.text.length, "", MODEL, "repair", editor.selection);
  refresh();
  $("text").focus();
  showStatus("Text cleared. Undo restores it.", { state: "cleared" });
}

function toggleSettings(open = !document.body.classList.contains("settings-open")) {
  document.body.classList.toggle("settings-open", open);
  $("open-settings").setAttribute("aria-expanded", String(open));
}

const actions = {
  escape, another, undoOrRedo, continueText, clear,
  acceptVersion: (i) => generation.accept(i),
  insertPrediction: (i) => predictions.select(i),
  save: () => showStatus(save(doc.text), { state: "saved" }),
  copy: async () => showStatus(await copy(doc.text, $("text")), { state: "copied" }),
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
  notice.clear("unknown_characters");
  refresh();
}

function keyDown(event) {
  if (event.isComposing || $("token-dialog").open) return;
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
  for (const scrolled of ["wheel", "touchmove"]) addEventListener(scrolled, () => { autoScroll = false; }, { passive: true });
  addEventListener("pagehide", saveText);
  new ResizeObserver(() => { if (visibleOffset !== null) keepVisible(visibleOffset); }).observe($("controls"));
  keepFocus($("controls"));
  $("continue").onclick = () => (generation.busy || choices.open ? escape() : continueText());
  for (const id of ["another", "copy", "save", "clear"]) $(id).onclick = () => actions[id]();
  for (const id of ["undo", "redo"]) $(id).onclick = () => undoOrRedo(id);
  $("open-settings").onclick = () => toggleSettings();
  $("close-settings").onclick = () => toggleSettings(false);
  $("settings").querySelector("form").onsubmit = (event) => event.preventDefault();
}

editor.show(doc, colors.shown, doc.text.length);
listen();
draw();
if (matchMedia("(pointer: fine)").matches) $("text").focus(); // a phone would show its keyboard
loadModels();
