"""A first look at an installed charloom: every command that needs no PyTorch, on the model that comes along.

    python tests/smoke.py [--engine native|numpy]

Needs nothing but charloom itself, and ends with 0 if all is well. CI runs it on every wheel, `make test-full` on the
wheel and the sdist (integration/test_release.py).
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
    """Run a command in an empty folder; return what it printed: stdout, or stderr where it was to fail."""
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


def look_at_writing(folder, engine):
    """Both engines write the same, a text goes on from its prompt, and the doctor names the engine."""
    text = charloom(folder, *WRITE)
    assert text.startswith("ROMEO: ") and len(text) == len("ROMEO: ") + 120 + 1, text
    assert charloom(folder, *WRITE, CHARLOOM_ENGINE="numpy") == text
    (sample,) = json.loads(charloom(folder, *WRITE, "--json"))["samples"]
    assert sample["text"] + "\n" == text
    found = json.loads(charloom(folder, "doctor", "--json"))["engine"]
    assert engine is None or found.startswith(engine), found
    return text, found


def look_at_reading(folder):
    """What a text costs, what a corpus is, what a model is."""
    score = json.loads(charloom(folder, "score", "shakespeare", "-", "--json", stdin="To be, or not to be"))
    assert score["characters"] == len("To be, or not to be") - 1
    assert 0 < score["bits_per_char"] < 4, score
    (folder / "book.txt").write_text("The loom is warm.\n" * 40, encoding="utf-8")
    corpus = json.loads(charloom(folder, "corpus", "book.txt", "--json"))
    assert (corpus["characters"], corpus["distinct"]) == (18 * 40, len(set("The loom is warm.\n")))
    info = json.loads(charloom(folder, "info", "shakespeare", "--json"))
    assert info["vocabulary_size"] == 65, info
    assert info["parameters"] == sum(layer["parameters"] for layer in info["layers"])


def look_at_files(folder, text):
    """An exported model writes the same text, and a web page holds one."""
    charloom(folder, "export", "shakespeare", "--to", "int8", "-o", "small.safetensors")
    assert charloom(folder, WRITE[0], "small.safetensors", *WRITE[1:]) == text
    charloom(folder, "export", "shakespeare", "--to", "html", "-o", "page.html")
    assert (folder / "page.html").stat().st_size > (folder / "small.safetensors").stat().st_size
    (folder / "bad.safetensors").write_bytes(b"not a model at all")
    assert "bad.safetensors" in charloom(folder, "info", "bad.safetensors", code=2)


def look_at_what_is_missing(folder):
    """Where there is no PyTorch, training says how to get it; nothing else has asked for it."""
    if find_spec("torch") is None:
        assert "pip install 'charloom[train]'" in charloom(folder, "train", "book.txt", "--steps", "1", code=1)


def look_at_python(text):
    """The same from Python, where the package was installed."""
    import charloom as package

    assert "torch" not in sys.modules
    assert package.load("shakespeare").generate("ROMEO: ", length=120, seed=1) + "\n" == text
    assert Path(package.__file__).with_name("py.typed").is_file()
    return package.__version__


def main():
    """Look at all of it, and say what was looked at."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--engine", choices=["native", "numpy"], help="what must generate")
    engine = parser.parse_args().engine
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text, found = look_at_writing(folder, engine)
        look_at_reading(folder)
        look_at_files(folder, text)
        look_at_what_is_missing(folder)
        version = look_at_python(text)
        assert charloom(folder, "--version") == f"charloom {version}\n"
    print(f"charloom {version} on Python {sys.version.split()[0]} is well; engine: {found}")


if __name__ == "__main__":
    main()
