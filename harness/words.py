"""Words around numbers: sentences that an interval carries, and lists."""

from __future__ import annotations

from collections.abc import Sequence

from harness.statistics import Interval


def if_sure(interval: Interval, text: str, otherwise: str = "") -> str:
    """The text if the interval lies above 0."""
    return text if interval.low > 0 else otherwise


def listed(names: Sequence[str]) -> str:
    """The names with commas and an "and": a, b and c.  Raises ValueError without a name."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
