"""Export models as one HTML file that generates text in the browser, offline.

The page is the playground of ``charloom serve``, with the server replaced by the engine, compiled to WebAssembly, and
the models as int8. Style, scripts, engine and models are in one file. The page's content security policy names the
SHA-256 of its script and style, and allows no other source and no connection.
"""

import base64
import hashlib
import html
from collections.abc import Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

from charloom._util.atomic_io import write_atomically
from charloom._version import __version__
from charloom.data.vocabulary.unknown import check_known
from charloom.errors import SettingsError
from charloom.model.file.model_file import SavedModel
from charloom.web.content_security_policy import content_security_policy
from charloom.web.html_template import fill_template, json_for_script, read_asset, read_modules
from charloom.web.model_cards import model_card_html, name_models
from charloom.web.page_presets import PagePresets
from charloom.web.playground import editor_html
from charloom.web.script_bundle import bundle_scripts
from charloom.web.wasm_model import pack_model

MAX_SAMPLES = 100
MAX_PROMPTS = 20
MAX_TITLE = 200  # characters

_MODULES = (
    "local_backend.js",
    "model_cards.js",
    "page_storage.js",
    "prefix_cache.js",
    "records.js",
    "session.js",
    "vocabulary.js",
)
_REPLACEMENTS = {"server.js": "local_backend.js", "storage.js": "page_storage.js"}
_PRESETS = PagePresets()
_PROMPTS = '<div id="prompts" class="row" role="group" aria-label="Prompts" hidden></div>\n'


def write_page(
    path: Path,
    saved_models: Sequence[SavedModel],
    *,
    title: str | None = None,
    prompts: Sequence[str] = (),
    samples: int = 0,
    presets: PagePresets = _PRESETS,
) -> list[Path]:
    """Write models as one HTML page. Several models become a gallery with a menu and a card for each.

    The same models and options give the same bytes. Weights are stored as int8, as with ``charloom generate
    --precision int8``, so the page generates the same text for the same seed.

    Args:
        path: The file to write.
        saved_models: At least one model.
        title: The page's title, 1 to 200 printable characters. None: the models' names.
        prompts: Up to 20 prompts, which the page shows as buttons. The page starts with the first one.
        samples: The number of samples of each model, 0 to 100. They can be read without JavaScript.
        presets: The settings that the page starts with. The samples use their temperature and stop sequence.

    Returns:
        A list with the path of the written file.

    Raises:
        SettingsError: If title, prompts or samples are out of range.
        UnknownCharacterError: If a prompt has a character that is not in a model's vocabulary.
    """
    page = make_page(saved_models, title=title, prompts=prompts, samples=samples, presets=presets)
    write_atomically(path, page.encode("utf-8"))
    return [path]


def make_page(
    saved_models: Sequence[SavedModel],
    *,
    title: str | None = None,
    prompts: Sequence[str] = (),
    samples: int = 0,
    presets: PagePresets = _PRESETS,
) -> str:
    """Return the HTML that ``write_page`` writes."""
    named = name_models(saved_models)
    title = ", ".join(model.name for model in named) if title is None else title
    _check(title, prompts, samples)
    for model in named:
        for prompt in prompts:
            check_known(model.saved.vocabulary, prompt, "prompt")
    weights = [pack_model(model.saved) for model in named]
    script, style = _script(), read_asset("playground/playground.css") + read_asset("offline/offline.css")
    models_json = json_for_script({"models": [model.entry() for model in named], "prompts": list(prompts)})
    slots = {
        "page_id": _page_id(models_json, presets, weights),
        "policy": content_security_policy(script, style, script_sources="'wasm-unsafe-eval'"),
        "version": html.escape(__version__),
        "title": html.escape(title),
        "style": style,
        "editor": editor_html(html.escape(title), _PROMPTS, presets),
        "samples_hint": " The samples below were generated earlier." if samples else "",
        "cards": "\n".join(model_card_html(model, prompts, samples, presets) for model in named),
        "models_json": models_json,
        "engine": _base64(files(__package__).joinpath("assets", "offline", "engine.wasm").read_bytes()),
        "model_blocks": "\n".join(_model_block(f"model-{i}", data) for i, data in enumerate(weights)),
        "script": script,
    }
    return fill_template(read_asset("offline/offline.html"), slots)


def _check(title: str, prompts: Sequence[str], samples: int) -> None:
    if not title.isprintable() or not 0 < len(title) <= MAX_TITLE:
        raise SettingsError(
            f"title must have 1 to {MAX_TITLE} printable characters, got {title[:MAX_TITLE]!r}.",
            code="invalid_setting",
            name="title",
            value=title[:MAX_TITLE],
            max_length=MAX_TITLE,
        )
    if len(prompts) > MAX_PROMPTS:
        raise SettingsError(
            f"A page can have at most {MAX_PROMPTS} prompts, got {len(prompts)}.",
            code="too_many_prompts",
            count=len(prompts),
            maximum=MAX_PROMPTS,
        )
    for prompt in prompts:
        if not prompt or not prompt.replace("\n", "").replace("\t", "").isprintable():
            raise SettingsError(
                f"A prompt must consist of printable characters, tabs and line feeds, got {prompt!r}.",
                code="invalid_setting",
                name="prompts",
                value=prompt,
            )
    if isinstance(samples, bool) or not isinstance(samples, int) or not 0 <= samples <= MAX_SAMPLES:
        raise SettingsError(
            f"samples must be an integer from 0 to {MAX_SAMPLES}, got {samples!r}.",
            code="invalid_setting",
            name="samples",
            value=samples if isinstance(samples, int) else repr(samples),
            minimum=0,
            maximum=MAX_SAMPLES,
        )


def _script() -> str:
    """Return one script with the modules of the playground and of the exported page."""
    modules = read_modules("playground") | {name: read_asset(f"offline/{name}") for name in _MODULES}
    engine, start = read_asset("offline/engine.js"), read_asset("offline/start.js")
    return bundle_scripts(engine, modules, start, _REPLACEMENTS)


def _page_id(models_json: str, presets: PagePresets, weights: Sequence[bytes]) -> str:
    """Return an identifier of the page, which separates its stored data from other pages' in the same browser.

    It depends on the presets, because a page with other presets must not start with the stored settings of this one.
    """
    digest = hashlib.sha256(models_json.encode("utf-8"))
    digest.update(json_for_script(asdict(presets)).encode("utf-8"))
    for data in weights:
        digest.update(data)
    return digest.hexdigest()[:16]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _model_block(name: str, data: bytes) -> str:
    return f'<script type="text/plain" id="{name}">{_base64(data)}</script>'
