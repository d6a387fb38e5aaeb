// Starts the page if the browser can run the engine.
if (Engine.supported()) {
  document.body.classList.add("able");
  use("playground.js");
  use("model_cards.js");
} else document.getElementById("unable").hidden = false;
