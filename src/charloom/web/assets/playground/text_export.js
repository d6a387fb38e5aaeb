// Copy and download the text. Each returns a status message.

import { make } from "./dom.js";

export async function copy(text, area) {
  try {
    await navigator.clipboard.writeText(text);
    return "Copied.";
  } catch { // not permitted, or not a secure context: use the older interface
    const { selectionStart, selectionEnd } = area;
    area.select();
    const done = document.execCommand("copy");
    area.setSelectionRange(selectionStart, selectionEnd);
    return done ? "Copied." : "The browser does not allow copying: select the text and copy it by hand.";
  }
}

export function save(text) {
  const address = URL.createObjectURL(new Blob([text], { type: "text/plain;charset=utf-8" }));
  const words = text.normalize("NFC").match(/[\p{L}\p{N}]+/gu)?.slice(0, 4).join("-").toLowerCase().slice(0, 40);
  const link = make("a", { href: address, download: `${words || "charloom"}.txt` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
  return `Saved as ${link.download}.`;
}
