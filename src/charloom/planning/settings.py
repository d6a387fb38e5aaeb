"""All settings of a training, with range, default and help text."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, replace
from types import NoneType
from typing import Any

from charloom._util.suggest import did_you_mean, suggestions
from charloom.errors import UNSPECIFIED, Notice, SettingsError
from charloom.inference.generation_options import MAX_SEED
from charloom.model.architecture import GATES, LIMITS, Architecture

MAX_STREAMS = 100_000
"""Texts that are read in parallel at most: the largest ``batch_size``."""


def _setting(
    default: Any,
    help: str,
    minimum: float | None = None,
    maximum: float = math.inf,
    choices: tuple[str, ...] = (),
) -> Any:
    """Declare a setting: its default, what it means, and what it accepts."""
    return field(default=default, metadata={"help": help, "minimum": minimum, "maximum": maximum, "choices": choices})


LENGTHS = ("minutes", "epochs", "steps")
"""The settings of which exactly one says how long to train."""


class Notices:
    """Collects notices about a training before it starts, in order.

    Every stage that adapts the settings to a text or a machine adds to the same collection.

    Args:
        messages: The first notices.
    """

    def __init__(self, messages: Iterable[str] = ()) -> None:
        self._messages = list(messages)

    def add(self, message: str, *, code: str = UNSPECIFIED, **data: Any) -> None:
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
    """A complete set of choices for one training.

    Steps are updates of the weights; sizes are counts; 0 switches off what can be switched off. Exactly one
    of ``steps``, ``epochs`` and ``minutes`` is above 0.

    Raises:
        SettingsError: If a value has the wrong type or is out of range.
    """

    cell: str = _setting("gru", "the recurrent cell", choices=tuple(GATES))
    num_layers: int = _setting(1, "recurrent layers, one above the other", *LIMITS["num_layers"])
    hidden_size: int = _setting(384, "width of each recurrent layer", *LIMITS["hidden_size"])
    embedding_size: int = _setting(128, "numbers that stand for a character at the input", *LIMITS["embedding_size"])

    batching: str = _setting(
        "streams",
        "streams: the text is read in parallel from batch_size places, and the state goes on from window to "
        "window; windows: it is cut into windows, which are shuffled; lines (what --lines asks for): batch_size lines "
        "at a time, the state anew for each",
        choices=("streams", "windows", "lines"),
    )
    seq_length: int = _setting(32, "characters in a window, through which gradients flow back", 1, 100_000)
    batch_size: int = _setting(32, "windows in a batch", 1, MAX_STREAMS)
    shuffle_buffer: int = _setting(10_000, "windows only: how many wait, one of them drawn at random", 1, 10**9)
    shuffle: str = _setting(
        "epoch", "windows only: when they are shuffled, for every epoch or once", choices=("epoch", "once")
    )
    reset_state: str = _setting(
        "epoch", "when the carried state goes back to zero", choices=("never", "epoch", "window")
    )

    optimizer: str = _setting(
        "muon",
        "adam; adamw: with decoupled weight decay; muon: adamw, but the square matrices of recurrent layers move by "
        "orthogonal steps",
        choices=("muon", "adamw", "adam"),
    )
    learning_rate: float = _setting(6e-3, "step size of the optimizer, at its highest", 1e-9, 10)
    adam_beta1: float = _setting(0.9, "decay of the mean of the gradients", 0, 0.999_999)
    adam_beta2: float = _setting(0.99, "decay of the mean of their squares", 0, 0.999_999)
    adam_epsilon: float = _setting(1e-8, "added to the root of that mean", 1e-16, 1)
    muon_ratio: float = _setting(3.3, "muon only: length of an orthogonal step, times the learning rate", 1e-6, 1e6)
    muon_momentum: float = _setting(0.95, "muon only: decay of the mean of the gradients", 0, 0.999_999)
    muon_every: int = _setting(4, "muon only: updates that use one orthogonal step before it is made anew", 1, 10**6)
    weight_decay: float = _setting(0.1, "not with adam: how strongly weight matrices shrink", 0, 10)
    max_grad_norm: float = _setting(1.0, "longer gradients are shortened to this L2 norm; 0: never", 0, 1e6)
    schedule: str = _setting(
        "linear",
        "after the warm-up: linear and cosine fall to 0 at the last step; constant stays",
        choices=("linear", "cosine", "constant"),
    )
    warmup_steps: int = _setting(50, "steps over which the learning rate rises from 0", 0, 10**9)

    dropout_input: float = _setting(0.0, "share of the embedding's numbers dropped, the same through a window", 0, 0.95)
    dropout_hidden: float = _setting(0.1, "the same between recurrent layers", 0, 0.95)
    dropout_output: float = _setting(0.1, "the same before the output layer", 0, 0.95)
    dropconnect: float = _setting(0.0, "share of the weights from state to gates dropped, for a window each", 0, 0.95)

    steps: int = _setting(0, "how long to train, in steps", 0, 10**12)
    epochs: int = _setting(0, "how long to train, in passes over the training text", 0, 10**9)
    minutes: float = _setting(
        5.0, "how long to train, in minutes of this machine; auto plans it where no length is given", 0, 10**6
    )

    eval_every: int = _setting(0, "steps between evaluations; 0: about a dozen in a run, or one an epoch", 0, 10**12)
    patience: int = _setting(
        4, "evaluations without a better one before a training that over-fits ends by itself; 0: never", 0, 10**6
    )
    checkpoint_every: int = _setting(
        0, "steps between checkpoints; 0: one an epoch, at most fifty; besides these one a minute", 0, 10**12
    )
    keep_checkpoints: int = _setting(3, "newest checkpoints that stay; 0: all", 0, 10**6)
    sample_length: int = _setting(200, "characters of the sample shown at each evaluation; 0: none", 0, 100_000)
    seed: int = _setting(0, "decides the first weights, the order of windows and what is dropped", 0, MAX_SEED)
    precision: str = _setting(
        "auto",
        "of the matrix products; auto: bfloat16 where the processor has it",
        choices=("auto", "float32", "bfloat16"),
    )
    val_fraction: float = _setting(0.1, "share of the text held out to choose the best model by", 0, 0.9)
    test_fraction: float = _setting(0.0, "share held out and never looked at", 0, 0.9)

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(item.default, float) and type(value) is int:
                value = float(value)  # so that minutes=3 is the same as minutes=3.0
                object.__setattr__(self, item.name, value)
            _check(item, value)
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
        """Cell, layers and units, such as "GRU, 1 x 512"."""
        return self.architecture(1).in_words

    def architecture(self, vocabulary_size: int) -> Architecture:
        """Return the architecture these settings make for an alphabet of V characters."""
        return Architecture(
            vocabulary_size,
            self.cell,
            self.embedding_size,
            self.hidden_size,
            self.num_layers,
            reset_after=True,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain data."""
        return asdict(self)

    def with_values(self, values: Mapping[str, Any]) -> "Settings":
        """Return these settings with some replaced; naming a length of training replaces the other lengths.

        Args:
            values: Setting names to values, or to text as typed on a command line.

        Raises:
            SettingsError: If a name is unknown (the message names the nearest), or a value out of range.
        """
        parsed = {name: parse_value(name, value) for name, value in values.items()}
        if any(parsed.get(name) for name in LENGTHS):
            parsed = dict.fromkeys(LENGTHS, 0) | parsed
        return replace(self, **parsed)


