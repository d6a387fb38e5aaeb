// The few things that all parts of the page are made with. Text goes in as text, never as markup.

export const $ = (id) => document.getElementById(id);

export const whole = (n) => Number(n).toLocaleString("en");

export function make(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "text") node.textContent = value;
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

// A button that does something to the text must not take the focus from it, nor call or dismiss a phone's keyboard.
export function keepFocus(place) {
  place.addEventListener("mousedown", (event) => {
    if (event.target.closest("button")) event.preventDefault();
  });
}
