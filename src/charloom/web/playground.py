"""The playground's files, which a page that needs no server is made of, too: read once, served from memory."""

from importlib.resources import files

_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
}


def playground_files() -> dict[str, tuple[str, bytes]]:
    """Return what is to be answered to a GET of each path: its content type and its content.

    The page itself is at ``/``; the parts it asks for lie under ``/playground/``.
    """
    found = {}
    for file in files(__package__).joinpath("assets", "playground").iterdir():
        kind = _TYPES.get(file.name.rpartition(".")[2])
        if kind is not None:
            path = "/" if file.name == "playground.html" else f"/playground/{file.name}"
            found[path] = (kind, file.read_bytes())
    return found
