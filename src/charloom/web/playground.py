"""The files of the playground, which the server and the exported page share."""

from importlib.resources import files

from charloom.web.html_template import fill_template, read_asset, read_modules


def playground_files() -> dict[str, tuple[str, bytes]]:
    """Return the content type and the content for each path: the page at ``/``, its parts under ``/playground/``."""
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
    """Return the page that loads the playground's scripts from the server."""
    return fill_template(read_asset("playground/playground.html"), {"editor": editor_html("charloom")})


def editor_html(title: str, prompts: str = "") -> str:
    """Return the elements of the editor, which the playground and the exported page share.

    Args:
        title: The heading, as HTML.
        prompts: HTML that is inserted before the text area.
    """
    return fill_template(read_asset("shared/editor.html").rstrip("\n"), {"title": title, "prompts": prompts})
