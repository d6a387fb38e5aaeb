"""The whole workflow in a few seconds: train, load, generate, score, save."""

import math

import charloom


def test_trained_model_generates_in_the_style_of_its_text(text, run):
    model = charloom.load(run)
    generated = model.generate("The ", length=200, temperature=0.5, seed=1)
    assert generated.startswith("The ") and len(generated) == 204
    assert set(generated) <= set(text)
    assert generated == "".join(model.stream("The ", length=200, temperature=0.5, seed=1))


def test_training_beats_the_unigram_baseline(text, run):
    held_out = charloom.Corpus(text).split(0.1).validation
    from charloom.data.baselines import baselines

    vocabulary = charloom.Vocabulary.from_text(text)
    baseline_losses = baselines(vocabulary.encode(text), vocabulary.encode(held_out), len(vocabulary))
    loss = charloom.load(run).score(held_out).nats_per_char
    assert loss < baseline_losses.unigram - 0.3 < baseline_losses.uniform == math.log(len(vocabulary))


def test_saved_model_round_trip(run, tmp_path):
    model = charloom.load(run)
    model.save(tmp_path / "small.safetensors", stored_as="float16")
    model.save(tmp_path / "same.safetensors")
    again = charloom.load(tmp_path / "same.safetensors")
    assert again.generate("We", length=100, seed=5) == model.generate("We", length=100, seed=5)
    small = charloom.load(tmp_path / "small.safetensors")
    text = "Weave the letters, one by one!"
    assert math.isclose(small.score(text).total_nats, model.score(text).total_nats, rel_tol=1e-3)
    assert (tmp_path / "small.safetensors").stat().st_size < 0.75 * (tmp_path / "same.safetensors").stat().st_size
