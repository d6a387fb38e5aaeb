"""The files of the playground, which the server serves and the exported page reuses."""

from importlib.resources import files

from charloom.web.html_template import fill_template, read_asset, read_modules
from charloom.web.page_presets import PagePresets

_PRESETS = PagePresets()


def playground_files() -> dict[str, tuple[str, bytes]]:
    """Return content type and content by path: the page at ``/``, its scripts and style at ``/playground/...``."""
    styles = {
        file.name: file.read_text(encoding="utf-8")
        for file in files(__package__).joinpath("assets", "playground").iterdir()
        if file.name.endswith(".css")
    }
    contents = {"/": ("html", playground_html())}
    contents |= {f"/playground/{name}": ("css", text) for name, text in styles.items()}
    contents |= {f"/playground/{name}": ("javascript", text) for name, text in read_modules("playground").items()}
    return {path: (f"text/{kind}; charset=utf-8", text.encode("utf-8")) for path, (kind, text) in contents.items()}


def playground_html() -> str:
    """Return the playground's page, which loads its scripts from the server."""
    return fill_template(read_asset("playground/playground.html"), {"editor": editor_html("charloom")})


def editor_html(title: str, prompts: str = "", presets: PagePresets = _PRESETS) -> str:
    """Return the HTML of the editor, which the playground and the exported page share.

    Args:
        title: The heading, as HTML.
        prompts: HTML to insert before the text area.
        presets: The initial values of the settings.
    """
    return fill_template(
        read_asset("shared/editor.html").rstrip("\n"), {"title": title, "prompts": prompts, **presets.slots()}
    )
