"""The code does what it did when the golden data was made; see ``make.py``, and ``observing.py`` for what is looked at.

Files, texts of int8 and everything that only whole numbers decide are the same everywhere, to the bit. What is computed
in float32 is the same to the bit on the platform that the data was made on (instruction set, versions of PyTorch and
NumPy, one thread), and within a tolerance on others.
"""

import re

import observing
import pytest

torch = pytest.importorskip("torch", reason="needs charloom[train]")

CLOSE = 1e-4  # of losses on another platform
VERY_CLOSE = 1e-6  # of scores

# comments of recipe.toml after the four facts: help texts of settings, whose wording may change
HELP_TEXTS = r"remarks\[([4-9]|\d\d)\]"


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """Compute with one thread and the default engine, as when the data was made."""
    monkeypatch.delenv("CHARLOOM_ENGINE", raising=False)
    before = torch.get_num_threads()
    observing.one_thread()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def folder(tmp_path):
    """A copy of the golden data."""
    return observing.workspace(tmp_path / "work", bulk=True)


def is_same_platform():
    return observing.platform_facts() == observing.load("training")["platform"]


def check(golden, now, **options):
    found = list(observing.differences(golden, now, **options))
    assert not found, "\n".join([f"{len(found)} differences from the golden data:", *found[:40]])


def check_training(golden, now):
    if is_same_platform():
        check(golden, now)
        return
    # sums of thousands of weights, and texts that were drawn with them, say less there
    check(golden, now, tolerance=CLOSE, ignored=(r"sha256$", r"\.sum", r"samples", r"\.end\b"))


# training


@pytest.mark.parametrize("name", observing.WHOLE)
def test_training_reaches_the_same_losses_and_weights(name, folder):
    if name == "bfloat16" and not is_same_platform():
        pytest.skip("bfloat16 rounds so coarsely that losses differ by more than a change of the code would make")
    check_training(observing.load("training")["whole"][name], observing.trained(name, folder))


@pytest.mark.parametrize("name", observing.RUNS)
def test_a_run_that_was_stopped_goes_on_to_the_same_end(name, folder):
    check_training(observing.load("training")["resumed"][name], observing.resumed(name, folder))


def test_a_run_goes_on_from_an_earlier_checkpoint_to_the_same_end(folder):
    now, golden = observing.resumed("gru", folder, before=25), observing.load("training")["resumed"]["gru"]
    left = ("last", "best", "metrics", "samples")
    check_training({key: golden[key] for key in left}, {key: now[key] for key in left})


def test_training_longer_on_another_text_and_from_a_model(folder):
    check_training(observing.load("training")["lengthened"], observing.lengthened(folder))


def test_batches_are_the_same(folder):
    check(observing.load("batches"), observing.batches(folder), tolerance=1e-12)


def test_first_weights_are_the_same():
    check(observing.load("first_weights"), observing.first_weights())


def test_run_folders_hold_the_same_files_rows_and_keys(folder):
    check(observing.load("run_folders"), observing.run_folder_rows(folder), ignored=(HELP_TEXTS,))


# files


def test_model_files_are_read_and_written_as_before(folder):
    check(observing.load("model_files"), observing.model_files(folder))


def test_exports_are_the_same(folder):
    for module in ("h5py", "onnx"):
        pytest.importorskip(module)
    check(observing.load("exports"), observing.exports(folder), tolerance=1e-9, ignored=(r"version$",))


# writing and scoring


@pytest.mark.parametrize("isa", observing.instruction_sets())
def test_int8_writes_the_same_texts_with_every_instruction_set(isa, folder, monkeypatch):
    monkeypatch.setenv("CHARLOOM_ISA", isa)
    golden = observing.load("texts")
    check(golden["int8"], observing.texts(folder, "int8"))
    check(golden["forms"], observing.texts_of_forms(folder))


@pytest.mark.parametrize(
    "titles",
    [("plain", "all filters"), pytest.param(tuple(observing.WRITING), marks=pytest.mark.slow)],
    ids=["some", "all"],
)
def test_int8_writes_the_same_texts_without_the_native_engine(titles, folder, monkeypatch):
    monkeypatch.setenv("CHARLOOM_ENGINE", "numpy")
    now = observing.texts(folder, "int8", titles)
    golden = observing.load("texts")["int8"]
    check({key: golden[key] for key in now}, now)
    assert len(now) == 2 * len(titles) * len(observing.MODELS)


