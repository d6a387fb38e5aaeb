"""The content security policy of self-contained pages: they run only their own script and load nothing."""

import base64
import hashlib


def content_security_policy(
    script: str | None, style: str, *, script_sources: str = "", connect_src: str | None = None
) -> str:
    """Return the value of a page's ``Content-Security-Policy``.

    Args:
        script: The one inline script that may run, identified by its SHA-256; None for a page without scripts.
        style: The one inline style, also identified by its SHA-256.
        script_sources: Additional sources for ``script-src``, such as ``'wasm-unsafe-eval'``.
        connect_src: The sources that the page may fetch data from; None forbids all requests.
    """
    allowed_scripts = "'none'" if script is None else f"{_sha256_source(script)} {script_sources}".rstrip()
    allowed_connections = f"; connect-src {connect_src}" if connect_src else ""
    return (
        f"default-src 'none'; script-src {allowed_scripts}; style-src {_sha256_source(style)}; img-src data:; "
        f"base-uri 'none'; form-action 'none'{allowed_connections}"
    )


def _sha256_source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"
