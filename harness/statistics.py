"""Intervals over seeds: Student's t, alone or of paired differences, and Holm's correction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit  # Student's distribution and its inverse

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval; p_value: two-sided against 0.

    Below two values nothing bounds the estimate: the ends are infinite, and no value at all
    makes the estimate NaN.
    """

    estimate: float
    low: float
    high: float
    p_value: float | None = None

    def __str__(self) -> str:
        ends = f" [{self.low:.3g}, {self.high:.3g}]" if math.isfinite(self.low) else ""
        return f"{self.estimate:.3g}{ends}"

    @property
    def known(self) -> bool:
        """Whether there were values enough for an interval."""
        return math.isfinite(self.low) and math.isfinite(self.high)


# --- intervals --------------------------------------------------------------------------------


def over_seeds(values: Sequence[float], *, against: float = 0.0) -> Interval:
    """Mean of independent values, one a seed, with Student's 95 % interval (Student 1908).

    How often it holds the true mean of such values, at 3, 5 and 10 seeds: normal 95, 95 and 95 %;
    uniform 92, 93 and 95 %. Of skewed values it does so less often: log-normal 84, 82 and 84 %;
    shares near 1 such as beta(50, 1) 89, 89 and 90 %. Equal values give an interval of length 0.
    against: what the p-value tests the mean against.  Raises ValueError for a value that is not
    finite.
    """
    numbers = np.asarray(values, dtype=float)
    if not np.isfinite(numbers).all():
        raise ValueError("An interval needs finite values.")
    if len(numbers) == 0:
        return Interval(math.nan, -math.inf, math.inf)
    if len(numbers) == 1:
        return Interval(float(numbers[0]), -math.inf, math.inf)
    if np.ptp(numbers) == 0:  # rounding in the mean must not make equal seeds differ
        same = float(numbers[0])
        return Interval(same, same, same, 1.0 if same == against else 0.0)
    free, mean = len(numbers) - 1, float(numbers.mean())
    error = float(numbers.std(ddof=1)) / math.sqrt(len(numbers))
    half = error * float(stdtrit(free, (1 + LEVEL) / 2))
    p_value = 2 * float(stdtr(free, -abs(mean - against) / error))
    return Interval(mean, mean - half, mean + half, p_value)


def paired(a: Sequence[float], b: Sequence[float]) -> Interval:
    """Mean of a − b, where a[i] and b[i] share a seed, with interval and p-value.

    Differences are less skewed than what they are of. How often the interval holds the true one, of
    two measures of one kind at 3, 5 and 10 seeds: normal 95, 95 and 95 %; uniform 95, 95 and 95 %;
    log-normal 97, 97 and 97 %; beta(50, 1) 97, 97 and 96 %.
    Raises ValueError when the lengths differ or a value is not finite.
    """
    if len(a) != len(b):
        raise ValueError(f"Paired samples must have one length, not {len(a)} and {len(b)}.")
    return over_seeds(np.asarray(a, dtype=float) - np.asarray(b, dtype=float))


def lowest(intervals: Sequence[Interval]) -> Interval:
    """The interval that reaches lowest: what lies above 0 in it does so in all of them.

    Without any, one that carries nothing.
    """
    return min(intervals, key=lambda interval: interval.low, default=over_seeds([]))


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm's adjusted p-values, in the order given: reject where they are below the level."""
    p = np.asarray(p_values, dtype=float)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError("p-values must be a list of numbers in [0, 1].")
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1)
    return adjusted
