"""Write bad model files, each of another kind, to be opened by who dares.

    python attacks/make.py FOLDER

Prints the name of each, what is wrong with it, and words of the reason why charloom refuses it. What this machine
cannot make (pipes, sparse files, links) is left out and said. ``tests/reliability/test_hostile_models.py`` opens them
all.
"""

import json
import sys
from pathlib import Path

import descriptions  # noqa: F401  each of these registers its own
import foreign  # noqa: F401
import frames  # noqa: F401
import tensors  # noqa: F401
from registry import ATTACKS


def write(folder):
    """Write all attacks into a folder; return those that can be made here, with what is known of them."""
    made = {}
    for name, (explanation, reason, make) in ATTACKS.items():
        path = folder / f"{name}.safetensors"
        try:
            data = make(path) if make.__code__.co_argcount else make()
            if data is not None:
                path.write_bytes(data)
        except (OSError, AttributeError) as error:
            print(f"{name}: cannot be made here ({error})", file=sys.stderr)
            continue
        made[path.name] = {"explanation": explanation, "reason": reason}
    return made


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    print(json.dumps(write(target), indent=1))
