// What each key does: a table from an event to one of the page's deeds.

import { $ } from "./elements.js";

// Returns what a key means, as [deed, argument], or null if the browser shall do with it what it always does.
export function meaning(event, { choosing, tabLeaves }) {
  const command = (event.ctrlKey || event.metaKey) && !event.altKey, alt = event.altKey && !event.ctrlKey && !event.metaKey;
  const bare = !command && !event.altKey && !event.shiftKey, inText = event.target === $("text");
  const key = event.key.toLowerCase(), digit = /^Digit([1-5])$/.exec(event.code)?.[1];
  if (key === "escape") return ["escape"];
  if (command && key === "enter") return ["another"];
  if (command && key === "s") return ["save"];
  if (inText && command && (key === "y" || (key === "z" && event.shiftKey))) return ["step", "redo"];
  if (inText && command && key === "z") return ["step", "undo"];
  if (alt && digit) return ["guess", digit - 1];
  if (choosing && bare && /^[1-4]$/.test(key) && !event.target.closest("#settings, header")) return ["pick", key - 1];
  if (inText && bare && key === "tab" && !tabLeaves && !choosing) return ["goOn"];
  return null;
}
