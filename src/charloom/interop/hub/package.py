"""The files of a model repository on the Hugging Face Hub: model, card, recipe."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from charloom._util.atomic_io import write_atomically
from charloom.errors import InputError, ModelFileError
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
        model: The model as it is stored in the repository.
        files: Contents by name: ``MODEL``, ``CARD``, and ``RECIPE`` if the model records all its settings.
        notices: Messages for the user.
    """

    model: SavedModel
    files: dict[str, bytes] = field(repr=False)
    notices: tuple[str, ...] = ()


def build_package(
    path: Path, repo: str, form: str | None = None, license_name: str | None = None, seeds: Sequence[int] = ()
) -> Package:
    """Verify a model and build all files of its repository, which do not contain the training text.

    Args:
        path: A model file, or a checkpoint, of which only the model is taken.
        repo: OWNER/NAME.
        form: "int8", "float16" or "float32"; None leaves the weights, and the file's bytes, as they are.
        license_name: As the Hub names it; None states none.
        seeds: Seeds of the sample texts on the card.

    Raises:
        ModelFileError: If the file cannot be read or is damaged, or a weight does not fit into ``form``.
        SettingsError: If the licence is not named as the Hub names them.
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
    """Write what would be uploaded into a new folder.

    Raises:
        InputError: If the folder exists already.
        OSError: If it cannot be written.
    """
    check_new_folder(folder)
    folder.mkdir(parents=True)
    for name, data in package.files.items():
        write_atomically(folder / name, data)


def check_new_folder(folder: Path) -> None:
    """Raise ``InputError`` if a folder that is to be made exists already."""
    if folder.exists():
        raise InputError(f"{folder} exists already. Name another folder, or remove it first.")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"The model file {path} cannot be read: {error.strerror or error}.") from None


def _notices(license_name: str | None, recipe: str | None) -> list[str]:
    notices = []
    if license_name is None:
        notices.append(
            "the card states no licence, so nobody knows what may be done with the model; --license names one"
        )
    if recipe is None:
        notices.append("the model does not tell all its settings: there is no recipe.toml")
    return notices
