"""Numbers and lists as they stand in sentences and tables."""

from __future__ import annotations

import math
from collections.abc import Iterable


def number(value: float, digits: int, *, sign: bool = False) -> str:
    """A number with fixed decimals and a real minus sign; "–" where there is none.

    Args:
        value: The number.
        digits: Decimals.
        sign: Write a plus before what is not negative.
    """
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    if float(text) == 0.0:
        text = text.lstrip("+-")
    return text.replace("-", "−")


def decimals_for(value: float, significant: int) -> int:
    """Decimals that a number needs to show so many significant digits."""
    if significant < 1 or not math.isfinite(value) or value == 0.0:
        return 0
    exponent = int(f"{value:.{significant - 1}e}".partition("e")[2])  # after rounding
    return max(0, significant - 1 - exponent)


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """A count with its noun: "1 seed", "3 seeds"."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def joined(names: Iterable[object]) -> str:
    """Names as a list in a sentence: A; A and B; A, B and C."""
    listed = [str(name) for name in names]
    return listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} and {listed[-1]}"
