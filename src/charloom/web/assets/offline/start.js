// Begins the page, where the browser can run the engine.
if (Engine.supported()) {
  document.body.classList.add("able");
  use("page.js");
  use("about.js");
} else document.getElementById("unable").hidden = false;
