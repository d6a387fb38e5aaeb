"""The layout of run folders, and resolving a MODEL argument to a file.

RUN/model.safetensors      the model with the lowest validation loss so far; the latest model without validation
RUN/checkpoints/           step-000172.safetensors ...: the model after that step, with the state to resume training
RUN/recipe.toml            all settings with their final values
RUN/metrics.jsonl          a JSON object per line for each evaluation and event
RUN/samples.txt            the text sampled at each evaluation
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from typing import Any

from charloom._util.suggest import suggestions
from charloom._util.unused_names import unused_name
from charloom.errors import InputError, ModelFileError, RunError
from charloom.model.file.model_file import SUFFIX

MODEL = f"model{SUFFIX}"
CHECKPOINTS = "checkpoints"
RECIPE = "recipe.toml"
METRICS = "metrics.jsonl"
SAMPLES = "samples.txt"

BUNDLED = {"shakespeare": Path(__file__).parents[1] / "pretrained" / f"shakespeare{SUFFIX}"}
"""The models included in charloom, by name."""

_STEP = re.compile(rf"step-(\d+){re.escape(SUFFIX)}")


def checkpoint_path(run: Path, step: int) -> Path:
    """Return the path of the checkpoint after a step."""
    return run / CHECKPOINTS / f"step-{step:06d}{SUFFIX}"


def checkpoint_steps(run: Path) -> list[int]:
    """Return the steps of the checkpoints of a run, in ascending order."""
    matches = (_STEP.fullmatch(path.name) for path in (run / CHECKPOINTS).glob(f"step-*{SUFFIX}"))
    return sorted(int(match[1]) for match in matches if match)


@contextmanager
def new_run_folder(requested: str | None, corpus: str) -> Iterator[Path]:
    """Create the folder of a new run; remove it if the body of the ``with`` statement raises an exception.

    Args:
        requested: The folder that the user requested; None for the first unused of ``runs/CORPUS``, ``runs/CORPUS-2``,
            ``runs/CORPUS-3``, ...
        corpus: The short name of the corpus.

    Raises:
        RunError: If the requested folder exists, or the folder cannot be created.
    """
    folder = Path(requested) if requested is not None else _unused_folder(Path("runs"), corpus)
    is_ours = not folder.exists()
    try:
        try:
            (folder / CHECKPOINTS).mkdir(parents=True, exist_ok=False)
            (folder / METRICS).touch()
        except FileExistsError:
            is_ours = False
            raise _run_exists_error(folder) from None
        except OSError as error:
            reason = error.strerror or str(error)
            raise RunError(
                f"Cannot create the run folder {folder}: {reason}. Choose another folder (-o, or run=... in Python).",
                code="unusable_folder",
                path=str(folder),
                reason=reason,
            ) from None
        yield folder
    except BaseException:
        if is_ours:
            rmtree(folder, ignore_errors=True)
        raise


def check_new_run_folder(requested: str | None) -> None:
    """Raise ``RunError`` if the folder requested for a new run exists."""
    if requested is not None and Path(requested).exists():
        raise _run_exists_error(Path(requested))


def check_new_file(path: Path, force: bool | None = None) -> None:
    """Check that a file can be written without overwriting another one.

    Args:
        path: The file.
        force: The value of the command's option ``--force``, which permits overwriting; None if it has no such option.

    Raises:
        InputError: If the file exists and ``force`` is not set, the path is a folder or a device, or its parent folder
            does not exist.
    """
    if path.exists() and not (force and path.is_file()):
        if path.is_file():
            what = "already exists"
            advice = ", or remove it first" if force is None else ", or pass --force to overwrite it"
        else:
            what, advice = "is a folder" if path.is_dir() else "is not a regular file", ""
        raise InputError(
            f"{path} {what}. Choose another file (-o on the command line){advice}.", code="file_exists", path=str(path)
        )
    if not path.parent.is_dir():
        raise InputError(
            f"Cannot write {path.name}: the folder {path.parent} does not exist. Create it first.",
            code="folder_not_found",
            path=str(path.parent),
        )


def find_model(argument: str) -> Path:
    """Resolve a MODEL argument to a model file.

    Args:
        argument: A model file, a run folder, a run folder followed by ``@last`` or ``@STEP``, or the name of a bundled
            model. Existing files and folders take precedence over bundled models.

    Raises:
        ModelFileError: If there is no such file or folder.
        RunError: If the run folder does not contain the model or checkpoint.
    """
    path = Path(argument)
    if argument in BUNDLED and not path.exists():
        return BUNDLED[argument]
    if path.is_file():
        return path
    if path.is_dir():
        return _best_model(path)
    name, separator, which = argument.rpartition("@")
    if separator and Path(name).is_dir():
        return _checkpoint(Path(name), which)
    raise _not_found_error(argument)


def run_evaluations(model: Path) -> list[dict[str, Any]]:
    """Return the evaluations in ``metrics.jsonl`` of the run that a model file belongs to; an empty list if none.

    Raises:
        RunError: If ``metrics.jsonl`` is damaged.
    """
    run = run_of(model)
    return [] if run is None else [line for line in read_metrics(run) if line.get("event") is None]


def run_of(model: Path) -> Path | None:
    """Return the run folder that contains a model file or checkpoint; None if it is not in a run folder."""
    run = model.parent.parent if model.parent.name == CHECKPOINTS else model.parent
    return run if (run / METRICS).is_file() else None


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Return the lines of ``metrics.jsonl``: evaluations, and events, which have a key "event".

    Raises:
        RunError: If ``metrics.jsonl`` is damaged.
    """
    metrics = run / METRICS
    try:
        lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
        if not all(isinstance(line, dict) and isinstance(line.get("step"), int) for line in lines):
            raise ValueError("a line has no integer 'step'")
    except (ValueError, OSError) as error:
        raise RunError(
            f"{metrics} is damaged: {error}. The model is usable without this file: move the file to another folder.",
            code="damaged_metrics",
            path=str(metrics),
            reason=str(error),
        ) from None
    return lines


