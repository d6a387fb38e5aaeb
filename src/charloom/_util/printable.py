"""Make untrusted text safe to print."""

import re

_MAX_QUOTE = 60  # characters
_MAX_MESSAGE = 300  # characters
_TERMINAL = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]|\r(?!\n)")
"""Control characters, lone surrogates and bidirectional formatting characters."""

_MARKUP = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
"""Control characters and noncharacters, which HTML and Markdown cannot contain."""


def shortened(text: object) -> str:
    """Return text from an untrusted source, limited to 60 characters."""
    whole = str(text)
    return whole if len(whole) <= _MAX_QUOTE else whole[:_MAX_QUOTE] + "…"


def quoted(text: object) -> str:
    """Return untrusted text for use in a message: quoted, limited to 60 characters, control characters escaped."""
    return repr(shortened(text))


def printable(message: str) -> str:
    """Return a message limited to 300 characters, with unprintable characters as escapes.

    For messages that can quote the content of untrusted files.
    """
    safe = "".join(c if c.isprintable() else repr(c)[1:-1] for c in message[:_MAX_MESSAGE])
    return safe + ("…" if len(message) > _MAX_MESSAGE else "")


def escape_for_terminal(text: str) -> str:
    """Replace control characters by escapes, so that text cannot control the terminal.

    Line feeds, tabs and carriage returns before a line feed are kept.
    """
    return _TERMINAL.sub(lambda match: repr(match[0])[1:-1], text)


def replace_for_markup(text: str) -> str:
    """Prepare text for HTML or Markdown: LF newlines, and U+FFFD in place of control characters and noncharacters."""
    return _MARKUP.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n"))
