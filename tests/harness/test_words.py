"""A sentence needs its interval, and a list its last "and"."""

import pytest

from harness.statistics import Interval, over_seeds
from harness.words import if_sure, listed


@pytest.mark.parametrize(("low", "said"), [(0.1, "more"), (0.0, "not known"), (-0.1, "not known")])
def test_a_text_is_said_only_if_its_interval_lies_above_zero(low, said):
    assert if_sure(Interval(0.2, low, 0.5), "more", "not known") == said


def test_nothing_measured_carries_nothing():
    assert if_sure(over_seeds([]), "more") == if_sure(over_seeds([1.0]), "more") == ""


def test_names_are_joined():
    assert listed(["a"]) == "a"
    assert listed(["a", "b"]) == "a and b"
    assert listed(["a", "b", "c"]) == "a, b and c"
    with pytest.raises(ValueError):
        listed([])
