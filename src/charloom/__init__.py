"""charloom: train a character-level recurrent language model on your own text, and generate from it.

    >>> import charloom
    >>> model = charloom.train("my_book.txt", minutes=3)        # doctest: +SKIP
    >>> print(model.generate("Once ", length=500, seed=1))      # doctest: +SKIP

The packages: ``charloom.data`` encodes texts as ids. ``charloom.model`` stores an architecture and its weights in one
file. ``charloom.inference`` generates and scores texts without PyTorch. ``charloom.planning`` chooses settings from
recipes. ``charloom.training`` trains models.

Importing this package is fast: every name is loaded on first use.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from charloom import _deprecated
from charloom._version import __version__
from charloom.model.file.section import register_section_check

if TYPE_CHECKING:
    from charloom.api import resume, train
    from charloom.data.corpus import Corpus
    from charloom.data.text_format import TextFormat
    from charloom.data.vocabulary.characters import Vocabulary
    from charloom.errors import CharloomError, InputError
    from charloom.inference.generation_options import Sampling
    from charloom.inference.model import Model, load
    from charloom.inference.scoring import Score
    from charloom.model.architecture import Architecture
    from charloom.planning.recipes import Recipe
    from charloom.planning.settings import Settings

_HOME = {
    "Architecture": "charloom.model.architecture",
    "CharloomError": "charloom.errors",
    "Corpus": "charloom.data.corpus",
    "InputError": "charloom.errors",
    "Model": "charloom.inference.model",
    "Recipe": "charloom.planning.recipes",
    "Sampling": "charloom.inference.generation_options",
    "Score": "charloom.inference.scoring",
    "Settings": "charloom.planning.settings",
    "TextFormat": "charloom.data.text_format",
    "Vocabulary": "charloom.data.vocabulary.characters",
    "load": "charloom.inference.model",
    "resume": "charloom.api",
    "train": "charloom.api",
}

__all__ = [
    "Architecture",
    "CharloomError",
    "Corpus",
    "InputError",
    "Model",
    "Recipe",
    "Sampling",
    "Score",
    "Settings",
    "TextFormat",
    "Vocabulary",
    "__version__",
    "load",
    "resume",
    "train",
]


def _check_training(*section: Any) -> None:
    from charloom.training.checkpoint import check_training  # start-up time: only checkpoints have this section

    check_training(*section)


register_section_check(_check_training)
_deprecated.install()


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    # with name and obj, Python's traceback suggests a similar name
    raise AttributeError(f"module 'charloom' has no attribute {name!r}", name=name, obj=sys.modules[__name__])


def __dir__() -> list[str]:
    return __all__
