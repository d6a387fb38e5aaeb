"""Write malformed model files, each with a different defect.

    python attacks/make.py FOLDER

Prints a JSON object: for each file, its defect and the error that charloom must report (see ``registry.py``). Files
that this machine cannot create (pipes, sparse files, links) are skipped with a message on stderr.
``tests/reliability/test_hostile_models.py`` opens all of them.
"""

import json
import sys
from pathlib import Path

import descriptions  # noqa: F401  each of these modules registers its files
import foreign  # noqa: F401
import frames  # noqa: F401
import tensors  # noqa: F401
from registry import ATTACKS


def write(folder):
    """Write all malformed files to a folder; return the explanation and the expected error of each file written."""
    written = {}
    for name, (explanation, expected, make) in ATTACKS.items():
        path = folder / f"{name}.safetensors"
        try:
            data = make(path) if make.__code__.co_argcount else make()
            if data is not None:
                path.write_bytes(data)
        except (OSError, AttributeError) as error:
            print(f"{name}: cannot be created on this machine ({error})", file=sys.stderr)
            continue
        written[path.name] = {"explanation": explanation, "expected": expected}
    return written


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    print(json.dumps(write(target), indent=1))
