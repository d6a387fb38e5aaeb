"""Models as one web page: they write in the reader's browser, without a network, from a file or a server of files.

The page is the playground that ``charloom serve`` shows, with the engine, built to WebAssembly, in place of the server.
Everything is in the one file: style, script, engine, and each model as int8. The page's own policy lets nothing else
in: no script or style but those whose SHA-256 it names, and no address at all.
"""

import base64
import hashlib
import html
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from charloom._util.atomic_io import write_atomically
from charloom._version import __version__
from charloom.errors import SettingsError
from charloom.model.file.model_file import SavedModel
from charloom.web.html_template import filled, inert, policy
from charloom.web.model_cards import card, name_them
from charloom.web.script_bundle import one_script
from charloom.web.wasm_model import pack_model

MOST_SAMPLES = 100
MOST_PROMPTS = 20
MOST_TITLE = 200  # characters

_PLAYGROUND = files(__package__).joinpath("assets", "playground")
_OWN = ("alphabet.js", "reading.js", "desk.js", "server.js", "about.js")
_PROMPTS = '<div id="prompts" class="row" role="group" aria-label="Begin with" hidden></div>\n'


def write_page(
    path: Path,
    saved_models: Sequence[SavedModel],
    *,
    title: str | None = None,
    prompts: Sequence[str] = (),
    samples: int = 0,
) -> list[Path]:
    """Write models as one page of HTML; several become a gallery, with a menu and a card for each.

    The same models and options give the same bytes. Weights of float32 are stored as int8, with which
    ``charloom generate`` computes, too: the page writes the same text for the same seed.

    Args:
        path: Where to.
        saved_models: One at least.
        title: The page's; None for the models' names.
        prompts: What texts may begin with; the page begins with the first.
        samples: How many texts of each model stand in the page, readable without JavaScript.

    Returns:
        The file.

    Raises:
        SettingsError: If title, prompts or samples are out of range.
        UnknownCharacterError: If a model does not know a character of a prompt.
    """
    write_atomically(path, make_page(saved_models, title=title, prompts=prompts, samples=samples).encode("utf-8"))
    return [path]


def make_page(
    saved_models: Sequence[SavedModel], *, title: str | None = None, prompts: Sequence[str] = (), samples: int = 0
) -> str:
    """Return what ``write_page`` writes."""
    named = name_them(saved_models)
    title = ", ".join(model.name for model in named) if title is None else title
    _check(title, prompts, samples)
    for model in named:
        for prompt in prompts:
            model.saved.vocabulary.encode(prompt)
    weights = [pack_model(model.saved) for model in named]
    script, style = _script(), _playground("playground.css") + _own("page.css")
    contents = inert({"models": [model.entry() for model in named], "prompts": list(prompts)})
    parts = {
        "mark": _mark(contents, weights),
        "policy": policy(script, style, runs="'wasm-unsafe-eval'"),
        "version": html.escape(__version__),
        "title": html.escape(title),
        "style": style,
        "room": _room(title),
        "below": " What it wrote before is below." if samples else "",
        "cards": "\n".join(card(model, prompts, samples) for model in named),
        "contents": contents,
        "engine": _base64(files(__package__).joinpath("assets", "offline", "engine.wasm").read_bytes()),
        "models": "\n".join(_block(f"model-{at}", data) for at, data in enumerate(weights)),
        "script": script,
    }
    return filled(_own("page.html"), parts)


def _check(title: str, prompts: Sequence[str], samples: int) -> None:
    if not title.isprintable() or not 0 < len(title) <= MOST_TITLE:
        raise SettingsError(f"title must be 1 to {MOST_TITLE} printable characters; got {title[:MOST_TITLE]!r}.")
    if len(prompts) > MOST_PROMPTS:
        raise SettingsError(f"A page has at most {MOST_PROMPTS} prompts; got {len(prompts)}.")
    for prompt in prompts:
        if not prompt or not prompt.replace("\n", "").replace("\t", "").isprintable():
            raise SettingsError(f"A prompt must be text, of printable characters, tabs and line feeds; got {prompt!r}.")
    if isinstance(samples, bool) or not isinstance(samples, int) or not 0 <= samples <= MOST_SAMPLES:
        raise SettingsError(f"samples must be a whole number from 0 to {MOST_SAMPLES}; got {samples!r}.")


def _own(name: str) -> str:
    return files(__package__).joinpath("assets", "offline", name).read_text(encoding="utf-8")


def _playground(name: str) -> str:
    return _PLAYGROUND.joinpath(name).read_text(encoding="utf-8")


def _script() -> str:
    """Return the playground's scripts and the page's as one; of ``server.js`` it is the page's."""
    names = sorted(file.name for file in _PLAYGROUND.iterdir() if file.name.endswith(".js"))
    modules = {name: _playground(name) for name in names} | {name: _own(name) for name in _OWN}
    return one_script(_own("kept.js") + _own("engine.js"), modules, _own("start.js"))


def _room(title: str) -> str:
    """Return the playground's body, as far as the dialogue that asks for a server's token."""
    page = _playground("playground.html")
    body = page[page.index("<header>") : page.index("<dialog")]
    heading, paper = "<h1>charloom</h1>", '<div id="paper">'
    before, between, after = _cut(body, heading, paper)
    return f"{before}<h1>{html.escape(title)}</h1>{between}{_PROMPTS}{paper}{after}".rstrip()


def _cut(text: str, first: str, second: str) -> tuple[str, str, str]:
    before, _, rest = text.partition(first)
    between, _, after = rest.partition(second)
    return before, between, after


def _mark(contents: str, weights: Sequence[bytes]) -> str:
    """Return what tells this page from others in one browser."""
    found = hashlib.sha256(contents.encode("utf-8"))
    for data in weights:
        found.update(data)
    return found.hexdigest()[:16]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _block(name: str, data: bytes) -> str:
    return f'<script type="text/plain" id="{name}">{_base64(data)}</script>'
