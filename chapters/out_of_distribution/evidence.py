"""Chapter 5: from runs to the measures of its claims, one function a claim.

trained: runs of `refusing`. A part is a pair of known and foreign images.
"""

from collections.abc import Callable, Sequence

from chapters.out_of_distribution.design import INVERTED, NOISE, PLAIN, UNTRAINED
from chapters.out_of_distribution.reading import (
    Pair,
    difference,
    gain,
    judged_pairs,
    of,
    over_detectors,
    per_seed,
    rank_by_seed,
    title,
)
from harness.results import Runs

Evidence = dict[str, dict[str, Sequence[float]]]  # {pair: {measure: one value a seed}}


def I17(trained: Runs) -> Evidence:
    """The protocol: garbage grows evenly, weights are inverse frequencies, nothing foreign."""
    names = ("growth_deviation", "class_weight_deviation", "foreign_images_trained_on")
    return _by_pair(trained, lambda pair: {name: _own(trained, pair, name) for name in names})


def I18(trained: Runs) -> Evidence:
    """Share of foreign images in the garbage class."""
    return _by_pair(trained, lambda pair: {"garbage_rate": _own(trained, pair, "refused")})


I18_nine_tenths = I18


def I19(trained: Runs) -> Evidence:
    """Least confident correct known image minus most confident accepted foreign one."""
    return _by_pair(trained, lambda pair: {"confidence_gap": _own(trained, pair, "gap")})


def I19_all(trained: Runs) -> Evidence:
    """The same with known images that are classified wrongly."""
    return _by_pair(trained, lambda pair: {"confidence_gap": _own(trained, pair, "gap_all")})


def I19_trimmed(trained: Runs) -> Evidence:
    """The same without the hundredth of either kind that lies at the border."""
    return _by_pair(trained, lambda pair: {"confidence_gap": _own(trained, pair, "gap_1")})


def I20(trained: Runs) -> Evidence:
    """What inversion adds to noise alone and to a plain twin, and what accuracy it costs."""
    return _by_pair(
        trained,
        lambda pair: {
            "auroc_minus_noise_only": gain(trained, NOISE)(pair),
            "auroc_minus_plain": gain(trained, PLAIN)(pair),
            "accuracy_drop": difference(trained, pair, (PLAIN, "accuracy"), (INVERTED, "accuracy")),
        },
    )


def I20_untrained(trained: Runs) -> Evidence:
    """What it adds to images of a generator that nobody trained."""
    return _by_pair(trained, lambda pair: {"auroc_minus_untrained": gain(trained, UNTRAINED)(pair)})


def I20_detectors(trained: Runs) -> Evidence:
    """What it adds to the best detector on a plain twin, in each seed."""
    return _by_pair(
        trained, lambda pair: {"auroc_minus_best_detector": over_detectors(trained, pair)}
    )


def I21(trained: Runs) -> Evidence:
    """Rank correlation of the round and the AUROC."""
    return _by_pair(
        trained, lambda pair: {"rank_correlation_round_auroc": rank_by_seed(trained, pair)}
    )


def _own(trained: Runs, pair: Pair, measure: str) -> list[float]:
    return per_seed(trained, pair, INVERTED, measure).tolist()


def _by_pair(trained: Runs, on: Callable[[Pair], dict[str, Sequence[float]]]) -> Evidence:
    """{title of the pair: its measures}, for pairs on which the inversion arm was run."""
    return {
        title(trained, pair): on(pair)
        for pair in judged_pairs(trained)
        if of(trained, pair, INVERTED)
    }
