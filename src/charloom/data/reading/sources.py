"""Resolve corpus arguments (paths, folders, globs, "-", dataset names) to sources."""

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from charloom._util.suggest import suggestions
from charloom.data.datasets import NAMES
from charloom.errors import CorpusError

STANDARD_INPUT = "-"

_ACCEPTED = f"a text file, a folder, a glob, - for standard input, or a named corpus ({', '.join(NAMES)})"
_MAX_SHOWN = 40  # characters of an argument shown in an error message


@dataclass(frozen=True)
class Source:
    """A file, a named corpus or standard input.

    Attributes:
        kind: "file", "named", "stdin", "member" for a text inside an archive, or "run" for a run folder inside a given
            folder, which is skipped.
        name: Name in messages: the path as given, the name of the corpus, or "standard input".
        path: The file, if the kind is "file".
        from_folder: Whether the file was found in a given folder. Such a file is skipped with a notice if it is not
            text; other files raise an error.
    """

    kind: str
    name: str
    path: Path | None = None
    from_folder: bool = False

    @property
    def can_reread(self) -> bool:
        """Whether the source is a regular file; a pipe can be read only once."""
        return self.path is not None and self.path.is_file()


def resolve_sources(arguments: list[str]) -> list[Source]:
    """Resolve arguments to sources in order, with the files of a folder sorted by path.

    Raises:
        CorpusError: If there are no arguments, or an argument does not match any file.
    """
    if not arguments:
        raise CorpusError(f"No corpus given. Provide {_ACCEPTED}.", code="missing_corpus")
    if arguments.count(STANDARD_INPUT) > 1:
        raise CorpusError(
            "Standard input (-) is given more than once, but it can be read only once.", code="repeated_stdin"
        )
    return [source for argument in arguments for source in _resolve(argument)]


def corpus_name(argument: str) -> str:
    """Return the short name of a corpus, which is also the default name of its run folder."""
    if argument == STANDARD_INPUT:
        return "stdin"
    if argument in NAMES and not Path(argument).exists():
        return argument
    if glob.has_magic(argument) and not Path(argument).exists():
        fixed = [part for part in Path(argument).parts if not glob.has_magic(part)]
        return _clean(Path(*fixed).name if fixed else "") or "corpus"
    path = Path(argument)
    return _clean(path.resolve().name if path.is_dir() else path.stem) or "corpus"


def relative_sources(arguments: Sequence[str], folder: Path) -> list[dict[str, str]] | None:
    """Return the sources of a corpus with paths relative to a folder, so that no absolute path is recorded.

    Returns:
        ``{"name": …}`` or ``{"path": …}`` for each argument; None if an argument is standard input, or shares only the
        root folder with ``folder``.
    """
    recorded = []
    for argument in arguments:
        if argument == STANDARD_INPUT:
            return None
        if argument in NAMES and not Path(argument).exists():
            recorded.append({"name": argument})
            continue
        base, target = folder.resolve(), Path(argument).resolve()
        if base.anchor != target.anchor or base.parts[1:2] != target.parts[1:2]:
            return None
        recorded.append({"path": Path(os.path.relpath(target, base)).as_posix()})
    return recorded or None


def located_sources(recorded: object, folder: Path) -> list[str] | None:
    """Convert the result of ``relative_sources`` back to arguments; return None if it is not a list."""
    if not isinstance(recorded, list):
        return None
    return [source["name"] if "name" in source else os.path.normpath(folder / source["path"]) for source in recorded]


def _clean(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name).strip("._")


def _resolve(argument: str) -> Iterator[Source]:
    if argument == STANDARD_INPUT:
        yield Source("stdin", "standard input")
        return
    path = Path(argument)
    if not argument or not _may_exist(path):
        raise CorpusError(
            f"{argument[:_MAX_SHOWN]!r} is not a valid path. Provide {_ACCEPTED}. To pass the text itself, use "
            'standard input: echo "some text" | charloom ... -',  # charloom.Corpus.read rejects such texts before
            code="invalid_path",
            path=argument[:_MAX_SHOWN],
        )
    if path.is_dir():
        yield from _folder(path)
    elif path.exists():
        yield Source("file", argument, path)
    elif argument in NAMES:
        yield Source("named", argument)
    elif glob.has_magic(argument):
        yield from _glob(argument)
    else:
        raise _not_found_error(argument, path)


def _may_exist(path: Path) -> bool:
    try:
        path.exists()
    except (OSError, ValueError):  # the name is too long, or contains a NUL character
        return False
    return True


def _folder(folder: Path) -> Iterator[Source]:
    runs = {path.parent for path in folder.rglob("metrics.jsonl") if (path.parent / "checkpoints").is_dir()}
    if folder in runs:
        raise CorpusError(
            f"{folder} is a run folder, not a text. To resume the run: charloom train --resume {folder} (in Python: "
            f"charloom.resume({str(folder)!r})). To train a new model, provide {_ACCEPTED}.",
            code="run_folder_as_corpus",
            path=str(folder),
        )
    for run in sorted(runs):
        yield Source("run", str(run))
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and runs.isdisjoint(path.parents)
    ]
    if not files:
        raise CorpusError(
            f"The folder {folder} contains no files. Add text files to it, or choose another folder.",
            code="empty_folder",
            path=str(folder),
        )
    for path in files:
        yield Source("file", str(path), path, from_folder=True)


def _glob(pattern: str) -> Iterator[Source]:
    files = [Path(match) for match in sorted(glob.glob(pattern, recursive=True)) if Path(match).is_file()]
    if not files:
        raise CorpusError(
            f"No file matches {pattern!r}. Provide another pattern, or the path of a file or folder.",
            code="no_matching_files",
            pattern=pattern,
        )
    for path in files:
        yield Source("file", str(path), path)


def _not_found_error(argument: str, path: Path) -> CorpusError:
    folder = path.parent if path.parent.is_dir() else Path()
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    paths = [str(path.with_name(name)) for name in suggestions(path.name, names)]
    similar = paths or suggestions(argument, NAMES)
    hint = f" Did you mean {similar[0]}?" if similar else ""
    advice = (
        " To pass the text itself, use standard input (in Python: charloom.Corpus(text))." if " " in argument else ""
    )
    return CorpusError(
        f"{argument!r} does not exist.{hint} Provide {_ACCEPTED}.{advice}",
        code="file_not_found",
        path=argument,
        suggestions=similar,
    )
