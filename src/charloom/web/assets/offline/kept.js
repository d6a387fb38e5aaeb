// Stands where the browser's sessionStorage would: what one page keeps is no other page's, though all files are one
// origin to a browser; and where a browser keeps nothing for files, the page works all the same.
const sessionStorage = (() => {
  const name = document.documentElement.dataset.page, here = new Map();
  let kept = null;
  try { kept = window.sessionStorage; } catch { /* it keeps nothing */ }
  return {
    getItem(key) { return kept ? kept.getItem(`${name} ${key}`) : here.get(key) ?? null; },
    setItem(key, value) {
      if (kept) kept.setItem(`${name} ${key}`, value);
      else here.set(key, value);
    },
  };
})();
