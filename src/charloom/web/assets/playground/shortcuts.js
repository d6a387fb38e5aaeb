// Keyboard shortcuts: maps key events to the page's actions.

import { $ } from "./dom.js";

// Returns [action, argument], or null for the browser's default. choosing: versions are offered; tabLeaves: Tab moves the focus.
export function shortcutAction(event, { choosing, tabLeaves }) {
  const command = (event.ctrlKey || event.metaKey) && !event.altKey, alt = event.altKey && !event.ctrlKey && !event.metaKey;
  const unmodified = !command && !event.altKey && !event.shiftKey, inEditor = event.target === $("text");
  const key = event.key.toLowerCase(), digit = /^Digit([1-5])$/.exec(event.code)?.[1];
  if (key === "escape") return ["escape"];
  if (command && key === "enter") return ["another"];
  if (command && key === "s") return ["save"];
  if (inEditor && command && (key === "y" || (key === "z" && event.shiftKey))) return ["undoOrRedo", "redo"];
  if (inEditor && command && key === "z") return ["undoOrRedo", "undo"];
  if (alt && digit) return ["insertPrediction", digit - 1];
  if (choosing && unmodified && /^[1-4]$/.test(key) && !event.target.closest("#settings, header")) return ["acceptVersion", key - 1];
  if (inEditor && unmodified && key === "tab" && !tabLeaves && !choosing) return ["continueText"];
  return null;
}
