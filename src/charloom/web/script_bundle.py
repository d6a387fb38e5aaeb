"""Bundle JavaScript modules into one script, because a page opened from disk cannot load modules.

Only the syntax that charloom's modules use is supported: ``import { a, b } from "./c.js";`` on a separate line, and
``export`` before a declaration.
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
    """Return one script that contains all modules and declares nothing in the page's global scope.

    Args:
        prologue: A plain script whose declarations are visible in every module.
        modules: The modules' sources by file name. A module runs when it is first imported.
        epilogue: A plain script that starts the page by running a module with ``use(name)``.
        replacements: Maps file names of modules to those of the modules to import instead.

    Raises:
        ValueError: If an import or export has unsupported syntax, or an imported module is missing.
    """
    replacements = replacements or {}
    bundled = {name: text for name, text in modules.items() if name not in replacements}
    exports: dict[str, dict[str, None]] = {name: {} for name in bundled}
    for name, text in bundled.items():
        for names, imported in _IMPORT.findall(text):
            source = replacements.get(imported, imported)
            if source not in exports:
                raise ValueError(f"{name} imports {source}, which is not in the bundle.")
            exports[source] |= dict.fromkeys(names.split(", "))
    functions = "".join(
        f'"{name}"() {{\n{_function_body(name, text, exports[name], replacements)}}},\n'
        for name, text in bundled.items()
    )
    return f'"use strict";\n(() => {{\n{prologue}const modules = {{\n{functions}}};\n{_USE}{epilogue}}})();\n'


def _function_body(name: str, text: str, exports: Mapping[str, None], replacements: Mapping[str, str]) -> str:
    """Return the body of a function that runs the module and returns those exports that other modules import."""
    imported = _IMPORT.sub(lambda use: f'const {{ {use[1]} }} = use("{replacements.get(use[2], use[2])}");', text)
    body = _EXPORT.sub("", imported)
    unsupported = _UNSUPPORTED.search(body)
    if unsupported:
        raise ValueError(f"{name} has an import or export with unsupported syntax: {unsupported[0]}")
    return f"{body}return {{ {', '.join(exports)} }};\n"
