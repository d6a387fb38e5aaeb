// Copies or downloads the text; each function returns a status message.

import { make } from "./dom.js";

export async function copy(text, area) {
  try {
    await navigator.clipboard.writeText(text);
    return "Text copied.";
  } catch { // not permitted, or not a secure context: use the older interface
    const { selectionStart, selectionEnd } = area;
    area.select();
    const copied = document.execCommand("copy");
    area.setSelectionRange(selectionStart, selectionEnd);
    return copied ? "Text copied." : "The browser does not allow this page to copy. Select the text and copy it manually.";
  }
}

export function save(text) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/plain;charset=utf-8" }));
  const words = text.normalize("NFC").match(/[\p{L}\p{N}]+/gu)?.slice(0, 4).join("-").toLowerCase().slice(0, 40);
  const link = make("a", { href: url, download: `${words || "charloom"}.txt` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
  return `Saved as ${link.download}.`;
}
