"""The files of a model repository on the Hugging Face Hub: model, card, recipe."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from charloom._util.atomic_io import write_atomically
from charloom.errors import InputError, ModelFileError, Notice
from charloom.inference.model_summary import write_samples
from charloom.interop.hub.model_card import check_license, model_card, recipe_text
from charloom.model.file.model_file import SavedModel, model_bytes
from charloom.model.file.run_folder import MODEL, RECIPE
from charloom.training.checkpoint import read_checkpoint

CARD = "README.md"


@dataclass(frozen=True)
class Package:
    """The files of an upload.

    Attributes:
        model: The model as stored in the repository.
        files: Contents by file name: ``MODEL``, ``CARD``, and ``RECIPE`` if the model records all its settings.
        notices: Notices for the user.
    """

    model: SavedModel
    files: dict[str, bytes] = field(repr=False)
    notices: tuple[str, ...] = ()


def build_package(
    path: Path, repo: str, form: str | None = None, license_name: str | None = None, seeds: Sequence[int] = ()
) -> Package:
    """Verify a model and build all files of its repository. None of them contains the training text.

    Args:
        path: A model file or a checkpoint; from a checkpoint, only the model is used.
        repo: OWNER/NAME.
        form: "int8", "float16" or "float32"; None keeps the file's bytes unchanged.
        license_name: The Hub's identifier of the license; None for no statement.
        seeds: Seeds of the sample texts on the card.

    Raises:
        ModelFileError: If the file cannot be read or is damaged, or a weight does not fit into ``form``.
        SettingsError: If the license identifier is invalid.
    """
    if license_name is not None:
        check_license(license_name)
    data = _read(path)
    saved, training = read_checkpoint(data, str(path))
    if training is not None or (form or saved.stored_as) != saved.stored_as:
        data = model_bytes(replace(saved, stored_as=form or saved.stored_as))
        saved, _ = read_checkpoint(data, str(path))
    recipe = recipe_text(saved)
    card = model_card(saved, repo, license_name, list(write_samples(saved, seeds)), recipe)
    files = {MODEL: data, CARD: card.encode("utf-8")}
    if recipe is not None:
        files[RECIPE] = recipe.encode("utf-8")
    return Package(saved, files, tuple(_notices(license_name, recipe)))


def write_package(folder: Path, package: Package) -> None:
    """Write the files of an upload to a new folder.

    Raises:
        InputError: If the folder already exists.
        OSError: If it cannot be written.
    """
    check_new_folder(folder)
    folder.mkdir(parents=True)
    for name, data in package.files.items():
        write_atomically(folder / name, data)


def check_new_folder(folder: Path) -> None:
    """Raise ``InputError`` if an output folder already exists."""
    if folder.exists():
        raise InputError(
            f"{folder} already exists. Choose another folder, or remove it first.",
            code="folder_exists",
            path=str(folder),
        )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelFileError(
            f"Cannot read the model file {path}: {error.strerror or error}.",
            code="unreadable_model_file",
            path=str(path),
        ) from None


def _notices(license_name: str | None, recipe: str | None) -> list[Notice]:
    notices = []
    if license_name is None:
        notices.append(
            Notice(
                "The model card states no license. Add one with --license, so that others may use it.",
                code="no_license",
            )
        )
    if recipe is None:
        notices.append(
            Notice("The model does not record all its settings, so no recipe.toml is included.", code="no_recipe")
        )
    return notices