def test_float32_writes_the_same_texts(folder):
    if not is_same_platform():
        pytest.skip("float32 differs by rounding between platforms, and a text goes on from each of its characters")
    check(observing.load("texts")["float32"], observing.texts(folder, "float32"))


def test_scores_guesses_and_activations_are_the_same(folder):
    check(observing.load("scores"), observing.scores(folder), tolerance=VERY_CLOSE)


# jobs


def test_bulk_jobs_that_were_half_done_are_finished_to_the_same_rows(folder):
    golden, now = observing.load("bulk"), observing.bulk(folder)
    assert all(job["missing"] for job in (golden["score"], golden["write"])), "they were half done"
    # scores have four decimals, the last of which may differ between platforms
    free = () if is_same_platform() else (r"^\.score\.ends",)
    check(golden, now, tolerance=0.0 if not free else 2e-4, ignored=free)


def test_a_search_is_opened_and_reported_as_before(folder):
    pytest.importorskip("optuna")
    check(observing.load("tuning_output"), observing.tuning(folder), tolerance=1e-9, ignored=(r"\.verdict$",))


@pytest.mark.slow
def test_a_search_goes_on(folder):
    pytest.importorskip("optuna")
    found = observing.json_of(observing.tuning_words(0.003), folder)
    before = observing.load("tuning_output")["output"]
    assert found["complete"] + found["pruned"] > before["complete"] + before["pruned"]
    assert found["plan_val_loss"] == before["plan_val_loss"]


# what is public


def test_public_names_have_the_same_signatures():
    check(observing.load("public_names"), observing.public_names(), additions=True)


@pytest.mark.parametrize(("module", "name", "kind"), observing.load("import_paths"))
def test_documented_import_paths_work(module, name, kind):
    assert observing.kind_of(module, name) == kind


def test_commands_have_the_same_options():
    check(observing.load("options"), observing.options(), additions=True)


def test_settings_have_the_same_defaults_and_ranges():
    check(observing.load("settings"), observing.settings(), additions=True)


@pytest.mark.parametrize("name", observing.OUTPUTS)
def test_commands_print_the_same_json(name, outputs):
    golden, now = observing.load("outputs")[name], outputs(name)
    check({name: golden}, {name: now}, tolerance=CLOSE, ignored=observing.NOT_COMPARED)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """What a command prints in a folder that all of them share, and in their order: some go on from others."""
    place = observing.workspace(tmp_path_factory.mktemp("outputs") / "work")
    needed, seen = {"train, resumed": "train"}, {}

    def of(name):
        if name in needed:
            of(needed[name])
        if name not in seen:
            seen[name] = observing.printed(name, place)
        return seen[name]

    return of


# the server


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    pytest.importorskip("starlette", reason="needs charloom[serve]")
    pytest.importorskip("uvicorn", reason="needs charloom[serve]")
    return observing.served(observing.workspace(tmp_path_factory.mktemp("server") / "work"))


@pytest.mark.parametrize("name", observing.load("server"))
def test_the_server_answers_the_same(name, answers):
    golden, now = map(observing.without_wording, (observing.load("server")[name], answers[name]))
    check(golden, now, tolerance=1e-5, ignored=observing.NOT_COMPARED_OF_SERVER)


# the data itself


def test_the_data_names_no_folder_of_a_machine():
    for path in sorted(observing.DATA.rglob("*")):
        if path.is_file():
            found = re.search(rb"/(?:home|root|work|tmp|Users)/", path.read_bytes())
            assert found is None, f"{path.name}: {found}"


def test_what_differs_is_found():
    golden = {"a": [1, 2.0, {"b": "x"}], "sha256": "1"}
    assert not list(observing.differences(golden, {"a": [1, 2.0, {"b": "x"}], "sha256": "1"}))
    for now in (
        {"a": [1, 2.1, {"b": "x"}], "sha256": "1"},
        {"a": [1, 2.0, {"b": "y"}], "sha256": "1"},
        {"a": [1, 2.0], "sha256": "1"},
        {"a": [1.0, 2.0, {"b": "x"}], "sha256": "1"},
        {"a": [1, 2.0, {"b": "x", "c": 0}], "sha256": "1"},
        {"a": [1, 2.0, {}], "sha256": "1"},
        {"a": [1, 2.0, {"b": "x"}], "sha256": "2"},
    ):
        assert len(list(observing.differences(golden, now, tolerance=1e-4))) == 1, now
