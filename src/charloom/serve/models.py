"""The models that a server has loaded, each with its scheduler."""

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
    """A model that is served.

    Attributes:
        name: The name that requests use.
        model: The model.
        scheduler: Generates and scores with it.
        fingerprint: Identifies what determines its output: sizes, vocabulary, weights, precision.
        created: Time of loading, in seconds since 1970.
    """

    name: str
    model: Model
    scheduler: Scheduler
    fingerprint: str
    created: int

    def ids(self, text: str, param: str) -> NDArray[np.integer]:
        """Encode a text; an empty one becomes the id that starts a text.

        Raises:
            ApiError: If the vocabulary lacks a character.
        """
        try:
            return prompt_ids(self.model.vocabulary, text)
        except UnknownCharacterError as error:
            raise to_api_error(error, param) from None

    def check_ids(self, ids: list[int], param: str) -> NDArray[np.integer]:
        """Check ids, and return them as an array.

        Raises:
            ApiError: If one is not an id of this model.
        """
        count = len(self.model.vocabulary)
        wrong = next((one for one in ids if not 0 <= one < count), None)
        if wrong is not None:
            message = f"{param}: ids of {self.name} are from 0 to {count - 1}; got {wrong!r:.40}."
            raise ApiError(400, message, param=param, code="unknown_id")
        return np.array(ids, self.model.vocabulary.ids_dtype)

    def entry(self) -> dict[str, Any]:
        """Return the model as ``/v1/models`` lists it."""
        return {
            "id": self.name,
            "object": "model",
            "created": self.created,
            "owned_by": "charloom",
            "charloom": self.model.saved.described(),
        }


class ModelRegistry:
    """The served models, in the given order.

    Args:
        models: Models by name, at least one.
        precision: Precision of generation.
        limits: Limits of their schedulers.
    """

    def __init__(self, models: Mapping[str, Model], precision: str, limits: Limits) -> None:
        self._served = {name: _serve_model(name, model, precision, limits) for name, model in models.items()}
        self._closed = False

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._served.values())

    def find(self, name: str | None) -> ServedModel:
        """Return the model with a name, or the first one for None.

        Raises:
            ApiError: If there is none.
        """
        if name is None:
            return next(iter(self))
        if name not in self._served:
            raise ApiError(
                404, unknown_name_message("model", name, self._served), param="model", code="model_not_found"
            )
        return self._served[name]

    def start(self) -> None:
        """Start the schedulers. Call it on the event loop that will use them."""
        for one in self:
            one.scheduler.start()

    def close(self) -> None:
        """Stop the schedulers; whatever waits for them fails."""
        if not self._closed:
            self._closed = True
            for one in self:
                one.scheduler.close()


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
