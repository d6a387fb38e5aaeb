"""The version of charloom: the single place where it is defined."""

__version__ = "0.1.0"
