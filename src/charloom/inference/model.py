"""The ``Model`` class: load, generate, stream, score and save."""

import html
import reprlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from inspect import cleandoc
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from charloom._util.progress import ProgressCallback
from charloom.data.text_format import LABEL_MARK, TextRules
from charloom.data.vocabulary.characters import Vocabulary
from charloom.errors import InputError, SettingsError
from charloom.inference.activations import Activations, TopPredictions, activations, top_predictions
from charloom.inference.engines.base import Engine
from charloom.inference.engines.factory import make_engine
from charloom.inference.engines.records import RecordEngine
from charloom.inference.generation import (
    Completion,
    Piece,
    Request,
    WritingOptions,
    choose_label,
    generate,
    impossible_stops,
    make_request,
    missing_label,
)
from charloom.inference.generation_options import (
    DEFAULT_LENGTH,
    DEFAULT_TEMPERATURE,
    check_text,
    invalid_choice,
    json_value,
)
from charloom.inference.sampling import sample_seeds
from charloom.inference.scoring import Score, score, score_many, surprisal_blocks
from charloom.model.architecture import Architecture
from charloom.model.file.model_file import SavedModel, load_model, save_model
from charloom.model.file.run_folder import check_new_file, find_model

_OTHER_FORMATS = (".onnx", ".html", ".keras", ".h5", ".pt", ".json")

_F = TypeVar("_F", bound=Callable[..., Any])


def _with_options(method: _F) -> _F:
    """Replace the reference to ``WritingOptions`` in a docstring by the list of its options, for ``help()``."""
    if method.__doc__ and WritingOptions.__doc__:  # python -OO removes docstrings
        options = cleandoc(WritingOptions.__doc__).partition("Attributes:\n")[2]
        method.__doc__ = cleandoc(method.__doc__).replace("    **options: See ``WritingOptions``.", options)
    return method


