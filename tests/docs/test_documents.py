"""Documentation is executed: the README's commands and Python, other pages, and every doctest."""

import doctest
import importlib
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from charloom.model import architecture
from charloom.model.file import safetensors_header
from charloom.model.file.model_file import save_model
from charloom.model.file.run_folder import checkpoint_path, checkpoint_steps
from charloom.model.file.schema import STORED_AS
from support.documents import README, blocks, run_command, run_python, shortened
from support.models import tiny_architecture, tiny_saved
from support.paths import MODULES, ROOT, SOURCE, module_path


def test_readme_commands_run_in_order(workspace):
    lines = [line[2:] for block in blocks("console") for line in block.splitlines() if line.startswith("$ ")]
    commands = [line for line in lines if "charloom " in line and not line.startswith("pip ")]
    assert len(commands) >= 5
    for command in map(shortened, commands):
        run_command(command)


def test_readme_python_runs(workspace):
    assert blocks("python")
    for code in map(shortened, blocks("python")):
        run_python(code)


def test_readme_make_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = {word for block in blocks("console") for word in re.findall(r"^\$ make ([a-z-]+)", block, re.M)}
    assert {"demo", "test"} <= named <= targets


def test_readme_options_exist(workspace):
    commands = re.findall(r"`(charloom [a-z]+ [^`]*-[^`]*)`", README)
    assert commands
    for command in commands:
        words = shlex.split(command)
        help_text = run_command(f"{words[0]} {words[1]} --help").decode()
        for word in words:
            if re.match("--?[a-z]", word):
                assert re.search(rf"(?<!\S){word}\b", help_text), command


@pytest.mark.parametrize("path", MODULES, ids=module_path)
def test_doctests_pass(path):
    if path.name == "__main__.py":
        return
    module = ".".join(("charloom", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")
    assert doctest.testmod(importlib.import_module(module)).failed == 0


def test_links_between_documents_exist():
    followed = 0
    for document in (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))):
        prose = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.M | re.S)
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", prose):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
            followed += 1
    assert followed


def test_engine_page_runs(workspace):
    commands = blocks("bash", (ROOT / "docs" / "reference" / "engine.md").read_text(encoding="utf-8"))
    assert commands
    for block in commands:
        done = subprocess.run(["bash", "-ec", block], capture_output=True, text=True, timeout=200)
        assert done.returncode == 0 and done.stdout, f"{block}\n{done.stderr}"


def test_interop_guide_runs(workspace):
    """Runs the sections on Keras and ONNX. tests/integration/test_hub.py runs the section on the Hub."""
    for module in ("h5py", "onnx", "onnxruntime"):
        pytest.importorskip(module)
    page = (ROOT / "docs" / "guides" / "interop.md").read_text(encoding="utf-8")
    page = page[: page.index("\n## Hugging Face Hub")]
    commands = re.findall(r"^\$ (charloom .+)$", page, re.M)
    assert {shlex.split(command)[1] for command in commands} == {"export", "import", "generate", "train"}
    run_command("charloom train my_book.txt --steps 3 --set hidden_size=16")
    for command in map(shortened, commands):
        run_command(command)
    keras, onnx = blocks("python", page)
    assert "Architecture(" in run_python(keras)
    assert {"ids", "state", "logits", "next_state"} <= set(re.findall(r"'(\w+)'", run_python(onnx)))
    assert "my_book.window.onnx" in page and Path("my_book.window.onnx").exists()


@pytest.mark.slow
def test_scaling_guide_runs(workspace, text):
    page = (ROOT / "docs" / "guides" / "scaling.md").read_text(encoding="utf-8")
    Path("examples").symlink_to(ROOT / "examples")
    Path("corpus").mkdir()
    Path("corpus/one.txt").write_text(text)
    background = []
    try:
        for command in re.findall(r"^\$ (.+)$", "".join(blocks("console", page)), re.M):
            words = shlex.split(command.removesuffix("&"))
            if command.endswith("&"):
                background.append(subprocess.Popen(words, stderr=subprocess.DEVNULL))
                continue
            done = subprocess.run(words, capture_output=True, text=True, timeout=200)
            assert done.returncode == 0, f"{command}\n{done.stderr}"
    finally:
        for process in background:
            process.terminate()
            process.wait(30)
    assert background
    for code in blocks("python", page):
        assert run_python(code)


FORMAT = ROOT / "docs" / "reference" / "format.md"
COMPARE = """
import sys
import numpy as np
from charloom.model.file.model_file import load_model
for path in sys.argv[1:]:
    architecture, characters, weights = read(path)
    loaded = load_model(path)
    assert (architecture, characters) == (loaded.architecture.to_dict(), loaded.vocabulary.characters)
    assert weights.keys() == loaded.weights.keys()
    for name, (shape, values) in weights.items():
        np.testing.assert_array_equal(np.array(values).astype(np.float32).reshape(shape), loaded.weights[name])
"""


def test_format_page_shows_the_output_of_its_code(workspace):
    page = FORMAT.read_text(encoding="utf-8")
    writer, reader = blocks("python", page)
    assert [run_python(writer), run_python(reader)] == blocks("text", page)
    assert "charloom." not in reader and "numpy" not in reader


def test_reader_on_the_format_page_agrees_with_charloom(workspace, run):
    writer, reader = blocks("python", FORMAT.read_text(encoding="utf-8"))
    run_python(writer)
    paths = [str(checkpoint_path(run, checkpoint_steps(run)[-1]))]
    for cell in ("gru", "lstm"):
        for stored_as in STORED_AS:
            paths.append(f"{cell}-{stored_as}")
            save_model(Path(paths[-1]), replace(tiny_saved(cell), stored_as=stored_as))
    done = subprocess.run([sys.executable, "-c", reader + COMPARE, *paths], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr


def test_format_page_states_all_limits():
    page = FORMAT.read_text(encoding="utf-8")
    for number in (safetensors_header.MAX_HEADER, safetensors_header.MAX_TENSORS, *safetensors_header.DTYPES):
        assert (f"{number:,}" if isinstance(number, int) else f"`{number}`") in page
    for _, maximum in architecture.LIMITS.values():
        assert f"to {maximum:,})" in page
    for weight in tiny_architecture().parameter_shapes():
        assert re.sub(r"layers\.\d", "layers.i", weight) in page
