"""The models that a server has, each with the thread that writes with it."""

import hashlib
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
from charloom.serve.errors import ApiError, to_api_error, unknown_name
from charloom.serve.scheduler import Scheduler
from charloom.serve.security.limits import Limits


@dataclass(frozen=True)
class ServedModel:
    """One of them.

    Attributes:
        name: What requests call it.
        model: The model.
        scheduler: Writes with it, and reads.
        fingerprint: Of what decides its answers: sizes, vocabulary, weights, precision.
        created: When it was loaded, in seconds since 1970.
    """

    name: str
    model: Model
    scheduler: Scheduler
    fingerprint: str
    created: int

    def ids(self, text: str, param: str) -> NDArray[np.integer]:
        """Return what is read of a text: its ids, or what stands for the beginning of one if it is empty.

        Raises:
            ApiError: If it holds a character that the model does not know.
        """
        try:
            return prompt_ids(self.model.vocabulary, text)
        except UnknownCharacterError as error:
            raise to_api_error(error, param) from None

    def check_ids(self, ids: list[int], param: str) -> NDArray[np.integer]:
        """Return ids as an array.

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
    """All of them, in the order in which they were named.

    Args:
        models: By name, one at least.
        precision: In which they write.
        limits: How much they write at once.
    """

    def __init__(self, models: Mapping[str, Model], precision: str, limits: Limits) -> None:
        self._served = {name: _served(name, model, precision, limits) for name, model in models.items()}
        self._ended = False

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._served.values())

    def find(self, name: str | None) -> ServedModel:
        """Return the model of a name, or the first one for None.

        Raises:
            ApiError: If there is none.
        """
        if name is None:
            return next(iter(self))
        if name not in self._served:
            raise ApiError(404, unknown_name("model", name, self._served), param="model", code="model_not_found")
        return self._served[name]

    def start(self) -> None:
        """Start the threads; on the event loop that will ask them."""
        for one in self:
            one.scheduler.start()

    def close(self) -> None:
        """End all writing and reading; whoever waits for it is told so."""
        if not self._ended:
            self._ended = True
            for one in self:
                one.scheduler.close()


def _served(name: str, model: Model, precision: str, limits: Limits) -> ServedModel:
    scheduler = Scheduler(
        model,
        precision=precision,
        most_writings=limits.writings,
        most_waiting=limits.waiting,
        most_unread=limits.unread,
    )
    return ServedModel(name, model, scheduler, _fingerprint(model, precision), int(time.time()))


def _fingerprint(model: Model, precision: str) -> str:
    digest = hashlib.sha256(json.dumps([model.architecture.to_dict(), precision]).encode())
    digest.update(model.vocabulary.characters.encode("utf-8", "surrogatepass"))
    for name in sorted(model.saved.weights):
        digest.update(np.ascontiguousarray(model.saved.weights[name]).data)
    return f"fp_{digest.hexdigest()[:12]}"
