// Replaces storage.js in the exported page. Browsers may treat all local files as one origin, so keys contain the page's
// identifier. If the browser stores nothing for local files, values are kept in memory.

const page = document.documentElement.dataset.page, memory = new Map();

function sessionStorageOrNull() {
  try { return window.sessionStorage; } catch { return null; }
}

const browser = sessionStorageOrNull();

export const storage = {
  getItem(key) { return browser ? browser.getItem(`${page} ${key}`) : memory.get(key) ?? null; },
  setItem(key, value) {
    if (browser) browser.setItem(`${page} ${key}`, value);
    else memory.set(key, value);
  },
};