class Model:
    """A trained model that generates and scores text.

    ``precision="auto"`` means int8 for generation (several times as fast, and the same text on every machine) and
    float32 for scoring.

    Args:
        saved: Architecture, vocabulary, weights and provenance.
        threads: Maximum number of threads of the native engine; None for the number of cores.
    """

    def __init__(self, saved: SavedModel, threads: int | None = None) -> None:
        self.saved = saved
        self._threads = threads
        self._engines: dict[str, Engine] = {}

    @classmethod
    def load(cls, source: str | PathLike[str]) -> "Model":
        """Load a model file or a model of a run folder (``RUN``, ``RUN@last``, ``RUN@STEP``).

        Raises:
            ModelFileError: If the model does not exist or is damaged.
            RunError: If the run folder does not contain the model.
            SettingsError: If ``source`` is not a path.
        """
        if not isinstance(source, (str, PathLike)):
            raise SettingsError(
                f"load takes the path of a model file or run folder, got {reprlib.repr(source)}.",
                code="invalid_setting",
                name="source",
                value=json_value(source),
            )
        return cls(load_model(find_model(str(source))))

    def __repr__(self) -> str:
        a = self.architecture
        return f"Model({a.in_words}, {len(self.vocabulary)} characters)"

    def _repr_html_(self) -> str:
        """Return an HTML table of the architecture and provenance for notebooks."""
        shown = {**self.architecture.to_dict(), "parameters": self.architecture.num_parameters}
        known = ("corpus", "recipe", "step", "train_loss", "val_loss")
        shown |= {key: self.facts[key] for key in known if self.facts.get(key) is not None}
        rows = (
            f"<tr><th>{html.escape(key)}</th><td>{html.escape(str(value))}</td></tr>" for key, value in shown.items()
        )
        return f"<table>{''.join(rows)}</table>"

    @property
    def architecture(self) -> Architecture:
        """The architecture of the model."""
        return self.saved.architecture

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary of the model."""
        return self.saved.vocabulary

    @property
    def rules(self) -> TextRules:
        """How the model expects its texts: newlines, normal form, lines or records, and labels."""
        return self.saved.rules

    @property
    def facts(self) -> Mapping[str, Any]:
        """Provenance: corpus, recipe, step, losses."""
        return self.saved.facts

    def engine(self, precision: str = "float32") -> Engine:
        """Return the engine that runs the model; create it on first use.

        Args:
            precision: "float32", or "int8": several times as fast, and the same text on every machine.

        Raises:
            SettingsError: If ``precision`` is neither.
        """
        if precision not in ("float32", "int8"):
            raise invalid_choice("precision", precision, ("float32", "int8"))
        if precision not in self._engines:
            engine: Engine = make_engine(self.saved, precision, self._threads)
            if self.rules.mark is not None:
                engine = RecordEngine(engine, int(self.vocabulary.encode(self.rules.mark)[0]))
            self._engines[precision] = engine
        return self._engines[precision]

    @property
    def reading_errors(self) -> str:
        """Error handler for decoding files for this model: "surrogateescape" for a byte model, else "strict"."""
        return "surrogateescape" if self.vocabulary.unit == "byte" else "strict"

    @overload
    def generate(
        self,
        prompt: str = "",
        length: int = DEFAULT_LENGTH,
        temperature: float = DEFAULT_TEMPERATURE,
        seed: int | None = None,
        **options: Unpack[WritingOptions],
    ) -> str: ...

    @overload
    def generate(
        self,
        prompt: list[str] | tuple[str, ...],
        length: int = DEFAULT_LENGTH,
        temperature: float = DEFAULT_TEMPERATURE,
        seed: int | None = None,
        **options: Unpack[WritingOptions],
    ) -> list[str]: ...

    @_with_options
    def generate(
        self,
        prompt: str | list[str] | tuple[str, ...] = "",
        length: int = DEFAULT_LENGTH,
        temperature: float = DEFAULT_TEMPERATURE,
        seed: int | None = None,
        **options: Unpack[WritingOptions],
    ) -> str | list[str]:
        """Generate text and return it, including the prompt; for a list of prompts, return a list of texts.

        The texts of a list are generated in one batch, which is faster than one after another. With ``seeds =
        sample_seeds(seed, len(prompts))`` (see ``charloom.inference.sampling``), text ``i`` equals
        ``generate(prompts[i], seed=seeds[i])``; ``seeds[0]`` is ``seed``.

        Args:
            prompt: Beginning of the text, or a list of beginnings. Default: "".
            length: Maximum number of characters to generate after the prompt, 0 or more. Default: 1000.
            temperature: Sampling temperature, in [0, 100]. 1 samples from the model's distribution; 0 always takes the
                most probable character. Default: 0.8.
            seed: Seed, in [0, 2**53 - 1]; the same seed gives the same text. None chooses a random seed. Default: None.
            **options: See ``WritingOptions``.

        Raises:
            UnknownCharacterError: If a prompt contains a character that is not in the vocabulary.
            UnknownArgumentError: If an option is unknown.
            SettingsError: If an option is out of range, or an argument has the wrong type.

        Warns:
            UserWarning: If a stop sequence can never occur.
        """
        request, precision = self._request(prompt, length, temperature, seed, options)
        texts = [""] * len(request.prompt_of_each)
        for piece in self.pieces(request, precision) if texts else ():
            texts[piece.sample] += piece.text
        return texts[0] if isinstance(prompt, str) else texts

    @overload
    def complete(
        self,
        prompt: str = "",
        length: int = DEFAULT_LENGTH,
        temperature: float = DEFAULT_TEMPERATURE,
        seed: int | None = None,
        **options: Unpack[WritingOptions],
    ) -> Completion: ...

    @overload
    def complete(
        self,
        prompt: list[str] | tuple[str, ...],
        length: int = DEFAULT_LENGTH,
        temperature: float = DEFAULT_TEMPERATURE,
        seed: int | None = None,
        **options: Unpack[WritingOptions],
    ) -> list[Completion]: ...

    @_with_options
    def complete(
        self,
        prompt: str | list[str] | tuple[str, ...] = "",
        length: int = DEFAULT_LENGTH,
        temperature: float = DEFAULT_TEMPERATURE,
        seed: int | None = None,
        **options: Unpack[WritingOptions],
    ) -> Completion | list[Completion]:
        """Generate text as ``generate`` does, and return it without the prompt, but with details.

        Returns:
            The text, why it ends, its seed and the log-probability of each character; for a list of prompts, a list.

        Args:
            prompt: Beginning of the text, or a list of beginnings. Default: "".
            length: Maximum number of characters to generate after the prompt, 0 or more. Default: 1000.
            temperature: Sampling temperature, in [0, 100]. Default: 0.8.
            seed: Seed, in [0, 2**53 - 1]; None chooses a random seed. Default: None.
            **options: See ``WritingOptions``.

        Raises:
            UnknownCharacterError: If a prompt contains a character that is not in the vocabulary.
            UnknownArgumentError: If an option is unknown.
            SettingsError: If an option is out of range, or an argument has the wrong type.

        Warns:
            UserWarning: If a stop sequence can never occur.
        """
        request, precision = self._request(prompt, length, temperature, seed, options, log_probs=True)
        pieces: list[list[Piece]] = [[] for _ in request.prompt_of_each]
        if not pieces:
            return []
        for piece in self.pieces(request, precision):
            pieces[piece.sample].append(piece)
        seeds = sample_seeds(request.seed, len(pieces))
        completions = [_completion(parts, seed) for parts, seed in zip(pieces, seeds, strict=True)]
        return completions[0] if isinstance(prompt, str) else completions

    def stream(
        self,
        prompt: str = "",
        length: int = DEFAULT_LENGTH,
        temperature: float = DEFAULT_TEMPERATURE,
        seed: int | None = None,
        **options: Unpack[WritingOptions],
    ) -> Iterator[str]:
        """Generate one text and yield it in pieces; the arguments are those of ``generate``."""
        check_text("prompt", prompt)
        request, precision = self._request(prompt, length, temperature, seed, options)
        return (piece.text for piece in self.pieces(request, precision))

    def _request(
        self,
        prompt: str | list[str] | tuple[str, ...],
        length: int,
        temperature: float,
        seed: int | None,
        options: Mapping[str, Any],
        **fields: Any,
    ) -> tuple[Request, str]:
        """Return the request and the precision; warn the caller of the calling method about impossible stops."""
        if not isinstance(prompt, (str, list, tuple)):
            raise SettingsError(
                f"prompt must be a string or a list of strings, got {reprlib.repr(prompt)}.",
                code="invalid_setting",
                name="prompt",
                value=json_value(prompt),
            )
        if not isinstance(prompt, str):
            fields["prompts"] = tuple(check_text(f"prompt[{i}]", text) for i, text in enumerate(prompt))
            prompt = ""
        request, precision = make_request(prompt, length, temperature, seed, options, **fields)
        for notice in impossible_stops(request.ending, self.vocabulary, self.rules):
            warnings.warn(notice, stacklevel=3)
        return request, precision

    def pieces(self, request: Request, precision: str = "auto") -> Iterator[Piece]:
        """Generate the samples of a request and yield their pieces.

        Args:
            request: The request; see ``charloom.inference.generation``.
            precision: "auto" (int8), "int8" or "float32".
        """
        return generate(self.engine_for(precision), self.vocabulary, request, self.rules)

    def generate_records(self, length: int, temperature: float = DEFAULT_TEMPERATURE, seed: int = 0) -> str:
        """Generate a text in the form of the training text's index, for comparison with the training text.

        For a model of records it contains many records with their marks; for other models it is the result of
        ``generate``.

        Args:
            length: Number of characters to generate.
            temperature: Sampling temperature, in [0, 100].
            seed: Seed; the same seed gives the same text.
        """
        request, precision = make_request("", length, temperature, seed, {}, across_records=True)
        return "".join(piece.text for piece in self.pieces(request, precision))

    def engine_for(self, precision: str) -> Engine:
        """Return the engine for generation with a precision; "auto" is int8."""
        return self.engine("int8" if precision == "auto" else precision)

    def score(
        self,
        text: str,
        progress: ProgressCallback | None = None,
        precision: str = "auto",
        label: str | None = None,
    ) -> Score:
        """Compute the surprisal of every character of a text except the first, given all preceding characters.

        A line model scores every character of every line, including the line feed that ends the line. To do so, a line
        feed is added before the text, and after it if the text does not end with one. A model of records scores every
        character of a record, its label and its end in the same way.

        Args:
            text: The text; at least two characters.
            progress: Called with the number of scored characters and the total.
            precision: "auto" (float32), "float32", or "int8", which is faster.
            label: Label of the text, for a model of labeled records.

        Raises:
            CorpusError: If the text has fewer than 2 characters.
            SettingsError: If the label is unknown, or missing for a model of labeled records.
            UnknownCharacterError: If the text contains a character that is not in the vocabulary.
        """
        if isinstance(text, (list, tuple)):
            raise SettingsError(
                "score takes one text, got a list. Use score_many(texts).",
                code="invalid_setting",
                name="text",
                value=reprlib.repr(text),
            )
        if label is not None:
            text = f"{choose_label(self.rules, label, 0)}{LABEL_MARK}{check_text('text', text)}"
        return score(self._scoring_engine(precision), self.vocabulary, self.as_scored(text), progress)

    def score_many(
        self, texts: Sequence[str], progress: ProgressCallback | None = None, precision: str = "auto"
    ) -> list[Score]:
        """Score many texts in batches, which is faster than calling ``score`` for each; the results are equal.

        Args:
            texts: The texts, in any order; one of fewer than two characters has a total loss of 0.
            progress: Called with the number of scored texts and the total.
            precision: See ``score``.

        Raises:
            UnknownCharacterError: If a text contains a character that is not in the vocabulary.
        """
        if isinstance(texts, str) or not isinstance(texts, Iterable):
            raise SettingsError(
                f"score_many takes a list of texts, got {reprlib.repr(texts)}. For one text, use score(text).",
                code="invalid_setting",
                name="texts",
                value=reprlib.repr(texts),
            )
        scored = [self.as_scored(text) for text in texts]
        return score_many(self._scoring_engine(precision), self.vocabulary, scored, progress)

    def surprisal_blocks(
        self, pieces: Iterable[str], precision: str = "auto"
    ) -> Iterator[tuple[str, NDArray[np.float64]]]:
        """Score a text of any size in constant memory: yield blocks of characters with their surprisals in bits.

        The first character of the text is not scored and not yielded.

        Args:
            pieces: Pieces of the text in order.
            precision: See ``score``.

        Raises:
            CorpusError: If the text has fewer than 2 characters.
            UnknownCharacterError: If the text contains a character that is not in the vocabulary.
        """
        pieces = pieces if self.rules.mark is None else with_marks(pieces, self.rules.mark)
        return surprisal_blocks(self._scoring_engine(precision), self.vocabulary, pieces)

    def top_guesses(self, text: str, k: int = 5) -> TopPredictions:
        """Return the top-k predictions after each character of a text, with their probabilities.

        Args:
            text: The text; at least one character.
            k: Number of predictions per character, from 1 to the size of the vocabulary.

        Raises:
            CorpusError: If the text is empty.
            SettingsError: If k is out of range.
            UnknownCharacterError: If the text contains a character that is not in the vocabulary.
        """
        return top_predictions(self.engine(), self.vocabulary, check_text("text", text), k)

    def activations(self, text: str) -> Activations:
        """Return all hidden states and gates over a text: arrays (T, L, H) and (T, L, G, H).

        Raises:
            CorpusError: If the text is empty.
            UnknownCharacterError: If the text contains a character that is not in the vocabulary.
        """
        return activations(self.engine(), self.vocabulary, check_text("text", text))

    def as_scored(self, text: str) -> str:
        """Return the text that ``score`` scores, with the newlines and the normal form of the training text.

        A model of lines needs a line feed before the text and at its end, a model of records the record mark.
        """
        text = self.rules.prepare(check_text("text", text))
        if self.rules.labels and LABEL_MARK not in text:
            raise missing_label(self.rules)
        return text if self.rules.mark is None else "".join(with_marks([text], self.rules.mark))

    def _scoring_engine(self, precision: str) -> Engine:
        return self.engine("float32" if precision == "auto" else precision)

    def save(self, path: str | PathLike[str], stored_as: str = "float32") -> None:
        """Save the model to a file.

        Args:
            path: Path of the file.
            stored_as: Number format of the weights: "float32"; "float16", half the size; or "int8", a quarter of the
                size, with the weights that int8 generation uses.

        Raises:
            SettingsError: If an argument is invalid.
            InputError: If the name of the file ends as that of another format, or its folder does not exist.
        """
        if not isinstance(path, (str, PathLike)):
            raise SettingsError(
                f"path must be the path of a file, got {reprlib.repr(path)}.",
                code="invalid_setting",
                name="path",
                value=json_value(path),
            )
        target = Path(path)
        if target.suffix.lower() in _OTHER_FORMATS:
            raise InputError(
                f"save writes a safetensors file, not a {target.suffix} file: {target}. Choose a name that ends in "
                ".safetensors, or save the model under such a name and run charloom export, which writes keras, onnx "
                f"and html: charloom export {target.with_suffix('.safetensors')} --to FORMAT -o NAME.",
                code="other_format",
                path=str(target),
                suffix=target.suffix,
            )
        check_new_file(target, force=True)
        save_model(target, replace(self.saved, stored_as=stored_as))


def _completion(pieces: Sequence[Piece], seed: int) -> Completion:
    """Join the pieces of a sample, of which the first is the prompt."""
    generated = pieces[1:]
    return Completion(
        text="".join(piece.text for piece in generated),
        finish_reason=pieces[-1].finish_reason or "length",
        seed=seed,
        log_probs=tuple(log_prob for piece in generated for log_prob in piece.log_probs or ()),
    )


def with_marks(pieces: Iterable[str], mark: str) -> Iterator[str]:
    """Yield a text with a mark (see ``TextRules.mark``) before it and, if missing, one at its end."""
    yield mark
    last = ""
    for piece in pieces:
        last = piece[-1:] or last
        yield piece
    if last != mark:
        yield mark


def load(source: str | PathLike[str]) -> Model:
    """Load a trained model.

    Args:
        source: A model file, a run folder (its best model), or a run folder followed by "@last" or "@STEP".

    Raises:
        InputError: If the model does not exist or is damaged.
    """
    return Model.load(source)
