"""Where ``charloom generate`` writes its texts: standard output, one file, or a folder with one file per text."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from charloom._util.atomic_io import write_atomically
from charloom.data.text_format import TextRules
from charloom.errors import InputError
from charloom.model.file.run_folder import check_new_file
from charloom.terminal.messages import encode_text

_MIN_DIGITS = 3  # of the numbers in file names, so that names sort alphabetically up to 999


def sample_separator(rules: TextRules) -> str:
    r"""Return the default text between two generated texts.

    For a model of lines or records it is the separator of the training text, so that the output can be read again as
    lines or records. Otherwise it is the line ``---``, which ``--records ---`` reads.
    """
    if rules.lines:
        return "\n"
    return "\n---\n" if rules.records is None else rules.separator


@dataclass(frozen=True)
class OutputFiles:
    """The files of ``--output``.

    Attributes:
        target: The file or folder.
        paths: One file for all texts, or for a folder the file of each text, in order.
        is_folder: Whether ``target`` is a folder.
    """

    target: Path
    paths: tuple[Path, ...]
    is_folder: bool

    @classmethod
    def choose(cls, output: str, count: int, force: bool) -> OutputFiles:
        """Choose the files for a number of texts.

        Args:
            output: ``--output``: a file; or an existing folder or a name that ends in "/", for one file per text.
            count: The number of texts.
            force: Whether existing files may be overwritten.

        Raises:
            InputError: If a file exists and ``force`` is not set, its parent folder does not exist, or ``output`` is
                empty.
        """
        if not output:  # would be the current folder
            raise InputError(
                "--output is empty. Pass the name of a file, or of a folder with / at its end.",
                code="invalid_setting",
                name="output",
                value=output,
            )
        target = Path(output)
        is_folder = output.endswith(("/", os.sep)) or target.is_dir()
        if not is_folder:
            check_new_file(target, force)
            return cls(target, (target,), False)
        if target.is_file():
            raise InputError(
                f"{target} is a file, and {output} names a folder. Omit the slash for one file with all texts, or "
                "choose another folder.",
                code="path_is_file",
                path=str(target),
            )
        if not target.is_dir():
            check_new_file(target, force)
        digits = max(_MIN_DIGITS, len(str(count)))
        paths = tuple(target / f"{number:0{digits}}.txt" for number in range(1, count + 1))
        existing = [path for path in paths if path.exists()]
        if force:
            for path in existing:
                check_new_file(path, force)  # a file in the folder may be a folder itself
        elif existing:
            more = len(existing) - 1
            what = f"{existing[0]} and {more:,} more of the {count:,} files exist" if more else f"{existing[0]} exists"
            raise InputError(
                f"{what} already. Choose another folder with -o, or pass --force to overwrite.",
                code="file_exists",
                path=str(existing[0]),
                count=len(existing),
            )
        return cls(target, paths, True)

    def path_of(self, i: int) -> Path:
        """Return the file that text ``i`` is written to."""
        return self.paths[i if self.is_folder else 0]

    def write(self, texts: Sequence[str], separator: str) -> None:
        """Write the texts, each file atomically and with a line feed at its end.

        Args:
            texts: As many texts as given to ``choose``.
            separator: Text between two texts in one file.

        Raises:
            OSError: If a file cannot be written. Files of a folder that were written before it remain.
        """
        if self.is_folder:
            self.target.mkdir(exist_ok=True)
        contents = texts if self.is_folder else [separator.join(texts)]
        for path, content in zip(self.paths, contents, strict=True):
            write_atomically(path, encode_text(content + "\n"))


def append_text(path: Path, text: str, rules: TextRules) -> None:
    """Append a text to a file. If the file is not empty, the separator of ``sample_separator`` precedes the text.

    Raises:
        OSError: If the file cannot be written.
    """
    with path.open("a+b") as file:
        beginning = ""
        if size := file.seek(0, os.SEEK_END):
            file.seek(size - 1)
            ends_line = file.read(1) == b"\n"
            separator = sample_separator(rules)
            beginning = separator.removeprefix("\n") if ends_line else separator
        file.write(encode_text(f"{beginning}{text}\n"))
