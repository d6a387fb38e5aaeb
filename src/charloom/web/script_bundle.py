"""Many scripts to one: a page opened from a file may not load modules, so they become functions of one script.

Only the form of import and export that the page's own modules have is understood: ``import { a, b } from "./c.js";``
on a line of its own, and ``export`` before a declaration.
"""

import re
from collections.abc import Mapping

_IMPORT = re.compile(r'^import \{ ([\w$]+(?:, [\w$]+)*) \} from "\./([\w.]+)";$', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:class|const|function)\b)", re.MULTILINE)
_LEFT = re.compile(r"^(import|export)\b.*", re.MULTILINE)
_USE = """const made = new Map();
function use(name) {
  if (!made.has(name)) made.set(name, modules[name]());
  return made.get(name);
}
"""


def one_script(before: str, modules: Mapping[str, str], after: str) -> str:
    """Return a script that hands nothing to anything else in its page.

    Args:
        before: A plain script; what it declares every module sees.
        modules: Modules by their names; each is run when it is first used.
        after: A plain script that runs them, with ``use(name)``.

    Raises:
        ValueError: If an import or export has another form, or a module that is imported is not there.
    """
    wanted: dict[str, dict[str, None]] = {name: {} for name in modules}
    for name, text in modules.items():
        for names, source in _IMPORT.findall(text):
            if source not in wanted:
                raise ValueError(f"{name} imports {source}, which is not there.")
            wanted[source] |= dict.fromkeys(names.split(", "))
    wrapped = "".join(f'"{name}"() {{\n{_plain(name, text, wanted[name])}}},\n' for name, text in modules.items())
    return f'"use strict";\n(() => {{\n{before}const modules = {{\n{wrapped}}};\n{_USE}{after}}})();\n'


def _plain(name: str, text: str, exports: Mapping[str, None]) -> str:
    """Return the body of a function that does what the module does, and returns what others import from it."""
    body = _EXPORT.sub("", _IMPORT.sub(r'const { \1 } = use("\2");', text))
    left = _LEFT.search(body)
    if left:
        raise ValueError(f"{name} has an import or export of another form: {left[0]}")
    return f"{body}return {{ {', '.join(exports)} }};\n"
