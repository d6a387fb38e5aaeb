"""Write the tables of codes in docs/reference/json.md: `python docs/codes.py`.

Each code is an argument of the call that contains its message: ``raise InputError("...", code="...", path=...)``. This
script reads the calls from the source, so that the tables are never out of date. `python docs/codes.py --missing
[PATH ...]` lists the errors and notices without a code.
"""

import ast
import re
import sys
from collections import defaultdict
from pathlib import Path

import charloom.errors

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "charloom"
PAGE = ROOT / "docs" / "reference" / "json.md"
TABLES = ("error codes", "notice codes", "server codes")  # each is between two comments on the page


class Message:
    """A call with a message: its kind, code (or None), message template, data keys and place in the source."""

    def __init__(self, kind, code, template, data, place):
        self.kind, self.code, self.template, self.data, self.place = kind, code, template, data, place


def messages(paths=(SOURCE,)):
    """Yield every call in the source whose message has, or should have, a code."""
    for path in paths:
        path = Path(path)
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            tree = ast.parse(file.read_text(encoding="utf-8"))
            for scope, call in _calls(tree):
                kind = _kind(call)
                keywords = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
                code = keywords.get("code")
                literal = code.value if isinstance(code, ast.Constant) else None
                if kind is None and not (isinstance(literal, str) and _is_code(literal)):
                    continue
                if code is not None and literal is None:
                    continue  # passes on the code of another error
                if code is None and any(keyword.arg is None for keyword in call.keywords):
                    continue  # passes on a code in **fields
                first = call.args[_position(kind)] if len(call.args) > _position(kind) else None
                data = [name for name in keywords if name not in ("code", "headers")]
                place = f"{file}:{call.lineno}"
                yield Message(kind or "error", literal, _template(first, scope), data, place)


def tables():
    """Return each table as Markdown, by its name."""
    grouped = defaultdict(list)
    for message in messages():
        if message.code:
            grouped[_table(message), message.code].append(message)
    lines = {name: ["| code | message | data |", "|---|---|---|"] for name in TABLES}
    for (name, code), group in sorted(grouped.items()):
        templates = sorted({message.template for message in group if message.template})
        data = sorted({field for message in group for field in message.data})
        shown = "<br>".join(_cell(template) for template in templates) or "(the reason)"
        lines[name].append(f"| `{code}` | {shown} | {', '.join(f'`{field}`' for field in data)} |")
    return {name: "\n".join(rows) + "\n" for name, rows in lines.items()}


def with_tables(page):
    """Return the text of docs/reference/json.md with its tables replaced by current ones."""
    for name, table in tables().items():
        begin, end = f"<!-- begin: {name} -->\n", f"<!-- end: {name} -->\n"
        before, rest = page.split(begin)
        page = f"{before}{begin}{table}{end}{rest.split(end)[1]}"
    return page


def _table(message):
    if message.kind == "ApiError":
        return "server codes"
    return "notice codes" if message.kind in ("Notice", "add") else "error codes"


def _calls(tree):
    """Yield (function or module, call) for every call."""

    def walk(node, scope):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Call):
                yield scope, child
            yield from walk(child, child if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else scope)

    yield from walk(tree, tree)


def _kind(call):
    """Return the name of the called class or method if its messages need a code, else None."""
    match call.func:
        case ast.Name(name) | ast.Attribute(attr=name):
            known = vars(charloom.errors).get(name)
            if name in ("ApiError", "Notice") or (isinstance(known, type) and issubclass(known, Exception)):
                return name
    match call.func:
        case ast.Attribute(value=ast.Name(owner) | ast.Attribute(attr=owner), attr="add") if "notices" in owner:
            return "add"
    return None


def _position(kind):
    return 1 if kind == "ApiError" else 0  # an ApiError starts with the HTTP status


def _is_code(text):
    return re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", text) is not None


def _template(node, scope):
    """Return a message with … for each inserted value; "" if the message is computed elsewhere."""
    match node:
        case ast.Constant(str(text)):
            return text
        case ast.JoinedStr(parts):
            return "".join(part.value if isinstance(part, ast.Constant) else "…" for part in parts)
        case ast.BinOp(left, ast.Add(), right):
            return (_template(left, scope) or "…") + (_template(right, scope) or "…")
        case ast.Name(name):
            values = [
                statement.value
                for statement in ast.walk(scope)
                if isinstance(statement, ast.Assign)
                and any(isinstance(t, ast.Name) and t.id == name for t in statement.targets)
            ]
            earlier = [value for value in values if value.lineno <= node.lineno]
            return _template(earlier[-1], scope) if earlier else ""
    return ""


def _cell(text):
    text = re.sub(r"\s+", " ", text).strip().replace("……", "…")
    return re.sub(r"([|<>*_`\[\]{}\\])", r"\\\1", text)


def main(arguments):
    """Write the page, or list messages without a code."""
    if arguments[:1] == ["--missing"]:
        missing = [message for message in messages(arguments[1:] or [SOURCE]) if message.code is None]
        print(*(f"{message.place}: {message.kind}: {message.template}" for message in missing), sep="\n")
        return 1 if missing else 0
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
