"""Suggestions for a misspelled name: "Did you mean ...?"."""

from collections.abc import Callable, Iterable, Mapping, Sequence

_CHARACTERS_PER_ERROR, _MAX_ERRORS = 3, 3  # more differences than that are another name, not a typing error
_MIN_ABBREVIATION = 3  # characters


def suggestions(name: str, known: Iterable[str], other_names: Mapping[str, str] | None = None) -> list[str]:
    """Return a list with the known name that was probably meant; an empty list if none is similar.

    A known name is similar if it differs by few typing errors (a missing, additional or wrong character, or two swapped
    neighbors; one for every three characters), ignoring case and the suffix of a file, or if it is the only one that
    begins with ``name``. A minimum is never suggested for a maximum, and vice versa.

    Args:
        name: The unknown name.
        known: All known names; of equally similar ones, the first is suggested.
        other_names: What other programs call the known names, such as ``{"max_tokens": "length"}``.
    """
    known = list(known)
    folded = _folded(name)
    meant = (other_names or {}).get(folded)
    if meant in known:
        return [meant]
    best, fewest = "", _MAX_ERRORS + 1
    for candidate in known:
        whole = _folded(candidate)
        if {folded[:4], whole[:4]} == {"min_", "max_"}:
            continue
        stem = whole.partition(".")[0]
        for form in {whole} if "." in folded else {whole, stem}:
            allowed = min(len(folded), len(form)) // _CHARACTERS_PER_ERROR
            if abs(len(folded) - len(form)) > allowed and form != folded:
                continue  # the difference in length is a lower limit of the number of errors
            errors = typing_errors(folded, form)
            if errors <= allowed and errors < fewest:
                best, fewest = candidate, errors
    if fewest <= _MAX_ERRORS:
        return [best]
    longer = [candidate for candidate in known if _folded(candidate).startswith(folded)]
    return longer if len(longer) == 1 and len(folded) >= _MIN_ABBREVIATION else []


def did_you_mean(
    name: str,
    known: Iterable[str],
    shown: Callable[[str], str] = str,
    other_names: Mapping[str, str] | None = None,
) -> str:
    """Return " Did you mean ...?" with the known name that was probably meant, or "" if none is similar.

    The result is appended to a sentence that reports an unknown name.

    Args:
        name: The unknown name.
        known: All known names.
        shown: Converts a known name to the form that the user types, such as "--seed" for "seed".
        other_names: See ``suggestions``.
    """
    return ask_about([shown(meant) for meant in suggestions(name, known, other_names)])


def ask_about(names: Sequence[str]) -> str:
    """Return " Did you mean a, b or c?", or "" if there are no names."""
    if not names:
        return ""
    return f" Did you mean {' or '.join(filter(None, [', '.join(names[:-1]), names[-1]]))}?"


def typing_errors(a: str, b: str) -> int:
    """Return the number of typing errors between two names: their optimal string alignment distance.

    Source: Damerau 1964, "A technique for computer detection and correction of spelling errors".
    """
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, last, row = row, before, [i]
        for j, y in enumerate(b, 1):
            errors = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                errors = min(errors, last[j - 2] + 1)
            row.append(errors)
    return row[-1]


def _folded(name: str) -> str:
    return name.casefold().replace("-", "_")
