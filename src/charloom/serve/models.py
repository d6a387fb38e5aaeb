"""The models of a server, each with its scheduler."""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charloom.data.text_format import LABEL_MARK, RECORD_MARK
from charloom.data.vocabulary.unknown import check_known
from charloom.errors import SettingsError, UnknownCharacterError
from charloom.inference.generation import choose_label, record_start, start_character
from charloom.inference.model import Model
from charloom.serve.errors import ApiError, to_api_error, unknown_name_message
from charloom.serve.scheduler import Scheduler
from charloom.serve.security.limits import Limits

_MARK_NAMES = {RECORD_MARK: "(end)", LABEL_MARK: "(label)"}


@dataclass(frozen=True)
class ServedModel:
    """A model that the server has loaded.

    Attributes:
        name: Model name in requests.
        model: The model.
        scheduler: Scheduler that generates and scores with the model.
        fingerprint: Hash of everything that determines the output: sizes, vocabulary, weights, precision.
        created: Time of loading, in seconds since the epoch.
    """

    name: str
    model: Model
    scheduler: Scheduler
    fingerprint: str
    created: int

    def prepare(self, text: str, param: str) -> str:
        """Return a text with the newlines and the normal form of the training text.

        Args:
            text: The text.
            param: Name of the request field, for the error.

        Raises:
            ApiError: If the text contains a mark of records, except for one at its start, which is removed.
        """
        rules = self.model.rules
        if rules.records is None:
            return rules.prepare(text)
        text = rules.prepare(text.removeprefix(RECORD_MARK))
        mark = next((mark for mark in (RECORD_MARK, LABEL_MARK) if mark in text), None)
        if mark is not None:
            message = f"{param} contains U+{ord(mark):04X}, which marks records. Send one record per text."
            raise ApiError(400, message, param=param, code="unknown_character")
        return text

    def ids(self, text: str, param: str, advice: str = "") -> NDArray[np.integer]:
        """Encode a prepared text, without the hidden start of a record.

        Args:
            text: The result of ``prepare``.
            param: Name of the request field, for the error.
            advice: See ``UnknownCharacters.error``.

        Raises:
            ApiError: If a character is not in the vocabulary.
        """
        try:
            check_known(self.model.vocabulary, text, param, advice)
            return self.model.vocabulary.encode(text) if text else np.empty(0, self.model.vocabulary.ids_dtype)
        except UnknownCharacterError as error:
            raise to_api_error(error, param) from None

    def count(self, text: str) -> int:
        """Return the number of ids of a text."""
        sizes = self.model.vocabulary.sizes(text)
        return len(text) if sizes is None else int(sizes.sum())

    def start_ids(self, label: str | None, is_empty: bool) -> NDArray[np.integer]:
        """Return the ids that the model reads before a text: the start of a record, with its label.

        Args:
            label: Label of the record; see ``choose_label``.
            is_empty: Whether the text is empty; other models then read the id that starts a text.
        """
        start = record_start(self.model.rules, label)
        if not start and not is_empty:
            return np.empty(0, self.model.vocabulary.ids_dtype)
        return self.model.vocabulary.encode(start or start_character(self.model.vocabulary))

    def label(self, label: str | None, seed: int) -> str | None:
        """Return the requested label, or one drawn by its frequency; None for a model without labels.

        Raises:
            ApiError: If the label is unknown.
        """
        try:
            return choose_label(self.model.rules, label, seed)
        except SettingsError as error:
            raise to_api_error(error, "label") from None

    def names(self) -> list[str]:
        """Return a display name for each id; the marks of records are shown as words."""
        names = self.model.vocabulary.names()
        return [_MARK_NAMES.get(name, name) for name in names] if self.model.rules.records is not None else names

    def check_ids(self, ids: list[int], param: str) -> NDArray[np.integer]:
        """Validate ids, and return them as an array.

        Args:
            ids: The ids.
            param: Name of the request field, for the error.

        Raises:
            ApiError: If an id is not in the vocabulary.
        """
        count = len(self.model.vocabulary)
        invalid = next((id_ for id_ in ids if not 0 <= id_ < count), None)
        if invalid is not None:
            message = f"Invalid {param}: ids of {self.name} must be from 0 to {count - 1}, got {invalid!r:.40}."
            raise ApiError(400, message, param=param, code="unknown_id")
        return np.array(ids, self.model.vocabulary.ids_dtype)

    def entry(self) -> dict[str, Any]:
        """Return the entry of the model in ``/v1/models``."""
        return {
            "id": self.name,
            "object": "model",
            "created": self.created,
            "owned_by": "charloom",
            "charloom": self.model.saved.described(),
        }


class ModelRegistry:
    """All models of a server, in order. The first one is the default.

    Args:
        models: Models by name, at least one.
        precision: Precision of generation.
        limits: Limits of the schedulers.
    """

    def __init__(self, models: Mapping[str, Model], precision: str, limits: Limits) -> None:
        self._served = {name: _serve_model(name, model, precision, limits) for name, model in models.items()}
        self._closed = False

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._served.values())

    def find(self, name: str | None) -> ServedModel:
        """Return a model by name; the default model for None.

        Raises:
            ApiError: If there is no model with this name.
        """
        if name is None:
            return next(iter(self))
        if name not in self._served:
            raise ApiError(
                404, unknown_name_message("model", name, self._served), param="model", code="model_not_found"
            )
        return self._served[name]

    def start(self) -> None:
        """Start the schedulers, and bind them to the running event loop."""
        for served in self:
            served.scheduler.start()

    def close(self) -> None:
        """Stop the schedulers, and fail all requests that are in progress."""
        if not self._closed:
            self._closed = True
            for served in self:
                served.scheduler.close()


def _serve_model(name: str, model: Model, precision: str, limits: Limits) -> ServedModel:
    scheduler = Scheduler(
        model,
        precision=precision,
        max_sequences=limits.max_active_texts,
        max_waiting=limits.max_waiting_texts,
        max_unread=limits.max_unread_characters,
    )
    return ServedModel(name, model, scheduler, _fingerprint(model, precision), int(time.time()))


def _fingerprint(model: Model, precision: str) -> str:
    context = json.dumps([model.architecture.to_dict(), precision]).encode()
    return f"fp_{model.saved.content_digest(context)[:12]}"
