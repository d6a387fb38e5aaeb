// Starts the page if the browser can run the engine.
if (Engine.supported()) {
  document.body.classList.add("supported");
  use("playground.js");
  use("model_cards.js");
} else document.getElementById("unsupported").hidden = false;
