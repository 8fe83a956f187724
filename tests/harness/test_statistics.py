"""Intervals over seeds, and p-values for several comparisons."""

import numpy as np
import pytest

from harness import statistics


def test_the_bootstrap_is_repeatable_and_covers_the_mean():
    values = np.random.RandomState(1).normal(3, 1, 40)
    first, second = statistics.bootstrap(values), statistics.bootstrap(values)
    assert first == second and first.low < values.mean() < first.high
    error = values.std() / np.sqrt(40)
    assert (first.high - first.low) == pytest.approx(2 * 1.96 * error, rel=0.05)


def test_equal_seeds_give_a_point():
    assert statistics.bootstrap([0.3] * 5) == statistics.Interval(0.3, 0.3, 0.3)
    assert statistics.bootstrap([2.0]) == statistics.Interval(2.0, 2.0, 2.0)


def test_pairs_are_compared_within_seeds():
    noise = np.random.RandomState(0).normal(0, 10, 12)
    gap = statistics.paired_bootstrap(noise + 1, noise)
    assert gap.estimate == pytest.approx(1) and gap.low > 0.99 and gap.p_value < 0.001
    none = statistics.paired_bootstrap([1.0, -1.0, 2.0, -2.0], [0.0] * 4)
    assert none.low < 0 < none.high and none.p_value > 0.5
    assert statistics.paired_bootstrap([1.0, 1.0], [1.0, 1.0]).p_value == 1
    with pytest.raises(ValueError, match="one length"):
        statistics.paired_bootstrap([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="finite"):
        statistics.paired_bootstrap([1.0], [float("nan")])


def test_holm_by_hand():
    assert np.allclose(statistics.holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
    assert np.allclose(statistics.holm([0.5, 0.9]), [1, 1]) and len(statistics.holm([])) == 0
    for bad in ([0.5, float("nan")], [1.5], [[0.1]]):
        with pytest.raises(ValueError, match="p-values"):
            statistics.holm(bad)
