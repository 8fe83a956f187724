"""Intervals over seeds cover what they promise, and p-values of several comparisons."""

import inspect
import math
import re

import numpy as np
import pytest
from scipy import stats

from harness import statistics
from harness.statistics import LEVEL, Interval, over_seeds, paired

# --- intervals --------------------------------------------------------------------------------


def test_an_interval_by_hand():
    found = over_seeds([1.0, 2.0, 3.0])
    half = 4.302653 / math.sqrt(3)  # Student's quantile with two degrees of freedom; deviation 1
    assert found.estimate == 2.0 and found.low == pytest.approx(2 - half, rel=1e-6)
    assert found.high == pytest.approx(2 + half, rel=1e-6)
    assert found.p_value == pytest.approx(stats.ttest_1samp([1, 2, 3], 0).pvalue)
    assert over_seeds([1.0, 2.0, 3.0], against=2.0).p_value == pytest.approx(1.0)


def test_the_p_value_and_the_interval_say_the_same():
    values = [0.1, 0.3, 0.25, 0.4]
    found = over_seeds(values)
    for bound, sides in ((found.low, 1), (found.high, 1)):
        assert over_seeds(values, against=bound).p_value == pytest.approx(sides - LEVEL)


def test_equal_seeds_give_a_point():
    third = [0.1 + 0.2] * 3  # its mean is another float than 0.3
    assert over_seeds(third) == Interval(third[0], third[0], third[0], 0.0)
    assert over_seeds([0.0] * 5) == Interval(0.0, 0.0, 0.0, 1.0)
    assert over_seeds([2.0, 2.0], against=2.0).p_value == 1.0


def test_one_seed_and_none_bound_nothing():
    one, none = over_seeds([2.0]), over_seeds([])
    assert one == Interval(2.0, -math.inf, math.inf) and not one.known and str(one) == "2"
    assert math.isnan(none.estimate) and (none.low, none.high) == (-math.inf, math.inf)
    assert not none.known and str(none) == "nan"


def test_an_interval_in_words():
    assert str(Interval(1.0, 0.5, 1.5)) == "1 [0.5, 1.5]" and Interval(1.0, 0.5, 1.5).known


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_not_finite_are_refused(value):
    with pytest.raises(ValueError, match="finite"):
        over_seeds([1.0, value])
    with pytest.raises(ValueError, match="finite"):
        paired([1.0, 1.0], [1.0, value])


def test_pairs_are_compared_within_seeds():
    noise = np.random.RandomState(0).normal(0, 10, 12)
    gap = paired(noise + 1, noise)
    assert gap.estimate == pytest.approx(1) and gap.low > 0.99 and gap.p_value < 0.001
    none = paired([1.0, -1.0, 2.0, -2.0], [0.0] * 4)
    assert none.low < 0 < none.high and none.p_value > 0.5
    assert paired([1.0, 1.0], [1.0, 1.0]).p_value == 1
    with pytest.raises(ValueError, match="one length"):
        paired([1.0], [1.0, 2.0])


def test_the_lowest_interval_carries_what_holds_everywhere():
    high, low = Interval(2.0, 1.0, 3.0), Interval(5.0, 0.5, 9.5)
    assert statistics.lowest([high, low]) is low
    assert statistics.lowest([low, over_seeds([7.0])]).low == -math.inf
    assert not statistics.lowest([]).known


# --- coverage ---------------------------------------------------------------------------------

SEEDS, DRAWS = (3, 5, 10), 40_000
VALUES = {  # what draws values of a shape, and their true mean
    "normal": (lambda random, shape: random.standard_normal(shape), 0.0),
    "uniform": (lambda random, shape: random.random(shape), 0.5),
    "log-normal": (lambda random, shape: random.lognormal(size=shape), math.exp(0.5)),
    "beta(50, 1)": (lambda random, shape: random.beta(50, 1, size=shape), 50 / 51),
}


def student(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ends of `over_seeds` for each row, which they are compared with on some."""
    low, high = stats.ttest_1samp(values, 0, axis=1).confidence_interval(LEVEL)
    for row, *ends in zip(values[:20], low, high):
        found = over_seeds(row)
        assert (found.low, found.high) == pytest.approx(tuple(ends))
    return low, high


def percentile_bootstrap(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 2.5 and 97.5 % quantiles of 1,000 resampled means, the interval that is not used."""
    few, seeds = values[:2_000], values.shape[1]
    picks = np.random.RandomState(0).randint(0, seeds, (1_000, seeds))
    return tuple(np.quantile(few[:, picks].mean(axis=2), [0.025, 0.975], axis=1))


def coverage(name: str, seeds: int, interval=student, *, difference: bool = False) -> float:
    """How often the interval holds the true mean, or the true difference of 0."""
    draw, mean = VALUES[name]
    random = np.random.default_rng(seeds)
    values = draw(random, (DRAWS, seeds))
    if difference:
        values, mean = values - draw(random, (DRAWS, seeds)), 0.0
    low, high = interval(values)
    return float(np.mean((low <= mean) & (mean <= high)))


@pytest.mark.parametrize("seeds", SEEDS)
def test_intervals_keep_their_level(seeds):
    assert 0.94 < coverage("normal", seeds) < 0.96
    for name in ("normal", "uniform"):
        assert 0.93 < coverage(name, seeds, difference=True) < 0.97
    assert (0.92 if seeds == 3 else 0.93) < coverage("uniform", seeds) < 0.97


@pytest.mark.parametrize(("seeds", "most"), [(3, 0.78), (5, 0.86)])
def test_the_percentile_bootstrap_does_not(seeds, most):
    for name in ("normal", "uniform"):
        assert coverage(name, seeds, percentile_bootstrap) < most


@pytest.mark.parametrize("difference", [False, True])
@pytest.mark.parametrize("name", VALUES)
def test_the_coverage_that_is_disclosed_is_the_one_found(name, difference):
    told = " ".join(inspect.getdoc(paired if difference else over_seeds).split())
    [percent] = re.findall(rf"(?<!-){re.escape(name)} (\d+), (\d+) and (\d+) %", told)
    for seeds, expected in zip(SEEDS, map(int, percent)):
        found = coverage(name, seeds, difference=difference)
        assert 100 * found == pytest.approx(expected, abs=0.8)


# --- several comparisons ----------------------------------------------------------------------


def test_holm_by_hand():
    assert np.allclose(statistics.holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
    assert np.allclose(statistics.holm([0.5, 0.9]), [1, 1]) and len(statistics.holm([])) == 0
    for bad in ([0.5, float("nan")], [1.5], [[0.1]]):
        with pytest.raises(ValueError, match="p-values"):
            statistics.holm(bad)
