"""Smoke test of an installed charloom: every command that needs no PyTorch, with the bundled model.

    python tests/smoke.py [--engine native|numpy]

Needs only charloom and exits with 0 on success. CI runs it on every wheel, `make test-full` on the wheel and the sdist
(integration/test_release.py).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

WRITE = ("generate", "-p", "ROMEO: ", "-n", "120", "--seed", "1")


def charloom(folder, *arguments, code=0, stdin=None, **environment):
    """Run a command; return its stdout or, if it is expected to fail with ``code``, its stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "charloom", *arguments],
        cwd=folder,
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "NO_COLOR": "1", "PYTHONUTF8": "1", **environment},
    )
    assert done.returncode == code, f"charloom {' '.join(arguments)} ended with {done.returncode}\n{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    return done.stderr if code else done.stdout


def check_generation(folder, engine):
    """Check that both engines generate the same text after the prompt; return the text and the engine."""
    text = charloom(folder, *WRITE)
    assert text.startswith("ROMEO: ") and len(text) == len("ROMEO: ") + 120 + 1, text
    assert charloom(folder, *WRITE, CHARLOOM_ENGINE="numpy") == text
    (sample,) = json.loads(charloom(folder, *WRITE, "--json"))["samples"]
    assert sample["text"] + "\n" == text
    name = json.loads(charloom(folder, "doctor", "--json"))["engine"]
    assert engine is None or name.startswith(engine), name
    return text, name


def check_scoring(folder):
    """Check score, corpus and info."""
    score = json.loads(charloom(folder, "score", "shakespeare", "-", "--json", stdin="To be, or not to be"))
    assert score["characters"] == len("To be, or not to be") - 1
    assert 0 < score["bits_per_char"] < 4, score
    (folder / "book.txt").write_text("The loom is warm.\n" * 40, encoding="utf-8")
    corpus = json.loads(charloom(folder, "corpus", "book.txt", "--json"))
    assert (corpus["characters"], corpus["distinct"]) == (18 * 40, len(set("The loom is warm.\n")))
    info = json.loads(charloom(folder, "info", "shakespeare", "--json"))
    assert info["vocabulary_size"] == 65, info
    assert info["parameters"] == sum(layer["parameters"] for layer in info["layers"])


def check_export(folder, text):
    """Check that an exported model generates the same text and that a web page contains a model."""
    charloom(folder, "export", "shakespeare", "--to", "int8", "-o", "small.safetensors")
    assert charloom(folder, WRITE[0], "small.safetensors", *WRITE[1:]) == text
    charloom(folder, "export", "shakespeare", "--to", "html", "-o", "page.html")
    assert (folder / "page.html").stat().st_size > (folder / "small.safetensors").stat().st_size
    (folder / "bad.safetensors").write_bytes(b"not a model at all")
    assert "bad.safetensors" in charloom(folder, "info", "bad.safetensors", code=2)


def check_missing_torch(folder):
    """Check that training without PyTorch explains how to install it."""
    if find_spec("torch") is None:
        assert "pip install 'charloom[train]'" in charloom(folder, "train", "book.txt", "--steps", "1", code=1)


def check_python(text):
    """Check the Python API of the installed package; return its version."""
    import charloom as package

    assert "torch" not in sys.modules
    assert package.load("shakespeare").generate("ROMEO: ", length=120, seed=1) + "\n" == text
    assert Path(package.__file__).with_name("py.typed").is_file()
    return package.__version__


def main():
    """Run all checks."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--engine", choices=["native", "numpy"], help="the engine that must be used")
    engine = parser.parse_args().engine
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text, engine_name = check_generation(folder, engine)
        check_scoring(folder)
        check_export(folder, text)
        check_missing_torch(folder)
        version = check_python(text)
        assert charloom(folder, "--version") == f"charloom {version}\n"
    print(f"charloom {version} on Python {sys.version.split()[0]} passed; engine: {engine_name}")


if __name__ == "__main__":
    main()
