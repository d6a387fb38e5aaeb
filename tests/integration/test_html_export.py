"""The exported page as bytes: its contents, and its protection against markup in texts."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files

import pytest

from charloom.data.text_format import TextRules
from charloom.data.vocabulary.bytes import ByteVocabulary
from charloom.data.vocabulary.characters import Vocabulary
from charloom.errors import SettingsError, UnknownCharacterError
from charloom.inference.model import Model
from charloom.inference.model_summary import describe_facts
from charloom.model.file.model_file import load_model
from charloom.model.file.run_folder import find_model
from charloom.web.page_presets import PagePresets
from charloom.web.playground import playground_files
from charloom.web.single_page import MAX_PROMPTS, MAX_SAMPLES, make_page, write_page
from charloom.web.wasm_model import pack_model
from support.errors import cli_error, raises_code
from support.models import tiny_saved, untrained

ASSETS = files("charloom.web").joinpath("assets", "offline")
MARKUP = "</script><script>window.hacked=1</script>"
MAX_BYTES = 2_500_000  # size of the bundled model's page


class Elements(HTMLParser):
    """The elements of a page with their attributes and the text directly inside them."""

    def __init__(self, page):
        super().__init__()
        self.elements, self._open = [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), []))
        if tag not in ("meta", "link", "input", "br"):
            self._open.append(self.elements[-1])

    def handle_endtag(self, tag):
        while self._open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        if self._open:
            self._open[-1][2].append(data)

    def all(self, tag):
        return [(attrs, "".join(text)) for name, attrs, text in self.elements if name == tag]

    def data(self, identifier):
        (text,) = [text for attrs, text in self.all("script") if attrs.get("id") == identifier]
        return text


@pytest.fixture(scope="module")
def page(bundled):
    return make_page([bundled], prompts=["ROMEO: ", "JULIET:\n"], samples=3)


def csp_hash(text):
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_the_page_of_the_bundled_model_is_small(page):
    assert len(page.encode()) <= MAX_BYTES


def test_the_same_model_gives_the_same_bytes(tmp_path, bundled, page):
    path = tmp_path / "page.html"
    assert write_page(path, [bundled], prompts=["ROMEO: ", "JULIET:\n"], samples=3) == [path]
    assert path.read_bytes() == page.encode()


def test_the_page_does_not_depend_on_the_stored_precision(run, tmp_path):
    saved = load_model(find_model(str(run)))
    Model(saved).save(tmp_path / "int8.safetensors", "int8")
    assert saved.stored_as == "float32"
    assert make_page([saved], samples=1) == make_page([load_model(tmp_path / "int8.safetensors")], samples=1)


def test_the_policy_allows_only_the_pages_style_and_script(page):
    elements = Elements(page)
    (policy,) = [attrs["content"] for attrs, _ in elements.all("meta") if "http-equiv" in attrs]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    (style,) = [text for _, text in elements.all("style")]
    (script,) = [text for attrs, text in elements.all("script") if "type" not in attrs]
    assert rules == {
        "default-src": "'none'",
        "script-src": f"{csp_hash(script)} 'wasm-unsafe-eval'",
        "style-src": csp_hash(style),
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def test_the_page_has_no_external_references_and_no_event_handlers(page):
    for tag, attrs, _ in Elements(page).elements:
        assert not {"src", "srcset", "action", "style", "ping"} & set(attrs), tag
        assert not [name for name in attrs if name.startswith("on")]
        assert attrs.get("href", "data:,") == "data:,"


def test_the_page_contains_the_engine_and_the_weights(page, bundled):
    elements = Elements(page)
    assert base64.b64decode(elements.data("engine"), validate=True) == ASSETS.joinpath("engine.wasm").read_bytes()
    assert base64.b64decode(elements.data("model-0"), validate=True) == pack_model(bundled)


def test_the_card_shows_the_facts_of_the_model(page, bundled):
    terms = [text for _, text in Elements(page).all("dt")]
    values = [text for _, text in Elements(page).all("dd")]
    facts = dict(describe_facts(bundled, "int8"))
    assert len(facts) >= 6 and facts.items() <= dict(zip(terms, values, strict=False)).items()


def test_samples_equal_generated_texts(page, bundled):
    elements, model = Elements(page), Model(bundled)
    samples = [text.removeprefix("\n") for _, text in elements.all("pre")]
    prompts = ["ROMEO: ", "JULIET:\n", "ROMEO: "]
    assert samples == [model.generate(p, 400, 0.8, seed, precision="int8") for seed, p in enumerate(prompts, 1)]


def test_presets_are_the_initial_settings_and_those_of_the_samples(bundled):
    presets = PagePresets(temperature=0.5, stop='\n\n"\\', versions=3)
    elements = Elements(make_page([bundled], samples=2, presets=presets))
    fields = {attrs["id"]: attrs for attrs, _ in elements.all("input") if "id" in attrs}
    assert fields["temperature"]["value"] == "0.5" and fields["stop"]["value"] == r'\n\n"\\'
    options = [(text, "selected" in attrs) for attrs, text in elements.all("option")]
    assert options == [("1", False), ("2", False), ("3", True), ("4", False)]
    presets = PagePresets(temperature=0.5, stop="\n")
    samples = [
        text.removeprefix("\n") for _, text in Elements(make_page([bundled], samples=2, presets=presets)).all("pre")
    ]
    generate = Model(bundled).generate
    assert samples == [generate("", 400, 0.5, seed, stop="\n", precision="int8") for seed in (1, 2)]
    ids = [re.search('data-page="([^"]+)"', make_page([tiny_saved()], presets=p))[1] for p in (presets, PagePresets())]
    assert ids[0] != ids[1]  # so that a page does not start with the stored settings of another


@pytest.mark.parametrize(
    ("values", "data"),
    [
        ({"temperature": 0.52}, {"name": "temperature", "value": 0.52, "minimum": 0, "maximum": 2.0}),
        ({"temperature": 2.05}, {"name": "temperature", "value": 2.05, "maximum": 2.0}),
        ({"temperature": -0.5}, {"name": "temperature", "value": -0.5}),
        ({"temperature": "1"}, {"name": "temperature", "value": "1"}),
        ({"versions": 0}, {"name": "versions", "value": 0, "minimum": 1, "maximum": 4}),
        ({"versions": 5}, {"name": "versions", "value": 5}),
        ({"stop": ""}, {"name": "stop", "value": "", "max_length": 64}),
        ({"stop": "x" * 65}, {"name": "stop", "value": "x" * 64}),
        ({"stop": "a\x1b[2J"}, {"name": "stop", "value": "a\x1b[2J"}),
        ({"stop": ["a"]}, {"name": "stop"}),
    ],
)
def test_presets_out_of_range_are_rejected(values, data):
    with raises_code("invalid_setting", SettingsError, **data):
        PagePresets(**values)


def test_every_value_of_the_temperature_slider_is_accepted():
    assert [PagePresets(temperature=step / 20).temperature for step in range(41)] == [step / 20 for step in range(41)]
    assert PagePresets(temperature=0.15).slots()["temperature"] == "0.15"


def test_several_models_have_unique_names(bundled):
    elements = Elements(make_page([bundled, bundled, tiny_saved(), bundled]))
    names = ["shakespeare", "shakespeare-2", "model", "shakespeare-3"]
    assert [one["id"] for one in json.loads(elements.data("contents"))["models"]] == names
    assert [attrs["aria-label"] for attrs, _ in elements.all("article")] == names
    assert elements.all("title") == [({}, ", ".join(names))]
    assert len({attrs["id"] for attrs, _ in elements.all("script") if attrs.get("id", "").startswith("model-")}) == 4


def test_markup_in_texts_is_escaped():
    letters = "".join(sorted({*MARKUP, *"\n&'\"\0\x1b\u2028"}))
    saved = untrained(Vocabulary(letters), corpus=MARKUP, recipe="<i>auto</i>")
    plain = Elements(make_page([untrained(Vocabulary(letters), corpus="plain", recipe="auto")], title="T", samples=2))
    hostile = Elements(make_page([saved], title=MARKUP + "&amp;", prompts=[MARKUP], samples=2))
    assert [tag for tag, _, _ in hostile.elements] == [tag for tag, _, _ in plain.elements]
    assert [text for _, text in hostile.all("h1")] == [MARKUP + "&amp;"] == [text for _, text in hostile.all("title")]
    assert "<i>auto</i>" in [text for _, text in hostile.all("dd")]
    assert all(text.startswith("\n" + MARKUP) for _, text in hostile.all("pre"))
    contents = json.loads(hostile.data("contents"))
    assert contents["prompts"] == [MARKUP] and contents["models"][0]["charloom"]["vocabulary"] == letters


def test_characters_that_html_does_not_allow_are_replaced():
    page = make_page([untrained(ByteVocabulary())], samples=3)  # untrained: generates bytes of every kind
    assert not re.search("[\0-\x08\x0b-\x1f\ud800-\udfff]", page)
    samples = "".join(text for _, text in Elements(page).all("pre"))
    assert "\ufffd" in samples and not re.search("[\x7f-\x9f]", samples)


@pytest.mark.parametrize(
    ("options", "code", "data"),
    [
        ({"title": ""}, "invalid_setting", {"name": "title", "value": ""}),
        ({"title": "a\nb"}, "invalid_setting", {"name": "title", "value": "a\nb"}),
        ({"title": "x" * 201}, "invalid_setting", {"name": "title", "value": "x" * 200, "max_length": 200}),
        ({"prompts": [""]}, "invalid_setting", {"name": "prompts", "value": ""}),
        ({"prompts": ["a\x1b[2J"]}, "invalid_setting", {"name": "prompts", "value": "a\x1b[2J"}),
        (
            {"prompts": ["a"] * (MAX_PROMPTS + 1)},
            "too_many_prompts",
            {"count": MAX_PROMPTS + 1, "maximum": MAX_PROMPTS},
        ),
        ({"samples": MAX_SAMPLES + 1}, "invalid_setting", {"name": "samples", "maximum": MAX_SAMPLES}),
        ({"samples": -1}, "invalid_setting", {"name": "samples", "value": -1, "minimum": 0}),
    ],
)
def test_page_options_out_of_range_are_rejected(options, code, data):
    with raises_code(code, SettingsError, **data) as caught:
        make_page([tiny_saved()], **options)
    assert str(caught.value).isprintable()


def test_prompt_must_be_known_to_every_model(bundled):
    make_page([bundled, tiny_saved()], prompts=["a"])
    with raises_code("unknown_character", UnknownCharacterError, count=1) as caught:
        make_page([bundled, tiny_saved()], prompts=["aR"])
    assert caught.value.data["characters"][0]["character"] == "R" and "prompt" in str(caught.value).partition("\n")[0]


def test_the_command_exports_a_page(quick_cli, run, tmp_path):
    result = quick_cli(
        "export", run, "--to", "html", "-o", "page.html", "--title", "A loom", "--prompt", "The\\n", "--json"
    )
    assert result.code == 0 and "int8" in result.err
    assert result.json["file_bytes"] == (tmp_path / "page.html").stat().st_size
    elements = Elements((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert [text for _, text in elements.all("h1")] == ["A loom"]
    assert json.loads(elements.data("contents"))["prompts"] == ["The\n"]
    assert len(elements.all("pre")) == 3


@pytest.mark.parametrize(
    ("arguments", "code", "data"),
    [
        (["shakespeare", "shakespeare", "--to", "int8"], "too_many_models", {"format": "int8"}),
        (["shakespeare", "--to", "float16", "--title", "T"], "missing_option", {"required_by": "--title"}),
        (["shakespeare", "--to", "keras", "--prompt", "a"], "missing_option", {"required_by": "--prompt"}),
        (["shakespeare", "--to", "onnx", "--samples", "0"], "missing_option", {"required_by": "--samples"}),
        (["shakespeare", "--to", "html", "--samples", "-1"], "invalid_setting", {"name": "samples", "value": -1}),
        (["shakespeare", "--to", "html", "--prompt", "ÖL"], "unknown_character", {"count": 1}),
        (["shakespeare", "--to", "int8", "--stop", "a"], "missing_option", {"required_by": "--stop"}),
        (["shakespeare", "--to", "int8", "--temperature", "1"], "missing_option", {"required_by": "--temperature"}),
        (["shakespeare", "--to", "int8", "--versions", "2"], "missing_option", {"required_by": "--versions"}),
        (["shakespeare", "--to", "html", "--versions", "9"], "invalid_setting", {"name": "versions", "value": 9}),
        (["shakespeare", "--to", "html", "--stop", r"\u12"], "invalid_escape", {}),
        (["shakespeare", "--to", "html", "--stop", "a", "--stop", "b"], "too_many_stops", {"count": 2, "maximum": 1}),
    ],
)
def test_export_rejects_invalid_options_and_writes_nothing(quick_cli, tmp_path, arguments, code, data):
    cli_error(quick_cli("export", *arguments, "-o", "out", "--json"), code, **data)
    assert not list(tmp_path.iterdir())


def test_the_command_presets_settings_and_overwrites_only_with_force(quick_cli, tmp_path):
    arguments = ["export", "shakespeare", "--to", "html", "-o", "page.html", "--samples", 0]
    preset = [*arguments, "--stop", "\\n\\n€", "--temperature", 0.5, "--versions", 2]
    result = quick_cli(*preset)
    assert result.code == 0 and "EURO SIGN" in result.err  # the model never writes it
    before = (tmp_path / "page.html").read_bytes()
    assert r'value="\n\n€"' in before.decode("utf-8")
    cli_error(quick_cli(*arguments, "--json"), "file_exists", path="page.html")
    assert (tmp_path / "page.html").read_bytes() == before
    assert quick_cli(*arguments, "--force").code == 0 and (tmp_path / "page.html").read_bytes() != before
    (tmp_path / "folder").mkdir()
    cli_error(quick_cli(*arguments[:-3], "folder", "--samples", 0, "--force", "--json"), "file_exists", path="folder")


def test_the_page_has_every_module_of_the_playground(page):
    (script,) = [text for attrs, text in Elements(page).all("script") if "type" not in attrs]
    for path in playground_files():
        name = path.rpartition("/")[2]
        if name.endswith(".js"):
            assert (f'"{name}"() {{' in script) == (name not in ("server.js", "storage.js"))
    assert '"local_backend.js"() {' in script and '"page_storage.js"() {' in script
    assert "fetch(" not in script


def test_samples_are_mentioned_only_if_there_are_any(page):
    hint = "samples below"
    assert page.count(hint) == 2 and hint not in make_page([tiny_saved()])


def test_unknown_facts_are_left_out():
    terms = [text for _, text in Elements(make_page([tiny_saved()])).all("dt")]
    labels = [term for term in terms if term.strip(" –")]  # without those of the keyboard shortcuts
    assert labels == [label for label, _ in describe_facts(tiny_saved(), "int8")] and len(labels) == 3


def test_the_script_knows_which_models_are_line_models():
    lines = replace(tiny_saved(), rules=TextRules(lines=True))
    contents = json.loads(Elements(make_page([lines, tiny_saved()])).data("contents"))
    assert [one["lines"] for one in contents["models"]] == [True, False]
