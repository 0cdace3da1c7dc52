"""The one error class of `analysis`."""

from __future__ import annotations


class AnalysisError(Exception):
    """A results folder or an argument cannot be analysed.

    The message is one sentence: what is wrong, where, and what would be valid.
    """
