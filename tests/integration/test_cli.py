"""Run every command in a subprocess: results on stdout, messages on stderr, exit codes."""

import json
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

import charloom
from support.errors import cli_error

SMALL = ["--set", "hidden_size=16", "--set", "embedding_size=4", "--set", "seq_length=25", "--set", "batch_size=8"]


def test_corpus_reports_the_facts_of_the_tutorial(cli, shakespeare):
    result = cli("corpus", "shakespeare", "--json").json
    assert (result["characters"], result["distinct"]) == (1_115_394, 65)
    assert result["vocabulary"].startswith("\n !$&',-.3:;?A")
    assert result["preview"] == shakespeare.text[:250]
    assert result["preview"][:13] == "First Citizen"
    assert result["preview_ids"] == [18, 47, 56, 57, 58, 1, 15, 47, 58, 47, 64, 43, 52]


def test_corpus_reads_standard_input_and_texts_too_short_to_train_on(cli):
    result = cli("corpus", "-", stdin="größe\n".encode())
    assert result.code == 0 and "6 characters, 6 distinct" in result.out and "too short" in result.out


def test_train_generate_score_and_info(cli, text):
    Path("my book.txt").write_text(text)
    trained = cli("train", "my book.txt", "--steps", 30, "--json", *SMALL)
    assert trained.code == 0
    result = trained.json
    assert (Path(result["run"]), result["steps"]) == (Path("runs") / "my_book", 30)
    for key in ("seconds", "train_loss", "val_loss", "best_val_loss", "bits_per_char", "chars_per_second"):
        assert result[key] > 0
    assert "held out" in trained.err and "charloom generate runs/my_book" in trained.err

    written = cli("generate", result["run"], "-p", "The ", "-n", 40, "--seed", 7)
    assert (written.code, written.err) == (0, "") and written.out.startswith("The ") and len(written.out) == 45
    assert written.out[:-1] == charloom.load(result["run"]).generate("The ", 40, 0.8, 7)

    scored = cli("score", result["run"], "my book.txt", "--json").json
    assert scored["characters"] == len(text) - 1
    assert scored["nats_per_char"] == pytest.approx(scored["total_nats"] / scored["characters"])

    info = cli("info", result["run"], "--json").json
    assert info["parameters"] == sum(layer["parameters"] for layer in info["layers"])
    assert info["best_val_loss"] == result["best_val_loss"] and info["bits_per_char"] == result["bits_per_char"]
    assert info["corpus_sha256"] == charloom.Corpus.read("my book.txt").sha256 and info["recipe"] == "auto"


def test_run_folders_of_the_same_corpus_are_numbered(quick_cli, text):
    Path("book.txt").write_text(text)
    folders = [quick_cli("train", "book.txt", "--steps", 2, "--json", *SMALL).json["run"] for _ in range(2)]
    assert folders == [str(Path("runs") / name) for name in ("book", "book-2")]


def test_info_reports_training_time_and_rejects_damaged_metrics(cli, text):
    Path("book.txt").write_text(text)
    cli("train", "book.txt", "--steps", 2, "-o", "mine@home", *SMALL)  # an @ that does not select a checkpoint
    lines = [json.loads(line) for line in Path("mine@home/metrics.jsonl").read_text().splitlines()]
    for name in ("mine@home", "mine@home@last", "mine@home/model.safetensors"):
        assert cli("info", name, "--json").json["seconds"] == lines[-1]["seconds"]
    Path("mine@home/metrics.jsonl").write_text("{")
    cli_error(cli("info", "mine@home", "--json"), "damaged_metrics", path=str(Path("mine@home", "metrics.jsonl")))


def test_quiet_prints_nothing(cli, text):
    Path("book.txt").write_text(text)
    result = cli("train", "book.txt", "--steps", 2, "--quiet", *SMALL)
    assert (result.code, result.out, result.err) == (0, "", "")


def test_plan_prints_the_plan_without_training(cli, text):
    Path("book.txt").write_text(text)
    result = cli("train", "book.txt", "--plan", "--epochs", 2, "--json", *SMALL).json
    assert {"recipe", "parameters", "steps", "minutes", "settings"} <= result.keys()
    assert result["steps"] == 2 * result["steps_per_epoch"] and result["settings"]["hidden_size"] == 16
    assert not Path("runs").exists()
    page = cli("train", "book.txt", "--plan", "--steps", 9, *SMALL)
    assert page.code == 0 and "learning_rate" in page.out


def test_plan_of_the_tutorial_recipe(cli, shakespeare):
    result = cli("train", "shakespeare", "--recipe", "tutorial-lstm", "--plan", "--steps", 1720, "--json").json
    assert (result["parameters"], result["steps_per_epoch"]) == (5_330_241, 172)