def check_lengths(values: Mapping[str, Any]) -> None:
    """Raise ``SettingsError`` if a length of training is not above 0, or there is more than one."""
    lengths = [f"--{key}" for key in LENGTHS if key in values]
    if len(lengths) > 1:
        raise SettingsError(
            f"Pass only one of --minutes, --epochs and --steps, got {' and '.join(lengths)}.",
            code="conflicting_options",
            options=lengths,
        )
    for key in LENGTHS:
        value = values.get(key)
        if isinstance(value, int | float) and not value > 0:
            raise SettingsError(
                f"--{key} must be greater than 0, got {value}.", code="invalid_setting", name=key, value=_plain(value)
            )


def setting_fields() -> Iterator[Field[Any]]:
    """Yield the declaration of every setting; its ``metadata["help"]`` says what it means."""
    yield from fields(Settings)


def describe_setting(item: Field[Any]) -> str:
    """Return the meaning, the accepted values and the default of a setting in one line."""
    choices = item.metadata["choices"]
    accepted = f" ({'|'.join(choices)})" if choices else ""
    return f"{item.metadata['help']}{accepted} [{item.default}]"


def parse_value(name: str, value: Any) -> Any:
    """Return a setting's value with its type; text is read as it is typed on a command line.

    Raises:
        SettingsError: If there is no such setting, or the text is no value of its type.
    """
    known = {item.name: item for item in fields(Settings)}
    if name not in known:
        raise SettingsError(
            f"Unknown setting {name!r}.{did_you_mean(name, known)} Available settings: {', '.join(known)}.",
            code="unknown_setting",
            name=name,
            suggestions=suggestions(name, known),
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
    if not minimum <= value <= maximum:  # NaN fails this too
        limit = f"at least {minimum:g}" if maximum == math.inf else f"from {minimum:g} to {maximum:g}"
        raise SettingsError(
            f"{item.name} must be {limit}, got {value}.",
            code="invalid_setting",
            name=item.name,
            value=_plain(value),
            minimum=minimum,
            maximum=None if maximum == math.inf else maximum,
        )


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
    """Return a value as JSON represents it; anything else, such as NaN, as its ``repr``."""
    is_plain = isinstance(value, str | int | NoneType) or (isinstance(value, float) and math.isfinite(value))
    return value if is_plain else repr(value)
