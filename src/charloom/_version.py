"""The version of charloom, written only here."""

__version__ = "0.1.0"
