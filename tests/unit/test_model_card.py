"""Model cards: they state the facts of the model, and text from a model file cannot inject markup."""

import re
from dataclasses import replace

import numpy as np
import pytest
import yaml

from charloom.data.vocabulary.characters import Vocabulary
from charloom.errors import InputError
from charloom.inference.model import Model
from charloom.inference.model_summary import Sample, write_samples
from charloom.interop.hub.model_card import check_license, model_card, recipe_text
from charloom.interop.hub.package import build_package
from charloom.model.file.model_file import SavedModel, load_model
from charloom.model.initializers import initial_weights
from charloom.planning.settings import Settings
from support.errors import codes, raises_code
from support.hub import FACTS
from support.models import tiny_architecture, tiny_saved


def metadata(card):
    return yaml.safe_load(card.split("---\n")[1])


def test_card_states_the_facts_of_the_model(model):
    saved = load_model(model)
    card = model_card(saved, "ada/letters", "mit", list(write_samples(saved, [7, 8])), recipe_text(saved))
    fields = metadata(card)
    assert (fields["license"], fields["library_name"], fields["pipeline_tag"]) == ("mit", "charloom", "text-generation")
    (result,) = fields["model-index"][0]["results"]
    bits = 1.25 / np.log(2)
    assert result["dataset"]["name"] == "letters" and result["metrics"][0]["value"] == pytest.approx(bits, abs=1e-4)
    assert f"{bits:.3f}" in card and "| letters |" in card and "12,345" in card
    assert f" {sum(w.size for w in saved.weights.values()):,} " in card and "float32" in card
    for seed in (7, 8):
        text = Model(saved).generate("", 400, 0.8, seed, precision="int8")
        assert re.search(rf"\b{seed}\b.*\n\n```text\n{re.escape(text)}", card)
    assert f"\nhidden_size = {Settings().hidden_size}\n" in card


def test_card_omits_unknown_facts():
    saved = tiny_saved()
    card = model_card(saved, "ada/letters")
    assert metadata(card).keys() == {"library_name", "pipeline_tag", "tags"}
    assert "bits per" not in card and "recipe" not in card
    assert recipe_text(saved) is None and recipe_text(tiny_saved(**FACTS | {"settings": {"seed": 1}})) is None


def test_missing_license_gives_a_notice(model):
    assert "no_license" in codes(build_package(model, "a/b").notices)
    assert "no_license" not in codes(build_package(model, "a/b", license_name="mit").notices)


HOSTILE = "x](http://evil) <script>alert(1)</script> | ``` `a` $$ \\ www.evil.com --- \"q\": {y} 'z' #"


def test_names_from_the_file_are_escaped():
    saved = tiny_saved(**FACTS | {"corpus": HOSTILE, "recipe": HOSTILE})
    card = model_card(saved, "ada/letters", None, (), recipe_text(saved))
    assert metadata(card)["model-index"][0]["results"][0]["dataset"]["name"] == HOSTILE
    body = card.split("---\n", 2)[2]
    outside = re.sub(r"^(`{3,})\w*\n.*?^\1$", "", body, flags=re.M | re.S)
    unescaped = re.sub(r"\\.", "", outside)
    assert "evil" in outside and not re.search(r"<|\]|www\.|https?:|\$|&", unescaped)
    assert {line.count("|") for line in unescaped.splitlines() if "|" in line} == {3}


@pytest.mark.parametrize("text", ["```\n# no heading\n```", "````````", "a\n~~~\n<b>\n", "`", ""])
def test_samples_stay_inside_their_fence(text):
    card = model_card(tiny_saved(), "ada/letters", samples=[Sample(1, "", text)])
    fence = re.search(r"\b1\b.*\n\n(`{3,})text\n", card)[1]
    inside = card.split(f"\n{fence}text\n")[-1]
    assert inside.split(f"\n{fence}\n")[0] == text.removesuffix("\n")
    assert fence not in text


def test_samples_show_no_control_characters():
    architecture = replace(tiny_architecture(), vocabulary_size=5)
    saved = SavedModel(architecture, Vocabulary("\x1b\r\x85\0a"), initial_weights(architecture, 1))
    (sample,) = write_samples(saved, [1])
    assert set(sample.text) <= {"\ufffd", "\n", "a"} and "\ufffd" in sample.text
    assert model_card(saved, "ada/letters", samples=[sample]).replace("\n", "").isprintable()


@pytest.mark.parametrize("name", ["MIT", "", "-mit", "a b", "x: y", "mit\n", "a" * 80])
def test_invalid_license_identifiers_are_rejected(name):
    with raises_code("invalid_license", InputError, license=name):
        check_license(name)
