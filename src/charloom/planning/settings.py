"""The settings of a training run: default, accepted range and help text of each."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, replace
from types import MappingProxyType, NoneType
from typing import Any

from charloom._util.suggest import ask_about, suggestions
from charloom.errors import Notice, SettingsError, UnknownArgumentError
from charloom.inference.generation_options import MAX_SEED
from charloom.model.architecture import GATES, LIMITS, Architecture
from charloom.planning.plan_changes import PlanChange, format_changes, parse_changes

MAX_STREAMS = 100_000
"""The largest accepted ``batch_size``: the maximum number of streams read in parallel."""


def _setting(
    default: Any,
    help: str,
    minimum: float | None = None,
    maximum: float = math.inf,
    choices: tuple[str, ...] = (),
) -> Any:
    """Declare a setting with its default, help text and accepted values."""
    return field(default=default, metadata={"help": help, "minimum": minimum, "maximum": maximum, "choices": choices})


LENGTHS = ("minutes", "epochs", "steps")
"""The settings that give the length of a training run; exactly one of them is above 0."""

OTHER_NAMES = {
    "lr": "learning_rate",
    "max_lr": "learning_rate",
    "num_epochs": "epochs",
    "num_train_epochs": "epochs",
    "max_epochs": "epochs",
    "n_epochs": "epochs",
    "max_steps": "steps",
    "max_iters": "steps",
    "iterations": "steps",
    "num_steps": "steps",
    "time": "minutes",
    "time_limit": "minutes",
    "hidden": "hidden_size",
    "hidden_dim": "hidden_size",
    "hidden_units": "hidden_size",
    "rnn_units": "hidden_size",
    "rnn_size": "hidden_size",
    "units": "hidden_size",
    "n_hidden": "hidden_size",
    "embedding_dim": "embedding_size",
    "embed_dim": "embedding_size",
    "embed_size": "embedding_size",
    "n_embd": "embedding_size",
    "layers": "num_layers",
    "n_layer": "num_layers",
    "n_layers": "num_layers",
    "rnn_type": "cell",
    "model_type": "cell",
    "batch": "batch_size",
    "per_device_train_batch_size": "batch_size",
    "seq_len": "seq_length",
    "sequence_length": "seq_length",
    "block_size": "seq_length",
    "context_length": "seq_length",
    "bptt": "seq_length",
    "grad_clip": "max_grad_norm",
    "clip": "max_grad_norm",
    "clipnorm": "max_grad_norm",
    "wd": "weight_decay",
    "beta1": "adam_beta1",
    "beta2": "adam_beta2",
    "warmup": "warmup_steps",
    "lr_scheduler_type": "schedule",
    "lr_decay": "schedule",
    "eval_steps": "eval_every",
    "eval_interval": "eval_every",
    "save_steps": "checkpoint_every",
    "save_total_limit": "keep_checkpoints",
    "early_stopping": "patience",
    "early_stopping_patience": "patience",
    "random_seed": "seed",
    "random_state": "seed",
    "validation_split": "val_fraction",
    "val_split": "val_fraction",
    "optim": "optimizer",
    "dtype": "precision",
}
"""What other libraries (PyTorch, Keras, Hugging Face, Karpathy's examples) call the settings."""


class Notices:
    """An ordered collection of notices about a training run that has not started yet.

    Every stage that adapts the settings to a text or a machine adds to the same collection.

    Args:
        messages: Initial notices.
    """

    def __init__(self, messages: Iterable[str] = ()) -> None:
        self._messages = list(messages)

    def add(self, message: str, *, code: str, **data: Any) -> None:
        """Append a notice; see ``Notice`` for the arguments."""
        self._messages.append(Notice(message, code=code, **data))

    def extend(self, messages: Iterable[str]) -> None:
        """Append several notices."""
        self._messages.extend(messages)

    def __iter__(self) -> Iterator[str]:
        return iter(self._messages)

    def __len__(self) -> int:
        return len(self._messages)


@dataclass(frozen=True)
class Settings:
    """The complete settings of one training.

    A step is one update of the weights. Exactly one of ``steps``, ``epochs`` and ``minutes`` is above 0. A value of 0
    turns an optional feature off.

    Raises:
        SettingsError: If a value has the wrong type or is out of range.
    """

    cell: str = _setting("gru", "recurrent cell", choices=tuple(GATES))
    num_layers: int = _setting(1, "number of stacked recurrent layers", *LIMITS["num_layers"])
    hidden_size: int = _setting(384, "units per recurrent layer", *LIMITS["hidden_size"])
    embedding_size: int = _setting(128, "size of the character embedding", *LIMITS["embedding_size"])

    batching: str = _setting(
        "streams",
        "how batches are formed. streams: the text is cut into batch_size contiguous streams, and the hidden state is "
        "carried from window to window; windows: the text is cut into windows, which are shuffled; lines (set by "
        "--lines, --records and --column): batch_size lines or records at a time, each from the zero state",
        choices=("streams", "windows", "lines"),
    )
    seq_length: int = _setting(32, "characters per window (length of backpropagation through time)", 1, 100_000)
    batch_size: int = _setting(32, "windows per batch", 1, MAX_STREAMS)
    shuffle_buffer: int = _setting(10_000, "batching=windows only: size of the shuffle buffer, in windows", 1, 10**9)
    shuffle: str = _setting(
        "epoch", "batching=windows only: shuffle again for every epoch, or once", choices=("epoch", "once")
    )
    reset_state: str = _setting("epoch", "when to reset the hidden state to zero", choices=("never", "epoch", "window"))

    optimizer: str = _setting(
        "muon",
        "adamw is Adam with decoupled weight decay; muon uses Muon for the square matrices of the recurrent layers and "
        "AdamW for the rest",
        choices=("muon", "adamw", "adam"),
    )
    learning_rate: float = _setting(6e-3, "peak learning rate", 1e-9, 10)
    adam_beta1: float = _setting(0.9, "decay rate of Adam's first moment", 0, 0.999_999)
    adam_beta2: float = _setting(0.99, "decay rate of Adam's second moment", 0, 0.999_999)
    adam_epsilon: float = _setting(
        1e-8, "added to the square root of Adam's second moment before bias correction", 1e-16, 1
    )
    muon_ratio: float = _setting(3.3, "muon only: learning rate of Muon, as a multiple of learning_rate", 1e-6, 1e6)
    muon_momentum: float = _setting(0.95, "muon only: decay rate of the momentum", 0, 0.999_999)
    muon_every: int = _setting(4, "muon only: steps between orthogonalizations of the momentum", 1, 10**6)
    weight_decay: float = _setting(0.1, "weight decay of matrices, with adamw and muon", 0, 10)
    max_grad_norm: float = _setting(1.0, "gradient clipping: maximum L2 norm; 0: no clipping", 0, 1e6)
    schedule: str = _setting(
        "linear",
        "learning-rate schedule after warm-up; linear and cosine decay to 0 at the last step",
        choices=("linear", "cosine", "constant"),
    )
    warmup_steps: int = _setting(50, "steps of linear learning-rate warm-up", 0, 10**9)

    dropout_input: float = _setting(0.0, "dropout rate of the embedding; one mask per window", 0, 0.95)
    dropout_hidden: float = _setting(0.1, "dropout rate between recurrent layers; one mask per window", 0, 0.95)
    dropout_output: float = _setting(0.1, "dropout rate before the output layer; one mask per window", 0, 0.95)
    dropconnect: float = _setting(
        0.0, "DropConnect rate of the recurrent weight matrices; one mask per window", 0, 0.95
    )

    steps: int = _setting(0, "length of the training in steps", 0, 10**12)
    epochs: int = _setting(0, "length of the training in epochs (passes over the training text)", 0, 10**9)
    minutes: float = _setting(5.0, "length of the training in minutes; auto chooses it if no length is given", 0, 10**6)

    eval_every: int = _setting(
        0, "steps between evaluations; 0: about 12 per run, or one per epoch if nothing is held out", 0, 10**12
    )
    patience: int = _setting(
        4, "early stopping: evaluations without improvement before an overfitting run ends; 0: off", 0, 10**6
    )
    checkpoint_every: int = _setting(
        0,
        "steps between checkpoints, which are also saved about once a minute; 0: one per epoch, at most 50",
        0,
        10**12,
    )
    keep_checkpoints: int = _setting(3, "number of newest checkpoints to keep; 0: all", 0, 10**6)
    sample_length: int = _setting(
        200, "characters of the sample generated at each evaluation; 0: no sample", 0, 100_000
    )
    seed: int = _setting(0, "random seed of the initial weights, the data order, dropout and samples", 0, MAX_SEED)
    precision: str = _setting(
        "auto",
        "precision of matrix products; auto: bfloat16 if the hardware has fast bfloat16, else float32",
        choices=("auto", "float32", "bfloat16"),
    )
    val_fraction: float = _setting(
        0.1, "fraction of the text held out for validation, which selects the best model", 0, 0.9
    )
    test_fraction: float = _setting(0.0, "fraction of the text held out for testing; training never reads it", 0, 0.9)

    plan_changes: str = _setting(
        "",
        "changes of the number of steps during the training, as STEP:STEPS entries; written by charloom, so that a "
        "recipe repeats a run with a time budget exactly",
    )

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(item.default, float) and type(value) is int:
                value = float(value)  # minutes=3 equals minutes=3.0
                object.__setattr__(self, item.name, value)
            _check(item, value)
        changes = parse_changes(self.plan_changes)
        if changes and changes[-1].steps != self.steps:
            raise SettingsError(
                f"plan_changes {self.plan_changes!r} must end with the number of steps, {self.steps}.",
                code="invalid_setting",
                name="plan_changes",
                value=self.plan_changes,
            )
        if sum(value > 0 for value in (self.steps, self.epochs, self.minutes)) != 1:
            raise SettingsError(
                "Exactly one of steps, epochs and minutes must be greater than 0, got "
                f"steps={self.steps}, epochs={self.epochs}, minutes={self.minutes:g}.",
                code="ambiguous_length",
                steps=self.steps,
                epochs=self.epochs,
                minutes=self.minutes,
            )

    @property
    def in_words(self) -> str:
        """Cell type, layers and units, such as "GRU, 1 x 512"."""
        return self.architecture(1).in_words

    def architecture(self, vocabulary_size: int) -> Architecture:
        """Return the architecture of these settings for a vocabulary of V characters."""
        return Architecture(
            vocabulary_size,
            self.cell,
            self.embedding_size,
            self.hidden_size,
            self.num_layers,
            reset_after=True,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON data; ``plan_changes`` is omitted if it is empty."""
        values = asdict(self)
        if not self.plan_changes:
            del values["plan_changes"]
        return values

    def with_values(self, values: Mapping[str, Any]) -> "Settings":
        """Return a copy with some settings replaced. A new length (``LENGTHS``) replaces the old one.

        Args:
            values: Values by setting name; a string is parsed as on the command line.

        Raises:
            SettingsError: If a name is unknown, or a value is invalid.
        """
        parsed = {name: parse_value(name, value) for name, value in values.items()}
        if any(parsed.get(name) for name in LENGTHS):
            parsed = dict.fromkeys(LENGTHS, 0) | {"plan_changes": ""} | parsed
        return replace(self, **parsed)

    def with_plan_change(self, change: PlanChange) -> "Settings":
        """Return a copy with another number of steps; the change is added to ``plan_changes``."""
        changes = parse_changes(self.plan_changes) or (PlanChange(0, self.steps),)
        return replace(self, steps=change.steps, plan_changes=format_changes([*changes, change]))


def check_lengths(values: Mapping[str, Any]) -> None:
    """Raise ``SettingsError`` if more than one length of training is given, or one is not above 0."""
    lengths = [f"--{key}" for key in LENGTHS if key in values]
    if len(lengths) > 1:
        raise SettingsError(
            f"Pass only one of minutes, epochs and steps, got {' and '.join(lengths).replace('--', '')}.",
            code="conflicting_options",
            options=lengths,
        )
    for key in LENGTHS:
        value = values.get(key)
        if isinstance(value, int | float) and not value > 0:
            raise SettingsError(
                f"{key} must be greater than 0, got {_in_digits(value)}.",
                code="invalid_setting",
                name=key,
                value=_plain(value),
            )


def check_arguments(
    values: Mapping[str, Any],
    settings: Iterable[str],
    others: Iterable[str],
    other_names: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Check the names and types of settings that are passed to a Python function as keyword arguments.

    On the command line and in recipes, values may be strings such as "3"; here a number must be a number.

    Args:
        values: The keyword arguments.
        settings: The settings that the function accepts.
        others: The other keyword arguments of the function, which may be meant by a misspelled name.
        other_names: What else the function's arguments are called, and what is meant: an argument or another function.

    Raises:
        UnknownArgumentError: If a name is not among ``settings``.
        SettingsError: If a value is of another type.
    """
    accepted = [*others, *settings]
    for name, value in values.items():
        if name not in accepted:
            meant = similar_settings(name, [*accepted, *other_names.values()], {**OTHER_NAMES, **other_names})
            raise UnknownArgumentError(
                f"Unknown argument or setting {name!r}.{ask_about(meant)} Accepted: {', '.join(accepted)}.",
                code="unknown_setting",
                name=name,
                suggestions=meant,
            )
        kind = type(next(item.default for item in fields(Settings) if item.name == name))
        is_number = isinstance(value, int if kind is int else (int, float)) and not isinstance(value, bool)
        if not (isinstance(value, str) if kind is str else is_number):
            raise _type_error(name, kind, value)


def similar_settings(name: str, known: Iterable[str], other_names: Mapping[str, str] = OTHER_NAMES) -> list[str]:
    """Return the settings that an unknown name probably means; see ``suggestions``.

    ``plan_changes``, which only charloom writes, is never among them.
    """
    known = [candidate for candidate in known if candidate != "plan_changes"]
    if name == "dropout":
        return [candidate for candidate in known if candidate.startswith("dropout_")]
    return suggestions(name, known, other_names)


def setting_fields() -> Iterator[Field[Any]]:
    """Yield the dataclass field of every setting; ``metadata["help"]`` is its help text."""
    yield from fields(Settings)


def accepted_values(item: Field[Any]) -> str:
    """Return the accepted values of a setting, such as "1 to 100,000", "at least 0" or "gru, lstm"; "" for any."""
    if choices := item.metadata["choices"]:
        return ", ".join(choices)
    minimum, maximum = item.metadata["minimum"], item.metadata["maximum"]
    if minimum is None:
        return ""
    return f"at least {minimum:g}" if maximum == math.inf else f"{minimum:,} to {maximum:,}"


def describe_setting(item: Field[Any]) -> str:
    """Return help text, accepted values and default of a setting on one line."""
    choices = item.metadata["choices"]
    accepted = f" ({'|'.join(choices)})" if choices else ""
    return f"{item.metadata['help']}{accepted} [{item.default}]"


def parse_value(name: str, value: Any) -> Any:
    """Convert a setting's value to its type; strings are parsed as on the command line.

    Raises:
        SettingsError: If the setting is unknown, or the string cannot be parsed.
    """
    known = {item.name: item for item in fields(Settings)}
    if name not in known:
        meant = similar_settings(name, known)
        raise SettingsError(
            f"Unknown setting {name!r}.{ask_about(meant)} Available settings: {', '.join(known)}.",
            code="unknown_setting",
            name=name,
            suggestions=meant,
        )
    kind: Any = type(known[name].default)
    if not isinstance(value, str) or kind is str:
        return value
    try:
        return kind(value)
    except ValueError:
        raise _type_error(name, kind, value) from None


def _check(item: Field[Any], value: Any) -> None:
    assert item.default is not MISSING
    kind = type(item.default)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise _type_error(item.name, kind, value)
    if choices := item.metadata["choices"]:
        if value not in choices:
            raise SettingsError(
                f"{item.name} must be one of {', '.join(choices)}, got {value!r}.",
                code="invalid_setting",
                name=item.name,
                value=value,
                accepted=list(choices),
            )
        return
    minimum, maximum = item.metadata["minimum"], item.metadata["maximum"]
    if minimum is None:  # free text
        return
    if not minimum <= value <= maximum:  # also false for NaN
        limit = f"at least {minimum:g}" if maximum == math.inf else f"from {minimum:g} to {_in_digits(maximum)}"
        raise SettingsError(
            f"{item.name} must be {limit}, got {_in_digits(value)}.",
            code="invalid_setting",
            name=item.name,
            value=_plain(value),
            minimum=minimum,
            maximum=None if maximum == math.inf else maximum,
        )


def _in_digits(value: float) -> str:
    """Return a number without an exponent or ".0" if it is whole, such as "1000000"."""
    return str(int(value)) if math.isfinite(value) and value == int(value) else str(value)


def _type_error(name: str, kind: type, value: Any) -> SettingsError:
    expected = {int: "an integer", float: "a number", str: "a string"}[kind]
    return SettingsError(
        f"{name} must be {expected}, got {value!r}.",
        code="invalid_setting",
        name=name,
        value=_plain(value),
        expected=kind.__name__,
    )


def _plain(value: Any) -> Any:
    """Return a value that JSON can represent: the value itself, or its ``repr`` (for example of NaN)."""
    is_plain = isinstance(value, str | int | NoneType) or (isinstance(value, float) and math.isfinite(value))
    return value if is_plain else repr(value)
