"""The models of a server, each with its scheduler."""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charloom.errors import UnknownCharacterError
from charloom.inference.generation import prompt_ids
from charloom.inference.model import Model
from charloom.serve.errors import ApiError, to_api_error, unknown_name_message
from charloom.serve.scheduler import Scheduler
from charloom.serve.security.limits import Limits


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

    def ids(self, text: str, param: str) -> NDArray[np.integer]:
        """Encode a text. An empty text becomes the id that starts a text.

        Args:
            text: The text.
            param: Name of the request field, for the error.

        Raises:
            ApiError: If a character is not in the vocabulary.
        """
        try:
            return prompt_ids(self.model.vocabulary, text)
        except UnknownCharacterError as error:
            raise to_api_error(error, param) from None

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
