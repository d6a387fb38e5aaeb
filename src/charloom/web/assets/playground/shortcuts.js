// Keyboard shortcuts: a table from events to the page's actions.

import { $ } from "./dom.js";

// Returns [action, argument] for a key, or null for the browser's default.
export function shortcutAction(event, { choosing, tabLeaves }) {
  const command = (event.ctrlKey || event.metaKey) && !event.altKey, alt = event.altKey && !event.ctrlKey && !event.metaKey;
  const bare = !command && !event.altKey && !event.shiftKey, inText = event.target === $("text");
  const key = event.key.toLowerCase(), digit = /^Digit([1-5])$/.exec(event.code)?.[1];
  if (key === "escape") return ["escape"];
  if (command && key === "enter") return ["another"];
  if (command && key === "s") return ["save"];
  if (inText && command && (key === "y" || (key === "z" && event.shiftKey))) return ["undoOrRedo", "redo"];
  if (inText && command && key === "z") return ["undoOrRedo", "undo"];
  if (alt && digit) return ["takePrediction", digit - 1];
  if (choosing && bare && /^[1-4]$/.test(key) && !event.target.closest("#settings, header")) return ["pick", key - 1];
  if (inText && bare && key === "tab" && !tabLeaves && !choosing) return ["continueText"];
  return null;
}
