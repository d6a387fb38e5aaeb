"""All exceptions that charloom raises on purpose, with their exit codes.

CharloomError
├── InputError                   what was given cannot be used (the command line exits with 2)
│   ├── CorpusError              a text cannot be found, read, decoded or split
│   ├── UnknownCharacterError    a character that is not in a vocabulary
│   ├── SettingsError            a setting, recipe or number outside what is accepted
│   ├── ModelFileError           a model file that is damaged or not charloom's
│   ├── RunError                 a run folder that cannot be made, or lacks what was asked of it
│   └── JobError                 a folder of a bulk job that is another job's, damaged or incomplete
├── MissingExtraError            an optional dependency is not installed
├── LostProcessError             one of several processes that train together is gone
├── HubError                     the Hugging Face Hub cannot be reached, or does not let something be done
├── SaveError                    what was trained could not be written, however often it was tried
└── NonFiniteError               the numbers of a training became NaN or infinite (exit code 4)
"""

from functools import partial

from charloom._deprecated import deprecated_name


class CharloomError(Exception):
    """Base of all errors charloom raises on purpose; its text is one message for the user."""

    exit_code = 1


class InputError(CharloomError):
    """What the user gave cannot be used."""

    exit_code = 2


class CorpusError(InputError):
    """A text cannot be found, read, decoded or split."""


class UnknownCharacterError(InputError):
    """A text holds characters that are not in the vocabulary."""


class SettingsError(InputError):
    """A setting, recipe or number is outside what is accepted."""


class ModelFileError(InputError):
    """A model file is missing, damaged or not charloom's."""


class RunError(InputError):
    """A run folder cannot be made, or lacks what was asked of it."""


class JobError(InputError):
    """A folder of a bulk job is another job's, damaged or incomplete."""


class MissingExtraError(CharloomError):
    """An optional dependency is not installed."""


class LostProcessError(CharloomError):
    """One of several processes that train together is gone."""


class HubError(CharloomError):
    """The Hugging Face Hub cannot be reached, or does not let something be done."""


class SaveError(CharloomError):
    """What was trained could not be written, however often it was tried."""


class NonFiniteError(CharloomError):
    """The numbers of a training became NaN or infinite."""

    exit_code = 4


__getattr__ = partial(deprecated_name, __name__)