def _unused_folder(parent: Path, corpus: str) -> Path:
    return parent / unused_name(corpus, lambda name: (parent / name).exists())


def _run_exists_error(folder: Path) -> RunError:
    return RunError(
        f"{folder} already exists, and charloom never overwrites a run. Choose another folder (-o, or run=... in "
        "Python), or remove this one first.",
        code="file_exists",
        path=str(folder),
    )


def _best_model(run: Path) -> Path:
    path = run / MODEL
    if not path.is_file():
        raise RunError(
            f"{run} contains no {MODEL}. Provide a run folder created by `charloom train`, or a model file.",
            code="no_model_in_folder",
            path=str(run),
        )
    return path


def _checkpoint(run: Path, which: str) -> Path:
    steps = checkpoint_steps(run)
    if which == "last" and steps:
        return checkpoint_path(run, steps[-1])
    if which.isdecimal() and int(which) in steps:
        return checkpoint_path(run, int(which))
    saved = f"Available: {', '.join(map(str, steps))}, last." if steps else "The run has no checkpoints."
    raise RunError(
        f"{run} has no checkpoint {which!r}. {saved}",
        code="checkpoint_not_found",
        path=str(run),
        checkpoint=which,
        available=steps,
    )


def similar_models(argument: str) -> list[str]:
    """Return the model or run folder that a misspelled MODEL argument probably means; an empty list if none is similar.

    It is looked for at the path itself, each part of which may be misspelled. A name without a folder is also compared
    with the run folders in ``runs/`` and with the bundled models.
    """
    path, _, which = argument.rpartition("@")
    whole, suffix = (path, f"@{which}") if path else (argument, "")
    name, parent = Path(whole).name, _similar_folder(Path(whole).parent)
    found = {} if parent is None else _models_in(parent)
    if parent == Path():
        found = dict.fromkeys(BUNDLED, "") | _models_in(Path("runs")) | found
    return [(found[similar] or similar) + suffix for similar in suggestions(name, found)]


def _similar_folder(folder: Path) -> Path | None:
    """Return the folder, or the one that its misspelled parts probably mean; None if none is similar."""
    if _is_folder(folder):
        return folder
    parent = None if folder.parent == folder else _similar_folder(folder.parent)
    if parent is None:
        return None
    names = suggestions(folder.name, [entry.name for entry in _entries(parent) if _is_folder(entry)])
    return parent / names[0] if names else None


def _models_in(folder: Path) -> dict[str, str]:
    """Return the paths of the model files and run folders in a folder, by name."""
    return {
        entry.name: str(entry)
        for entry in _entries(folder)
        if entry.suffix == SUFFIX or (_is_folder(entry) and ((entry / MODEL).exists() or (entry / METRICS).exists()))
    }


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (OSError, ValueError):  # no such folder, or it cannot be read
        return []


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # the name is too long, or contains a NUL character
        return False


def _not_found_error(argument: str) -> ModelFileError:
    similar = similar_models(argument)
    hint = f" Did you mean {similar[0]}?" if similar else ""
    return ModelFileError(
        f"The model {argument!r} does not exist.{hint} Provide a model file, a run folder, a run folder followed by "
        f"@last or @STEP, or a bundled model ({', '.join(BUNDLED)}).",
        code="model_not_found",
        model=argument,
        suggestions=similar,
        bundled=list(BUNDLED),
    )
