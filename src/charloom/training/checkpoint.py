"""Checkpoints: format, writing, validation, and the newest checkpoint of a run.

A checkpoint is a model file (see ``charloom.model.file``) with an additional section ``training``. The section holds
everything that is needed to resume a training run exactly, except its text. Only this module knows what the section
contains:

- facts, plain JSON data: the keys of ``_TRAINING_FACTS``; those in ``_OPTIONAL_FACTS`` may be missing;
- optimizer state of each parameter NAME, float32: ``optimizer.step.NAME`` (1,), and two tensors of the parameter's
  shape: ``optimizer.exp_avg.NAME`` and ``optimizer.exp_avg_sq.NAME`` for Adam and AdamW, ``optimizer.momentum.NAME``
  and ``optimizer.direction.NAME`` for Muon;
- hidden state carried between batches, for each LAYER, float32 (1, B, H): ``state.hidden.LAYER``, and for an LSTM
  ``state.cell.LAYER``;
- training losses, float64 (N,): ``losses.last_epoch`` and ``losses.since_evaluation``.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from charloom._util.atomic_io import remove_parts
from charloom._util.printable import quoted, shortened
from charloom.data.text_format import TextFormat
from charloom.errors import CharloomError, ModelFileError, Notice, RunError
from charloom.model.architecture import Architecture
from charloom.model.file.model_file import (
    SUFFIX,
    SavedModel,
    Section,
    load_with_section,
    read_with_section,
    save_model,
)
from charloom.model.file.run_folder import CHECKPOINTS, checkpoint_path, checkpoint_steps
from charloom.model.file.schema import (
    FLAG,
    FLOAT32,
    FLOAT64,
    NAME,
    NUMBER,
    OPTIONAL_NUMBER,
    WHOLE,
    Kind,
    TensorSpec,
    check_facts,
    check_object,
    check_tensor,
    is_whole,
)
from charloom.planning.plan_changes import parse_changes
from charloom.planning.settings import MAX_STREAMS
from charloom.training.distributed.process_group import ProcessGroup

_FLOATS = 3  # floats per parameter: the parameter and two optimizer states
_HEADER_BYTES = 1 << 20  # upper bound for the header and all small tensors
_MAX_PATH = 4_096  # characters
_LOG_FILE_NAME = re.compile(r"[a-z_-]{1,40}\.(jsonl|txt)")


class SavedTraining(Section):
    """The section ``training`` of a checkpoint.

    Attributes:
        facts: Plain JSON data; see ``_TRAINING_FACTS``.
        tensors: Optimizer state, carried hidden state and losses, all finite.
    """


def save_checkpoint(path: Path, model: SavedModel, training: SavedTraining) -> None:
    """Write a checkpoint atomically; see ``charloom.model.file.model_file.save_model``."""
    save_model(path, model, training)


def load_checkpoint(path: Path) -> tuple[SavedModel, SavedTraining | None]:
    """Read and validate a checkpoint. The training state is None for a plain model file.

    Raises:
        ModelFileError: If the file is missing, not a regular file, not a charloom model, larger than this machine's
            memory, or damaged; the message names the invalid part.
    """
    return _with_training(*load_with_section(path))


def read_checkpoint(data: bytes, name: str) -> tuple[SavedModel, SavedTraining | None]:
    """Validate the content of a checkpoint or model file as ``load_checkpoint`` does.

    Args:
        data: Content of the file.
        name: Name of the file in error messages.

    Raises:
        ModelFileError: See ``load_checkpoint``.
    """
    return _with_training(*read_with_section(data, name))


def _with_training(model: SavedModel, section: Section | None) -> tuple[SavedModel, SavedTraining | None]:
    return model, None if section is None else SavedTraining(section.facts, section.tensors)


# --- the validator


def check_training(
    training: Any, facts: Mapping[str, Any], tensors: Mapping[str, TensorSpec], architecture: Architecture
) -> None:
    """Raise ``ModelFileError`` if the section ``training`` of a checkpoint is invalid.

    Args:
        training: Facts of the section, a JSON value.
        facts: Facts of the model, already validated by ``check_facts``.
        tensors: Tensors of the section, by name without the prefix ``training.``.
        architecture: Architecture of the model.
    """
    check_facts(facts, _REQUIRED_MODEL_FACTS)
    required = [name for name in _TRAINING_FACTS if name not in _OPTIONAL_FACTS]
    check_object("facts of the training section", training, _TRAINING_FACTS, required)
    _check_training_tensors(tensors, architecture, training["step"], facts["settings"].get("batch_size"))


def _are_lengths(value: Any) -> bool:
    """Return whether a value maps log files of the run folder to lengths, to which resuming truncates them."""
    return isinstance(value, dict) and all(_LOG_FILE_NAME.fullmatch(k) and is_whole(v) for k, v in value.items())


def _is_position(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(is_whole, value))


def _are_sources(value: Any) -> bool:
    return value is None or (isinstance(value, list) and bool(value) and all(map(_is_source, value)))


def _is_source(value: Any) -> bool:
    if not isinstance(value, dict) or len(value) != 1 or not value.keys() <= {"name", "path"}:
        return False
    (source,) = value.values()  # a path may contain unprintable characters
    return isinstance(source, str) and 0 < len(source) <= _MAX_PATH and "\0" not in source and source != "-"


def _is_text_format(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    try:
        return TextFormat.from_dict(value).to_dict() == value
    except CharloomError:
        return False


def _are_plan_changes(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(parse_changes(value))
    except CharloomError:
        return False


def _record(**kinds: Kind) -> Kind:
    def holds(value: Any) -> bool:
        if value is None:
            return True
        return isinstance(value, dict) and all(kinds[k].holds(v) for k, v in value.items() if k in kinds)

    return Kind("a record", holds)


_REQUIRED_MODEL_FACTS = ("corpus", "corpus_sha256", "corpus_characters", "recipe", "settings")
_STEP = _record(
    step=WHOLE, epoch=NUMBER, loss=OPTIONAL_NUMBER, grad_norm=OPTIONAL_NUMBER, learning_rate=NUMBER, seconds=NUMBER
)  # fmt: skip
_EVALUATION = _record(
    step=WHOLE, epoch=NUMBER, train_loss=OPTIONAL_NUMBER, val_loss=OPTIONAL_NUMBER, bits_per_char=OPTIONAL_NUMBER,
    best_val_loss=OPTIONAL_NUMBER, is_best=FLAG, chars_per_second=OPTIONAL_NUMBER, seconds=NUMBER,
    learning_rate=NUMBER, grad_norm=OPTIONAL_NUMBER,
)  # fmt: skip
_HISTORY = _record(
    step=_STEP, evaluation=_EVALUATION, best=_EVALUATION, recent_best=_EVALUATION, sampled=WHOLE,
    skipped=WHOLE, rollbacks=WHOLE, waited=WHOLE, lowest=OPTIONAL_NUMBER, ended=FLAG, watched=WHOLE,
)  # fmt: skip
_TRAINING_FACTS = {
    "step": WHOLE,
    "position": Kind("a list of two integers of at least 0", _is_position),
    "rate_factor": NUMBER,
    "finished": FLAG,
    "history": Kind("a training history", lambda value: isinstance(value, dict) and _HISTORY.holds(value)),
    "files": Kind("an object of file lengths", _are_lengths),
    "seconds": NUMBER,
    "device": NAME,
    "sources": Kind("a list of names and paths, or null", _are_sources),
    "text_format": Kind("a text format", _is_text_format),
    "time_limit": NUMBER,
    "max_steps": WHOLE,
    "planned_changes": Kind("changes of the plan", _are_plan_changes),
}
_OPTIONAL_FACTS = ("sources", "text_format", "time_limit", "max_steps", "planned_changes")

_OPTIMIZER_STATES = ({"step", "exp_avg", "exp_avg_sq"}, {"step", "momentum", "direction"})  # Adam, Muon
_LOSSES = ("losses.last_epoch", "losses.since_evaluation")


def _check_training_tensors(
    tensors: Mapping[str, TensorSpec], architecture: Architecture, steps: int, streams: int | None
) -> None:
    """Raise ``ModelFileError`` if the tensors of the section are invalid.

    Args:
        tensors: Tensors by name without prefix.
        architecture: Architecture of the model.
        steps: Number of steps so far, an upper bound for the number of losses.
        streams: Batch size B of the carried state, or None if unknown.
    """
    rest = dict(tensors)
    # 1. optimizer state
    for name, shape in architecture.parameter_shapes().items():
        values = {kind: rest.pop(f"optimizer.{kind}.{name}", None) for kind in set().union(*_OPTIMIZER_STATES)}
        present = {kind: value for kind, value in values.items() if value is not None}
        if present and present.keys() not in _OPTIMIZER_STATES:
            raise ModelFileError(
                f"The optimizer state of {name!r} is incomplete.", code="incomplete_optimizer_state", parameter=name
            )
        for kind, value in present.items():
            check_tensor(f"optimizer.{kind}.{name}", value, (1,) if kind == "step" else shape, FLOAT32)
    # 2. carried hidden state
    _check_carried_state(rest, architecture, streams)
    # 3. losses
    for name in _LOSSES:
        if name in rest:
            value = rest.pop(name)
            check_tensor(name, value, (min(math.prod(value.shape), steps),), FLOAT64)
    if rest:
        raise ModelFileError(
            f"The training section has unknown tensors: {', '.join(map(quoted, sorted(rest)[:5]))}.",
            code="unknown_tensors",
            tensors=[shortened(name) for name in sorted(rest)[:5]],
        )


def _check_carried_state(rest: dict[str, TensorSpec], architecture: Architecture, streams: int | None) -> None:
    """Check the carried hidden state and remove it from ``rest``."""
    parts = ("hidden", "cell")[: architecture.state_parts]
    names = [f"state.{part}.{layer}" for layer in range(architecture.num_layers) for part in parts]
    state = {name: rest.pop(name, None) for name in names}
    present = [value for value in state.values() if value is not None]
    if not present:
        return
    stored = present[0].shape[1] if len(present[0].shape) == 3 else 0
    batch = streams if streams is not None else max(1, min(stored, MAX_STREAMS))
    for name, value in state.items():
        if value is None:
            raise ModelFileError(
                f"The checkpoint lacks the tensor {name!r} of the hidden state that is carried between windows.",
                code="incomplete_carried_state",
                tensor=name,
            )
        check_tensor(name, value, (1, batch, architecture.hidden_size), FLOAT32)


# --- the checkpoints of a run


def newest_checkpoint(run: Path) -> tuple[SavedModel, SavedTraining, tuple[str, ...]]:
    """Load the newest usable checkpoint of a run.

    Returns:
        The model, the training state, and a notice for each newer checkpoint that is unusable.

    Raises:
        RunError: If the run has no usable checkpoint.
    """
    return _newest(run)[1:]


def shared_checkpoint(run: Path, process_group: ProcessGroup) -> tuple[SavedModel, SavedTraining, tuple[str, ...]]:
    """Load the newest usable checkpoint in every process; the first process reads the file and broadcasts it.

    Returns:
        The same as ``newest_checkpoint``; the notices are empty in all processes but the first.

    Raises:
        RunError: In the first process, if the run has no usable checkpoint.
    """
    if process_group.is_first:
        path, model, training, notices = _newest(run)
        if process_group.size > 1:
            process_group.broadcast_bytes(path.read_bytes())
        return model, training, notices
    with TemporaryDirectory() as folder:
        copy = Path(folder) / f"checkpoint{SUFFIX}"
        copy.write_bytes(process_group.broadcast_bytes(b""))
        model, received = load_checkpoint(copy)
    assert received is not None, "checked by the first process"
    return model, received, ()


def _newest(run: Path) -> tuple[Path, SavedModel, SavedTraining, tuple[str, ...]]:
    if not (run / CHECKPOINTS).is_dir():
        raise RunError(
            f"{run} is not a run folder. Pass a folder that `charloom train` created.",
            code="not_a_run_folder",
            path=str(run),
        )
    notices: list[Notice] = []
    for step in reversed(checkpoint_steps(run)):
        path = checkpoint_path(run, step)
        try:
            model, training = load_checkpoint(path)
        except ModelFileError as error:
            notices.append(
                Notice(
                    f"{error} Resuming from an earlier checkpoint.",
                    code="damaged_checkpoint_skipped",
                    path=str(path),
                    step=step,
                    reason=error.code,
                )
            )
            continue
        if training is not None:
            return path, model, training, tuple(notices)
        notices.append(
            Notice(
                f"{path} contains only a model and no training state. Resuming from an earlier checkpoint.",
                code="model_checkpoint_skipped",
                path=str(path),
                step=step,
            )
        )
    reasons = "".join(f" {notice}" for notice in notices)
    raise RunError(
        f"{run} has no usable checkpoint.{reasons} Start a new run in another folder.",
        code="no_usable_checkpoint",
        path=str(run),
        skipped=[notice.data["path"] for notice in notices],
    )


def remove_old_checkpoints(run: Path, keep: int) -> None:
    """Remove old checkpoints. The checkpoint of step 0 is removed as soon as there is a newer one.

    Args:
        run: The run folder.
        keep: Number of newest checkpoints to keep; 0: all.
    """
    steps = checkpoint_steps(run)
    for step in steps[:-1]:
        if step == 0 or (keep and step in steps[:-keep]):
            checkpoint_path(run, step).unlink(missing_ok=True)


def clean(run: Path) -> None:
    """Remove incomplete files that a killed process left in a run folder."""
    remove_parts(run)
    remove_parts(run / CHECKPOINTS)


def checkpoint_bytes(parameters: int) -> int:
    """Estimate the size of a checkpoint in bytes."""
    return _FLOATS * 4 * parameters + _HEADER_BYTES
