"""Chapter 4: from runs to the measures of its claims, one function a claim.

looked: runs of `interpreted`.  asked: chapter 3's runs by its names of questions.  A data set that
stands for another counts where that other was not run.
"""

from collections.abc import Callable, Mapping

from chapters.interpretability.reading import (
    clearly_less_overlap,
    less_overlap,
    measured,
    most_with_two,
    per_seed,
    rank_by_seed,
    working_ranks,
)
from chapters.network_inversion.reading import judged_on, over_cosine
from harness.results import Result, Runs

Evidence = dict[str, dict[str, list[float]]]  # {data set: {measure: one value a seed}}


def I12(looked: Runs) -> Evidence:
    """Inverted images that keep their class on the plane of their two principal components."""
    return _by_title(
        looked, lambda d: {"region_agreement": per_seed(looked, "inverted_agreement", d)}
    )


def I13(asked: Mapping[str, Runs]) -> Evidence:
    """Classes with two clusters, at the weight where most have two."""
    swept = over_cosine(asked)
    return _by_title(measured(swept), lambda d: {"classes_with_two": most_with_two(swept, d)[1]})


def I14(asked: Mapping[str, Runs]) -> Evidence:
    """Rank correlation of the cosine weight with the number of clusters."""
    swept = over_cosine(asked)
    return _by_title(measured(swept), lambda d: {"rho_clusters": rank_by_seed(swept, d)})


def I14_working(asked: Mapping[str, Runs]) -> Evidence:
    """The same over the weights at which no generator falls below 95 %."""
    return _by_title(
        measured(over_cosine(asked)), lambda d: {"rho_clusters": working_ranks(asked, d)}
    )


def I15(looked: Runs) -> Evidence:
    """Classes whose units differ by more than the interval, and a detector made of units."""
    return _by_title(
        looked,
        lambda d: {
            "classes_with_clearly_less_overlap": clearly_less_overlap(looked, d),
            "detector_auroc": per_seed(looked, "auroc_units", d),
        },
    )


def I15_counted(looked: Runs) -> Evidence:
    """The same, where a class counts as soon as its overlap is smaller."""

    def by_seed(result: Result) -> int:
        return result.parameters["seed"]

    return _by_title(
        looked,
        lambda d: {
            "classes_with_less_overlap": [
                less_overlap(result) for result in sorted(looked.where(dataset=d), key=by_seed)
            ],
            "detector_auroc": per_seed(looked, "auroc_units", d),
        },
    )


def I16(looked: Runs) -> Evidence:
    """How often a linear probe on the units names the generator."""
    probed = looked.filter(lambda result: "probe_codes" in result.scalars)
    return _by_title(probed, lambda d: {"probe_accuracy": per_seed(probed, "probe_codes", d)})


def _by_title(runs: Runs, on: Callable[[str], dict[str, list[float]]]) -> Evidence:
    """{title: measures of that data set}, for those that the runs have and that are judged."""
    return {runs.title(d): on(d) for d in judged_on(runs.of("dataset"))}
