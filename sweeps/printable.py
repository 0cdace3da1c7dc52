"""Texts from elsewhere, made harmless for a terminal."""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str) -> str:
    r"""A text without what a terminal would obey: it may quote a record or a study file.

    Args:
        text: Any text.

    Returns:
        The text, in which every character that cannot be printed is written as an escape
        (``\x1b``); line ends and tabs stay.
    """
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)
