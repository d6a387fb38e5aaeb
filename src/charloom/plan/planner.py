"""Fitting settings to a corpus and a time: arithmetic alone, nothing is measured here."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from charloom.errors import CorpusError, SettingsError
from charloom.plan.settings import Settings

_EVALUATIONS = 12  # in a run whose settings do not say
_FEWEST_EVALUATIONS = 3  # however long one takes
_EVALUATION_SHARE = 0.1  # of the time there is, before there are fewer of them
_CHECKPOINTS = 50  # at most, in a run whose settings do not say
_WINDOWS_PER_STREAM = 4  # fewer would leave a state hardly anything to carry

# Where the alphabet is large, the output layer takes most of a step, and its cost grows with the batch: smaller
# batches then buy many more updates for the same time. Measured in docs/decisions.md.
_LARGE_ALPHABET = 1000
_LARGE_ALPHABET_BATCH = {"batch_size": 16, "seq_length": 16}


@dataclass(frozen=True)
class Plan:
    """What one training will do.

    Attributes:
        settings: Resolved: every "chosen later" has its number.
        steps: Updates in all.
        steps_per_epoch: Updates in one pass over the training text.
        notices: What was changed to fit the corpus, one sentence each, for the user to see.
    """

    settings: Settings
    steps: int
    steps_per_epoch: int
    notices: tuple[str, ...] = ()


def fit_to_corpus(
    settings: Settings, characters: int, alphabet: int, fixed: Collection[str] = ()
) -> tuple[Settings, tuple[str, ...]]:
    """Return settings that suit the training text; used where the user leaves the choice to charloom.

    Args:
        settings: As the recipe has them.
        characters: Of the training text.
        alphabet: How many distinct characters there are.
        fixed: Names of settings that the user chose, which stay.

    Returns:
        The settings, and a sentence about each change.

    Raises:
        CorpusError: If the text is shorter than one window.
    """
    settings, large = _fit_to_alphabet(settings, alphabet, fixed)
    settings, short = _fit_to_length(settings, characters, fixed)
    return settings, (*large, *short)


def _fit_to_alphabet(settings: Settings, alphabet: int, fixed: Collection[str]) -> tuple[Settings, tuple[str, ...]]:
    changes = {name: value for name, value in _LARGE_ALPHABET_BATCH.items() if name not in fixed}
    if alphabet < _LARGE_ALPHABET or not changes:
        return settings, ()
    words = " and ".join(f"{key} {value}" for key, value in changes.items())
    return settings.with_values(changes), (f"The alphabet is large ({alphabet:,} characters): using {words}.",)


def _fit_to_length(settings: Settings, characters: int, fixed: Collection[str]) -> tuple[Settings, tuple[str, ...]]:
    check_length(settings, characters)
    most = max(1, (characters - 1) // (_WINDOWS_PER_STREAM * settings.seq_length))
    if settings.batching != "streams" or settings.batch_size <= most or "batch_size" in fixed:
        return settings, ()
    notice = (
        f"The training text is short ({characters:,} characters): reading it as {most} parallel streams "
        f"instead of {settings.batch_size}."
    )
    return replace(settings, batch_size=most), (notice,)


def steps_per_epoch(settings: Settings, characters: int) -> int:
    """Return the updates in one pass over a training text.

    Args:
        settings: Batching, window and batch size.
        characters: Of the training text.

    Raises:
        CorpusError: If the text is shorter than one window.
        SettingsError: If it is shorter than one batch.
    """
    check_length(settings, characters)
    if settings.batching == "windows":
        windows = characters // (settings.seq_length + 1)
    else:
        windows = (characters - 1) // settings.seq_length
    if windows < settings.batch_size:
        raise SettingsError(
            f"The training text has {windows} windows of seq_length {settings.seq_length}, fewer than batch_size "
            f"{settings.batch_size}. Lower one of them with --set, or give a longer text."
        )
    if settings.batching == "windows":
        return windows // settings.batch_size
    return (characters - 1) // (settings.seq_length * settings.batch_size)


def check_length(settings: Settings, characters: int) -> None:
    """Raise ``CorpusError`` if a training text is shorter than one window and the character after it."""
    if characters <= settings.seq_length:
        raise CorpusError(
            f"The training text has {characters} characters, fewer than one window: seq_length {settings.seq_length} "
            "and the character after it. Give a longer text, or a shorter window with --set seq_length=N."
        )


def make_plan(
    settings: Settings,
    characters: int,
    steps: int,
    notices: tuple[str, ...] = (),
    fixed: Collection[str] = (),
    evaluations: int = _EVALUATIONS,
) -> Plan:
    """Resolve what follows from the number of steps.

    Args:
        settings: Fitted to the corpus.
        characters: Of the training text.
        steps: Updates in all, at least 1.
        notices: What was said so far.
        fixed: Names of settings that the user chose, which stay.
        evaluations: How many there are where the settings do not say.
    """
    epoch = steps_per_epoch(settings, characters)
    held_out = settings.val_fraction > 0
    some_epochs = epoch * -(-steps // (epoch * _CHECKPOINTS))
    warmup_steps = settings.warmup_steps
    if warmup_steps > steps // 10 and "warmup_steps" not in fixed:
        warmup_steps = steps // 10
        notices = (*notices, f"The run is short: the learning rate rises over {warmup_steps} steps.")
    resolved = replace(
        settings,
        warmup_steps=warmup_steps,
        steps=steps,
        epochs=0,
        minutes=0.0,
        eval_every=settings.eval_every or (max(1, -(-steps // evaluations)) if held_out else some_epochs),
        checkpoint_every=settings.checkpoint_every or some_epochs,
    )
    return Plan(resolved, steps, epoch, notices)


def evaluations_in_time(seconds: float, evaluation_seconds: float) -> int:
    """Return how many evaluations a time is worth: a dozen, or fewer where they would take a tenth of it."""
    affordable = int(_EVALUATION_SHARE * seconds / evaluation_seconds) if evaluation_seconds > 0 else _EVALUATIONS
    return max(_FEWEST_EVALUATIONS, min(_EVALUATIONS, affordable))


def steps_in_time(seconds: float, step_seconds: float, evaluation_seconds: float, eval_every: int = 0) -> int:
    """Return how many steps fit into a time, with the evaluations between them.

    Args:
        seconds: The time there is.
        step_seconds: What one step takes.
        evaluation_seconds: What one evaluation takes, its sample included.
        eval_every: Steps between evaluations, where the settings say.

    Returns:
        At least 1: a training that was asked for does something.
    """
    if eval_every:
        return max(1, int(seconds / (step_seconds + evaluation_seconds / eval_every)))
    evaluations = evaluations_in_time(seconds, evaluation_seconds)
    return max(1, int((seconds - evaluations * evaluation_seconds) / step_seconds))