def test_each_sample_can_be_reproduced_with_its_seed(cli, run):
    result = cli("generate", run, "-p", "We", "-n", 30, "--samples", 3, "--seed", 1, "--json").json
    assert result["chars_per_second"] > 0 and [s["finish_reason"] for s in result["samples"]] == ["length"] * 3
    for sample in result["samples"]:
        alone = cli("generate", run, "-p", "We", "-n", 30, "--seed", sample["seed"], "-q")
        assert alone.out == sample["text"] + "\n"
    plain = cli("generate", run, "-p", "We", "-n", 30, "--samples", 3, "--seed", 1)
    assert plain.out == "---\n".join(s["text"] + "\n" for s in result["samples"])
    assert "sample 2 of 3, seed" in plain.err


def test_a_random_seed_is_printed(cli, run):
    first = cli("generate", run, "-n", 30)
    seed = first.err.split()[1]
    assert cli("generate", run, "-n", 30, "--seed", seed).out == first.out


def test_prompt_from_a_file_or_standard_input(cli, run):
    Path("prompt.txt").write_text("The loom")
    by_file = cli("generate", run, "--prompt-file", "prompt.txt", "-n", 9, "--seed", 1).out
    by_stdin = cli("generate", run, "--prompt-file", "-", "-n", 9, "--seed", 1, stdin=b"The loom").out
    assert by_file == by_stdin == cli("generate", run, "-p", "The loom", "-n", 9, "--seed", 1).out


def test_temperature_zero_does_not_depend_on_the_seed(cli, run):
    a, b = (cli("generate", run, "-t", 0, "-n", 50, "--seed", seed).out for seed in (1, 2))
    assert a == b


def test_checkpoints_are_selected_with_at_last(cli, run):
    assert cli("generate", f"{run}@last", "-n", 5, "--seed", 1).code == 0
    assert cli("info", f"{run}@last", "--json").json["step"] == 150


def test_score_per_character_and_per_line(cli, run):
    Path("t.txt").write_text("The loom\na\n\nThe letters dance")
    per_char = cli("score", run, "t.txt", "--per-char", "--json").json
    assert len(per_char["surprisals"]) == per_char["characters"] == 29 - 1
    assert sum(per_char["surprisals"]) / 28 == pytest.approx(per_char["bits_per_char"], abs=1e-3)
    lines = cli("score", run, "t.txt", "--per-line", "--json").json["lines"]
    assert [line["text"] for line in lines] == ["The loom", "a", "", "The letters dance"]
    model = charloom.load(run)
    assert lines[0]["bits_per_char"] == pytest.approx(model.score("The loom").bits_per_char)
    assert lines[1]["bits_per_char"] is lines[2]["bits_per_char"] is None
    assert cli("score", run, "t.txt", "--per-line").out.splitlines()[1] == "-\ta"
    assert cli("score", run, "t.txt", "--per-char").out.splitlines()[0].endswith("\t'h'")
    assert "bits per character" in cli("score", run, "t.txt").out


def test_line_splitting_does_not_depend_on_the_pieces():
    from charloom.cli.commands.score import _lines as parts_of

    def lines_of(pieces):
        return [part.text for part in parts_of(pieces)]

    text = "one\r\n\ntwo\nthree\n\nfour"
    expected = ["one", "", "two", "three", "", "four"]
    for size in range(1, len(text) + 1):
        assert lines_of(text[i : i + size] for i in range(0, len(text), size)) == expected
    assert lines_of(["a\n"]) == ["a"] and lines_of(["\n"]) == [""] and lines_of([]) == []


def test_perplexity_overflows_to_infinity():
    import numpy as np

    from charloom.inference.scoring import Score

    assert Score(np.array([2000.0]), "ab").perplexity == float("inf")


def test_info_compares_several_models(cli, run):
    table = cli("info", run, f"{run}@last").out
    assert str(run) in table and "bits_per_char" in table and "hidden_size" in table
    assert len(cli("info", run, f"{run}@last", "--json").json["models"]) == 2
    page = cli("info", run).out
    assert "layers.0" in page and "GRU" in page and "weaving" in page


def test_doctor_reports_version_and_devices(cli):
    result = cli("doctor", "--json").json
    assert result["charloom"] == charloom.__version__ and "CPU" in result["devices"]["cpu"]
    page = cli("doctor")
    assert page.code == 0 and "training" in page.out


def test_version(cli):
    assert cli("--version").out == f"charloom {charloom.__version__}\n"


@pytest.mark.alone
@pytest.mark.parametrize(
    "command", [[], ["train"], ["generate"], ["score"], ["corpus"], ["info"], ["serve"], ["doctor"]]
)
def test_help_is_fast(cli, command):
    cli(*command, "--help")  # the first call compiles to bytecode
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        result = cli(*command, "--help")
        seconds.append(time.perf_counter() - began)
        assert result.code == 0 and "Usage:" in result.out
        if seconds[-1] < 0.6:
            break
    assert min(seconds) < 0.6  # documented: 0.3 s on an idle machine


def test_train_help_lists_every_setting(cli):
    from charloom.planning.settings import setting_fields

    out = cli("train", "--help").out
    assert all(item.name in out for item in setting_fields()) and "tutorial-gru" in out


