"""What chapter 5 compares: arms, and the pairs of known and foreign images."""

from collections.abc import Sequence
from typing import Any

# As the runs call them.
PLAIN, EXPOSED, NOISE = "plain", "outlier exposure", "noise"
UNTRAINED, INVERTED = "untrained generator", "inversion"
ARMS = {  # what an arm is, in words
    PLAIN: "ten classes, no garbage",
    EXPOSED: "ten classes, no opinion on noise",
    NOISE: "garbage: noise",
    UNTRAINED: "garbage: noise, then an untrained generator",
    INVERTED: "garbage: noise, then inverted images",
}
GARBAGE = (NOISE, UNTRAINED, INVERTED)  # the arms with a class for it


def cases(pairs: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """Every arm on every pair (known, foreign), arm after arm."""
    return [
        {"dataset": dataset, "foreign": foreign, "arm": arm}
        for dataset, foreign in pairs
        for arm in ARMS
    ]
