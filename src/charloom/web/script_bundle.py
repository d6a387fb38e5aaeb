"""Bundle JavaScript modules into one script, since a page opened from disk cannot load modules.

Only the form of import and export that charloom's own modules use is supported: ``import { a, b } from "./c.js";`` on
its own line, and ``export`` before a declaration.
"""

import re
from collections.abc import Mapping

_IMPORT = re.compile(r'^import \{ ([\w$]+(?:, [\w$]+)*) \} from "\./([\w.]+)";$', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:class|const|function)\b)", re.MULTILINE)
_UNSUPPORTED = re.compile(r"^(import|export)\b.*", re.MULTILINE)
_USE = """const loaded = new Map();
function use(name) {
  if (!loaded.has(name)) loaded.set(name, modules[name]());
  return loaded.get(name);
}
"""


def bundle_scripts(
    prologue: str, modules: Mapping[str, str], epilogue: str, replacements: Mapping[str, str] | None = None
) -> str:
    """Return one script that runs modules, and declares nothing in the page's global scope.

    Args:
        prologue: A plain script; every module sees its declarations.
        modules: The modules' sources by file name; each runs when it is first used.
        epilogue: A plain script that starts the modules, with ``use(name)``.
        replacements: File names of modules that are imported in place of others: imports of a key load its value.

    Raises:
        ValueError: If an import or export has an unsupported form, or an imported module is missing.
    """
    replacements = replacements or {}
    bundled = {name: text for name, text in modules.items() if name not in replacements}
    exports: dict[str, dict[str, None]] = {name: {} for name in bundled}
    for name, text in bundled.items():
        for names, imported in _IMPORT.findall(text):
            source = replacements.get(imported, imported)
            if source not in exports:
                raise ValueError(f"{name} imports {source}, which is not there.")
            exports[source] |= dict.fromkeys(names.split(", "))
    functions = "".join(
        f'"{name}"() {{\n{_function_body(name, text, exports[name], replacements)}}},\n'
        for name, text in bundled.items()
    )
    return f'"use strict";\n(() => {{\n{prologue}const modules = {{\n{functions}}};\n{_USE}{epilogue}}})();\n'


def _function_body(name: str, text: str, exports: Mapping[str, None], replacements: Mapping[str, str]) -> str:
    """Return the body of a function that runs the module and returns the exports that other modules import."""
    imported = _IMPORT.sub(lambda use: f'const {{ {use[1]} }} = use("{replacements.get(use[2], use[2])}");', text)
    body = _EXPORT.sub("", imported)
    unsupported = _UNSUPPORTED.search(body)
    if unsupported:
        raise ValueError(f"{name} has an import or export of another form: {unsupported[0]}")
    return f"{body}return {{ {', '.join(exports)} }};\n"
