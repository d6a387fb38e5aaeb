"""The exceptions that charloom raises, with their error codes and exit codes.

CharloomError
├── InputError                   the input is invalid (exit code 2)
│   ├── CorpusError              a text cannot be found, read, decoded or split
│   ├── UnknownCharacterError    a text contains characters that are not in the vocabulary
│   ├── SettingsError            a setting or an option is invalid or out of range
│   │   └── UnknownArgumentError  a Python function has no such keyword argument; also a TypeError
│   ├── ModelFileError           a model file is damaged or has an unsupported format
│   ├── RunError                 a run folder cannot be created, or lacks a required file
│   └── JobError                 a bulk job's folder is damaged, incomplete or belongs to another job
├── MissingExtraError            an optional dependency is not installed
├── LostProcessError             a process of a distributed training has exited
├── HubError                     the Hugging Face Hub is unreachable or refuses the request
├── SaveError                    a checkpoint or a metric could not be written, even after retries
└── NonFiniteError               the loss or the weights became NaN or infinite (exit code 4)
"""

from functools import partial
from typing import Any, Self

from charloom._deprecated import deprecated_name


class CharloomError(Exception):
    """Base class of every error that charloom raises on purpose.

    Args:
        message: What is wrong, the value, what is accepted and what to do. For people; its wording may change.
        code: A stable identifier of the problem in snake_case, for programs. All codes are listed in the reference.
        data: Details for programs, such as the invalid value; everything must be representable in JSON.

    Attributes:
        code: Identifier of the problem.
        data: Details of the problem.
        exit_code: The exit code of the command line.
    """

    exit_code = 1

    def __init__(self, message: str, *, code: str, **data: Any) -> None:
        super().__init__(message)
        self.code, self.data = code, data

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the code and the data, too: errors cross processes."""
        return _restore, (type(self), str(self), self.code, self.data)

    def prefixed(self, prefix: str) -> Self:
        """Return the same error with a message that begins with ``prefix``."""
        return type(self)(prefix + str(self), code=self.code, **self.data)

    def to_dict(self) -> dict[str, Any]:
        """Return the error as an object for JSON: ``code``, ``message``, then the data."""
        return {"code": self.code, "message": str(self), **self.data}


def _restore(kind: type[CharloomError], message: str, code: str, data: dict[str, Any]) -> CharloomError:
    """Rebuild an unpickled error."""
    return kind(message, code=code, **data)


class Notice(str):
    """A message about something that the user may want to know, with a code and data like an error's.

    Args:
        message: The message; one sentence, or two.
        code: A stable identifier of what is reported, in snake_case.
        data: Details for programs; everything must be representable in JSON.
    """

    code: str
    data: dict[str, Any]

    def __new__(cls, message: str, *, code: str, **data: Any) -> Self:
        """Create the notice; a ``str`` takes its value here."""
        notice = super().__new__(cls, message)
        notice.code, notice.data = code, data
        return notice

    def to_dict(self) -> dict[str, Any]:
        """Return the notice as an object for JSON: ``code``, ``message``, then the data."""
        return {"code": self.code, "message": str(self), **self.data}

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the code and the data, too."""
        return partial(type(self), code=self.code, **self.data), (str(self),)


class InputError(CharloomError):
    """The user's input is invalid."""

    exit_code = 2


class CorpusError(InputError):
    """A text cannot be found, read, decoded or split."""


class UnknownCharacterError(InputError):
    """A text contains characters that are not in the vocabulary."""


class SettingsError(InputError):
    """A setting or an option is invalid or out of range."""


class UnknownArgumentError(SettingsError, TypeError):
    """A Python function has no such keyword argument. It is also a ``TypeError``, as for any other function."""


class ModelFileError(InputError):
    """A model file is missing, damaged or in an unsupported format."""


class RunError(InputError):
    """A run folder cannot be created, or lacks a required file."""


class JobError(InputError):
    """A bulk job's folder is damaged, incomplete or belongs to another job."""


class MissingExtraError(CharloomError):
    """An optional dependency is not installed."""


class LostProcessError(CharloomError):
    """A process of a distributed training has exited."""


class HubError(CharloomError):
    """The Hugging Face Hub is unreachable or refuses the request."""


class SaveError(CharloomError):
    """A checkpoint or a metric could not be written, even after retries."""


class NonFiniteError(CharloomError):
    """The loss or the weights became NaN or infinite."""

    exit_code = 4


__getattr__ = partial(deprecated_name, __name__)
