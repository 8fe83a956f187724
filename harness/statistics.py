"""Intervals over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

RESAMPLES = 10_000


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval; p_value: two-sided against 0, where it was asked for."""

    estimate: float
    low: float
    high: float
    p_value: float | None = None

    def __str__(self) -> str:
        return f"{self.estimate:.3g} [{self.low:.3g}, {self.high:.3g}]"


# --- statistics -------------------------------------------------------------------------------


def bootstrap(values: Sequence[float], *, statistic: str = "mean") -> Interval:
    """Mean or median of the values with the 95 % percentile interval of 10,000 resamples.

    The resamples are always the same ones. Equal values give an interval of length 0.
    """
    numbers = np.asarray(values, dtype=float)
    middle = {"mean": np.mean, "median": np.median}[statistic]
    random = np.random.RandomState(0)  # its stream is frozen: one interval in every version
    picks = random.randint(0, len(numbers), (RESAMPLES, len(numbers)))
    spread = middle(numbers[picks], axis=1)
    low, high = np.quantile(spread, [0.025, 0.975])
    if np.ptp(numbers) == 0:  # rounding in the mean must not make equal seeds differ
        low = high = numbers[0]
        return Interval(float(low), float(low), float(high))
    return Interval(float(middle(numbers)), float(low), float(high))


def paired_bootstrap(a: Sequence[float], b: Sequence[float]) -> Interval:
    """Mean of a − b over seeds, where a[i] and b[i] share seed i, with interval and p-value."""
    if len(a) != len(b) or not len(a):
        raise ValueError(f"Paired samples must have one length above 0, not {len(a)} and {len(b)}.")
    gaps = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    if not np.isfinite(gaps).all():
        raise ValueError("Paired samples must be finite.")
    random = np.random.RandomState(0)
    means = gaps[random.randint(0, len(gaps), (RESAMPLES, len(gaps)))].mean(axis=1)
    tail = min((means <= 0).sum(), (means >= 0).sum())
    return replace(bootstrap(gaps), p_value=float(min(1.0, 2 * (tail + 1) / (RESAMPLES + 1))))


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm's adjusted p-values, in the order given: reject where they are below the level."""
    p = np.asarray(p_values, dtype=float)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError("p-values must be a list of numbers in [0, 1].")
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1)
    return adjusted
