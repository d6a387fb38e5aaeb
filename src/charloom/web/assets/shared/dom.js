// Finds and creates elements. Text is inserted as text, never as markup.

export const $ = (id) => document.getElementById(id);

// A whole number with thousands separators.
export const whole = (n) => Number(n).toLocaleString("en");

// Create an HTML element with attributes and children; see assemble.
export function make(name, attributes = {}, ...children) {
  return assemble(document.createElement(name), attributes, children);
}

// Set up an element. Attributes: "text" sets its text, "on..." adds an event listener; null children are skipped.
export function assemble(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "text") node.textContent = value;
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

// Keep the focus in the editor when a button is clicked. Otherwise a phone's keyboard would appear or disappear.
export function keepFocus(container) {
  container.addEventListener("mousedown", (event) => {
    if (event.target.closest("button")) event.preventDefault();
  });
}