WITHOUT_TORCH = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise AssertionError("torch was imported")
sys.meta_path.insert(0, Refuse())
from charloom.cli.main import main
sys.exit(main())
"""


@pytest.mark.parametrize("arguments", [
    ["generate", "RUN", "-n", "5", "--seed", "1"], ["score", "RUN", "t.txt"], ["corpus", "t.txt"], ["info", "RUN"],
    ["doctor"], ["train", "--help"], ["--help"],
])  # fmt: skip
def test_only_training_imports_torch(cli, run, arguments):
    Path("t.txt").write_text("The loom is warm")
    filled = [str(run) if a == "RUN" else a for a in arguments]
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, *filled], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_importing_charloom_imports_no_heavy_packages():
    code = "import sys, charloom; print([m for m in ('torch', 'numpy', 'rich', 'click') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_train_without_torch_explains_how_to_install_it(cli, text):
    Path("book.txt").write_text(text)
    hidden = (
        "import sys, importlib.util as u; f = u.find_spec; u.find_spec = lambda n, *a: None if n == 'torch' else f(n)"
    )
    code = f"{hidden}\nimport importlib\nfrom charloom.cli.main import main\nsys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code, "train", "book.txt"], capture_output=True, text=True)
    assert done.returncode == 1 and "charloom[train]" in done.stderr and "https://pytorch.org" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_resume_finds_its_corpus(quick_cli, text):
    Path("texts").mkdir()
    Path("texts/book.txt").write_text(text)
    assert quick_cli("train", "texts", "--steps", 20, "-o", "run", *SMALL).code == 0
    longer = quick_cli("train", "--resume", "run", "--steps", 10, "--json")
    assert longer.code == 0 and longer.json["steps"] == 30 and "resumed after step 20" in longer.err
    Path("texts").rename("moved")
    lost = quick_cli("train", "--resume", "run", "--steps", 10, "--json")
    cli_error(lost, "text_unreadable", run="run")
    assert "charloom train TEXT --resume run" in lost.error["message"]
    assert quick_cli("train", "moved", "--resume", "run", "--steps", 10, "--json").json["steps"] == 40
    Path("other.txt").write_text(text + "Ωδή")
    other = quick_cli("train", "other.txt", "--resume", "run", "--new-text", "--steps", 5, "--json")
    assert other.json["steps"] == 45 and "3 new characters of other" in other.err
    begun = quick_cli("train", "moved/book.txt", "--init", "run", "--steps", 1, "--json", "--set", "batch_size=4")
    assert begun.code == 0 and quick_cli("info", begun.json["run"], "--json").json["vocabulary"].endswith("Ωήδ")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_stops_training_and_saves_the_model(cli, text, number, code):
    Path("book.txt").write_text(text)
    arguments = [sys.executable, "-m", "charloom", "train", "book.txt", "--steps", "1000000", "-o", "run", *SMALL]
    # if the tests run with the signal ignored, for example under nohup, the child process would inherit that
    reset_signal = partial(signal.signal, number, signal.SIG_DFL)
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, preexec_fn=reset_signal) as process:
        try:
            while "step 0/" not in process.stderr.readline():
                pass
            time.sleep(0.5)
            process.send_signal(number)
            rest = process.communicate(timeout=20)[1]
        finally:
            process.kill()
    assert process.returncode == code and "Stopped after" in rest and "Traceback" not in rest
    assert cli("generate", "run@last", "-n", 5, "--seed", 1).code == 0
    assert cli("generate", "run", "-n", 5, "--seed", 1).code == 0


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_training_survives_sighup_under_nohup_and_a_closed_stderr(cli, text):
    Path("book.txt").write_text(text)
    command = f"trap '' HUP; exec {sys.executable} -m charloom train book.txt --steps 900 -o run {' '.join(SMALL)}"
    process = subprocess.Popen(["bash", "-c", command], stderr=subprocess.PIPE, text=True)
    while "step 0/" not in process.stderr.readline():
        pass
    process.stderr.close()
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=250) == 0
    assert cli("info", "run@last", "--json").json["step"] == 900


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX pipes")
def test_a_closed_pipe_is_not_an_error(run):
    command = f"{sys.executable} -m charloom generate '{run}' -n 20000 --seed 1 -q | head -c 10"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert len(done.stdout) == 10 and done.stderr == ""


def test_output_is_utf_8_regardless_of_the_locale(cli, tmp_path):
    from charloom.data.vocabulary.characters import Vocabulary
    from charloom.model.file.model_file import SavedModel, save_model
    from charloom.model.initializers import initial_weights
    from support.models import tiny_architecture

    architecture = tiny_architecture()
    save_model(tmp_path / "m", SavedModel(architecture, Vocabulary("床前明月光，疑"), initial_weights(architecture, 0)))
    result = cli("generate", "m", "-p", "床", "-n", 9, "--seed", 1, PYTHONIOENCODING="ascii", LC_ALL="C")
    assert result.code == 0 and result.out.startswith("床") and len(result.out) == 11
    assert (
        json.loads(cli("generate", "m", "-p", "床", "-n", 0, "--seed", 1, "--json").out)["samples"][0]["text"] == "床"
    )
