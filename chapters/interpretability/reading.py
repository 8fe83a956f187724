"""Chapter 4: from runs to values by seed that its figures, claims and sentences share."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from chapters.network_inversion.reading import over_cosine, working
from harness.results import Result, Runs
from harness.statistics import Interval, lowest, over_seeds

Reduce = Callable[[Any], float]

# Ways of telling the generator its label, by chapter 3's names, with and without a coin.
COIN = {
    "matrix": "matrix, row or column",
    "vector-matrix": "vector-matrix, row or column",
}
# Of chapter 3; the runs of the first two are those over the weight of the cosine term.
ASKED = ("by cosine", "too much cosine", *(name for pair in COIN.items() for name in pair))
SCORES = {  # what tells inverted from test images: the measure
    "length of the feature vector": "auroc_norm",
    "low confidence": "auroc_confidence",
    "units that fire": "auroc_units",
    "left unexplained": "auroc_reconstruction",
    "at equal length: units that fire": "auroc_units_direction",
    "at equal length: left unexplained": "auroc_reconstruction_direction",
}
CLUSTERS = {  # where clusters are counted: the measure
    "in the features": "clusters_in_features",
    "map, perplexity 5": "clusters_in_tsne_5",
    "map, perplexity 30": "clusters_in_tsne_30",
    "map, perplexity 100": "clusters_in_tsne_100",
}
PROBES = {"from the units": "probe_codes", "from the features": "probe_features"}

# --- values by seed -----------------------------------------------------------------------------


def measured(runs: Runs) -> Runs:
    """Those of chapter 3 whose generator did not diverge, and was obeyed by some class."""
    return runs.filter(lambda result: "clusters" in result.scalars)


def per_seed(runs: Runs, measure: str, dataset: str, reduce: Reduce = float) -> list[float]:
    """One measure on one data set, by seed in order; reduce: of what a run has, to a number."""
    own = sorted(runs.where(dataset=dataset), key=lambda result: result.parameters["seed"])
    return [reduce(result[measure]) for result in own]


def mean(runs: Runs, measure: str, dataset: str, reduce: Reduce = float) -> float:
    """Mean over the seeds; NaN where there is none."""
    return _mean(per_seed(runs, measure, dataset, reduce))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _by_seed(runs: Runs, dataset: str, measure: str, reduce: Reduce) -> pd.Series:
    own = runs.where(dataset=dataset)
    return pd.Series({r.parameters["seed"]: reduce(r[measure]) for r in own}, dtype=float)


def spread(runs: Runs, measure: str, form: str, reduce: Reduce = float) -> str:
    """The lowest and the highest mean of a data set, in words: "0.73 to 0.99"."""
    means = [mean(runs, measure, d, reduce) for d in runs.of("dataset")]
    return _from_to([value for value in means if np.isfinite(value)], form)


def _from_to(values: Sequence[float], form: str) -> str:
    shown = [format(end, form) for end in (min(values), max(values))] if values else ["–"]
    return " to ".join(dict.fromkeys(shown))


def ends(runs: Runs, measure: str, form: str, reduce: Reduce = float) -> str:
    """The lowest and the highest run of all data sets, in words."""
    return _from_to([reduce(result[measure]) for result in runs], form)


def _lowest(gaps: Iterable[pd.Series]) -> Interval:
    """The interval of the mean gap that lies lowest; without any, one that carries nothing.

    A data set without a pair of values carries nothing either.
    """
    return lowest([over_seeds(gap) for gap in gaps])


def above(looked: Runs, measure: str, level: float, reduce: Reduce = float) -> Interval:
    """Of measure − level over seeds, on the data set where its interval lies lowest."""
    return _lowest(_by_seed(looked, d, measure, reduce) - level for d in looked.of("dataset"))


def below(looked: Runs, measure: str, level: float, reduce: Reduce = float) -> Interval:
    """The same of level − measure."""
    return _lowest(level - _by_seed(looked, d, measure, reduce) for d in looked.of("dataset"))


def above_everywhere(looked: Runs, first: str, second: str, reduce: Reduce = float) -> Interval:
    """Of first − second over seeds, on the data set where its interval lies lowest.

    What it carries holds on every data set.
    """
    return _lowest(
        _by_seed(looked, d, first, reduce) - _by_seed(looked, d, second, reduce)
        for d in looked.of("dataset")
    )


def more_with_two(tossed: Runs, plain: Runs) -> Interval:
    """The same for classes with two clusters, on the seeds that both have."""
    tossed, plain = measured(tossed), measured(plain)
    return _lowest(
        (
            _by_seed(tossed, d, "clusters", with_two) - _by_seed(plain, d, "clusters", with_two)
        ).dropna()
        for d in {*tossed.of("dataset"), *plain.of("dataset")}
    )


# --- clusters -----------------------------------------------------------------------------------


def with_two(counts: Sequence[int]) -> int:
    """Classes that form exactly two clusters."""
    return sum(count == 2 for count in counts)


def average(counts: Sequence[int]) -> float:
    """Mean over the classes with enough images to count."""
    return _mean([count for count in counts if count])


def most_with_two(swept: Runs, dataset: str) -> tuple[float, list[float]]:
    """The weight of the cosine term at which most classes have two clusters; how many, by seed."""
    own = measured(swept).where(dataset=dataset)
    found = {
        weight: per_seed(own.where(cosine=weight), "clusters", dataset, with_two)
        for weight in sorted(own.of("cosine"))
    }
    best = max(found, key=lambda weight: _mean(found[weight]))
    return best, found[best]


def rank_by_seed(swept: Runs, dataset: str) -> list[float]:
    """Rank correlation of the cosine weight with the number of clusters, in each seed.

    0 where that number never changes; a seed counts that has a number for every weight, so not
    one with a generator that no class obeys often enough to count its clusters.
    """
    wanted = {r.parameters["cosine"] for r in swept.all}
    counted = measured(swept).filter(lambda result: any(result["clusters"]))
    own = counted.where(dataset=dataset)
    found = []
    for seed in sorted(own.of("seed")):
        runs = own.where(seed=seed)
        weights = [result.parameters["cosine"] for result in runs]
        counts = [average(result["clusters"]) for result in runs]
        if set(weights) == wanted:
            same = len(set(counts)) == 1
            found.append(0.0 if same else float(spearmanr(weights, counts).statistic))
    return found


def working_ranks(asked: Mapping[str, Runs], dataset: str) -> list[float]:
    """The same over the weights at which no generator of this data set falls below 95 %."""
    return rank_by_seed(working(asked, dataset), dataset)


def ranks(asked: Mapping[str, Runs], *, of_working: bool = False) -> str:
    """The mean rank correlation on each data set, over all weights or those that work, in words."""
    swept = over_cosine(asked)
    found = {
        d: working_ranks(asked, d) if of_working else rank_by_seed(swept, d)
        for d in measured(swept).of("dataset")
    }
    told = [f"{_mean(own):.2f} ({swept.title(d)})" for d, own in found.items() if own]
    return ", ".join(told) or "–"


def with_coin(asked: Mapping[str, Runs]) -> str:
    """In words, how many of ten classes told by the matrix a coin gives two clusters."""
    return _counted(asked[COIN["matrix"]])


def without_coin(asked: Mapping[str, Runs]) -> str:
    """The same with a hot row and column."""
    return _counted(asked["matrix"])


def _counted(runs: Runs) -> str:
    """Mean over data sets and seeds."""
    found = [with_two(result["clusters"]) for result in measured(runs)]
    return f"{_mean(found):.1f}" if found else "–"


# --- units --------------------------------------------------------------------------------------


def less_overlap(result: Result) -> int:
    """Classes whose inverted images share fewer units with training images than test images do."""
    return sum(a < b for a, b in zip(result["overlap_inverted"], result["overlap_test"]))


def clearly_less_overlap(looked: Runs, dataset: str) -> list[float]:
    """Classes in which that difference is clear: its interval over the seeds lies above 0.

    One number for the data set, repeated for each seed; none of fewer than two seeds.
    """
    gaps = [
        np.subtract(result["overlap_test"], result["overlap_inverted"])
        for result in looked.where(dataset=dataset)
    ]
    clear = sum(over_seeds(values).low > 0 for values in zip(*gaps))
    return [float(clear)] * len(gaps) if len(gaps) > 1 else []


def preferred(shares: Sequence[float]) -> float:
    """Mean over the portrayed units that prefer inverted images, which stand last."""
    return float(np.mean(shares[len(shares) // 2 :]))


# --- tables -------------------------------------------------------------------------------------


def by_dataset(runs: Runs, columns: Mapping[str, str], reduce: Reduce = float) -> pd.DataFrame:
    """Means over seeds, a row a data set; columns: {heading: measure}."""
    return pd.DataFrame(
        [
            {"data set": runs.title(d)}
            | {heading: mean(runs, measure, d, reduce) for heading, measure in columns.items()}
            for d in runs.of("dataset")
        ]
    )


def lost_on_planes(looked: Runs) -> pd.DataFrame:
    """What a plane holds and keeps, a row a data set and a kind of features."""
    return pd.DataFrame(
        [
            {
                "data set": looked.title(d),
                "features of": f"{kind} images",
                "variance in the plane": mean(looked, f"{kind}_explained", d, sum),
                "keep their class": mean(looked, f"{kind}_agreement", d),
            }
            for d in looked.of("dataset")
            for kind in ("inverted", "training")
        ]
    )
