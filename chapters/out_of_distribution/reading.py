"""Chapter 5: from runs to values by seed that its figures, claims and sentences share.

A pair is (known data set, foreign data set), as the runs call them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
from scipy.stats import spearmanr

from chapters.network_inversion.reading import judged_on
from chapters.out_of_distribution.design import (
    ARMS,
    EXPOSED,
    GARBAGE,
    INVERTED,
    NOISE,
    PLAIN,
    UNTRAINED,
)
from harness.results import Result, Runs
from harness.statistics import Interval, lowest, over_seeds

Pair = tuple[str, str]
Reduce = Callable[[Any], float]

DETECTORS = {  # on the plain twin: the measure's ending
    "energy": "energy",
    "ODIN": "odin",
    "nearest neighbours": "knn",
    "length of the feature vector": "norm",
}
CONTROLS = {
    "the plain classifier": PLAIN,
    "noise alone": NOISE,
    "an untrained generator": UNTRAINED,
    "outlier exposure": EXPOSED,
}
BEST = "the best of energy, ODIN and neighbours on the plain classifier"
NAMED = ("energy", "odin", "knn")  # those that the ledger names as controls
FEWEST_ROUNDS = 10  # of fewer the ledger takes no rank correlation


# --- values by seed -----------------------------------------------------------------------------


def pairs(trained: Runs) -> list[Pair]:
    """Those that were run, in their order."""
    return list(dict.fromkeys((r.parameters["dataset"], r.parameters["foreign"]) for r in trained))


def judged_pairs(trained: Runs) -> list[Pair]:
    """Without those of a set that stands for one that was run itself."""
    names = judged_on([name for pair in pairs(trained) for name in pair])
    return [pair for pair in pairs(trained) if set(pair) <= set(names)]


def title(trained: Runs, pair: Pair) -> str:
    """`MNIST → Fashion-MNIST (900)`: what is known, what is foreign."""
    return " → ".join(trained.title(name) for name in pair)


def of(trained: Runs, pair: Pair, arm: str) -> Runs:
    return trained.where(dataset=pair[0], foreign=pair[1], arm=arm)


def per_seed(
    trained: Runs, pair: Pair, arm: str, measure: str, reduce: Reduce = float
) -> pd.Series:
    """One measure of an arm on a pair, by seed in order; seeds without it are left out."""
    found = {
        r.parameters["seed"]: reduce(r[measure])
        for r in of(trained, pair, arm)
        if measure in r.scalars
    }
    return pd.Series(found, dtype=float).sort_index()


def mean(trained: Runs, pair: Pair, arm: str, measure: str, reduce: Reduce = float) -> float:
    """Mean over the seeds; NaN where there is none."""
    return float(per_seed(trained, pair, arm, measure, reduce).mean())


def difference(
    trained: Runs, pair: Pair, first: tuple[str, str], second: tuple[str, str]
) -> list[float]:
    """First − second (arm, measure) by seed, on the seeds that both have."""
    gap = per_seed(trained, pair, *first) - per_seed(trained, pair, *second)
    return gap.dropna().tolist()


def best_detector(trained: Runs, pair: Pair) -> pd.Series:
    """AUROC of the best of the named detectors on the plain twin, in each seed."""
    found = [per_seed(trained, pair, PLAIN, f"auroc_{name}") for name in NAMED]
    return pd.concat(found, axis=1).max(axis=1)


def over_detectors(trained: Runs, pair: Pair) -> list[float]:
    """AUROC of the inversion arm minus that of the best detector, by seed."""
    own = per_seed(trained, pair, INVERTED, "auroc")
    return (own - best_detector(trained, pair)).dropna().tolist()


def rank_by_seed(trained: Runs, pair: Pair, arm: str = INVERTED) -> list[float]:
    """Rank correlation of the round and the AUROC, in each seed; 0 where that never changes.

    None of runs with fewer rounds than the ledger asks for.
    """
    found = []
    own = sorted(of(trained, pair, arm), key=lambda result: result.parameters["seed"])
    for values in (result["auroc_by_round"] for result in own):
        if len(values) >= FEWEST_ROUNDS:
            same = len(set(values)) == 1
            rank = 0.0 if same else spearmanr(range(len(values)), values).statistic
            found.append(float(rank))
    return found


# --- intervals that sentences rest on -----------------------------------------------------------


def everywhere(trained: Runs, values: Callable[[Pair], Sequence[float]]) -> Interval:
    """The interval over seeds on the pair where it lies lowest: what it carries holds on all."""
    return lowest([over_seeds(values(pair)) for pair in judged_pairs(trained)])


def above(trained: Runs, values: Callable[[Pair], Sequence[float]]) -> list[Pair]:
    """Pairs on which the interval over seeds lies above 0."""
    return [pair for pair in judged_pairs(trained) if over_seeds(values(pair)).low > 0]


def below(trained: Runs, values: Callable[[Pair], Sequence[float]]) -> list[Pair]:
    """Pairs on which it lies below 0."""
    return [pair for pair in judged_pairs(trained) if over_seeds(values(pair)).high < 0]


def gain(trained: Runs, other: str, measure: str = "auroc") -> Callable[[Pair], list[float]]:
    """By pair: the inversion arm minus another, by seed."""
    return lambda pair: difference(trained, pair, (INVERTED, measure), (other, measure))


Gain = Callable[[Pair], list[float]]


def gains(trained: Runs) -> dict[str, Gain]:
    """{control: by pair, the AUROC of the inversion arm minus that of the control, by seed}."""
    named = {name: gain(trained, arm) for name, arm in CONTROLS.items()}
    return {**named, BEST: lambda pair: over_detectors(trained, pair)}


def scored_by_garbage(trained: Runs) -> Gain:
    """By pair: AUROC by 1 − P(garbage) minus AUROC by confidence, of the inversion arm."""
    return lambda pair: difference(trained, pair, (INVERTED, "auroc_garbage"), (INVERTED, "auroc"))


# --- runs that are drawn ------------------------------------------------------------------------


def first(trained: Runs, pair: Pair, arm: str) -> Result | None:
    """The run of the lowest seed."""
    own = of(trained, pair, arm)
    return min(own, key=lambda result: result.parameters["seed"]) if own else None


def last_complaint(trained: Runs) -> str:
    """How many rounds ended with a generator that did not converge, or collapsed."""
    told = [text for r in trained for text in r.scalars.get("failures_by_round", [])]
    return f"{sum(map(bool, told))} of {len(told)}"


# --- tables -------------------------------------------------------------------------------------

COLUMNS = {
    "refused": "refused",
    "of known": "refused_known",
    "accuracy": "accuracy",
    "AUROC": "auroc",
    "AUPR": "aupr",
    "FPR95": "fpr95",
    "by P(garbage)": "auroc_garbage",
}
GAPS = {
    "gap": "gap",
    "0.1 % off": "gap_01",
    "1 % off": "gap_1",
    "all": "gap_all",
    "least known": "least_confident_known",
    "most foreign": "most_confident_accepted",
}


def by_arm(trained: Runs, columns: dict[str, str], arms: Sequence[str] = (*ARMS,)) -> pd.DataFrame:
    """Means over seeds, a row a pair and an arm; columns: {heading: measure}."""
    return pd.DataFrame(
        [
            {"known → foreign": title(trained, pair), "arm": arm}
            | {heading: mean(trained, pair, arm, own) for heading, own in columns.items()}
            for pair in pairs(trained)
            for arm in arms
            if of(trained, pair, arm)
        ]
    )


def by_detector(trained: Runs) -> pd.DataFrame:
    """The plain twin's detectors: AUROC, AUPR and FPR at 95 % TPR, a row a pair and a detector."""
    endings = {"largest probability": ""} | {
        name: f"_{ending}" for name, ending in DETECTORS.items()
    }
    return pd.DataFrame(
        [
            {"known → foreign": title(trained, pair), "detector": name}
            | {
                heading: mean(trained, pair, PLAIN, f"{measure}{ending}")
                for heading, measure in {"AUROC": "auroc", "AUPR": "aupr", "FPR95": "fpr95"}.items()
            }
            for pair in pairs(trained)
            if of(trained, pair, PLAIN)
            for name, ending in endings.items()
        ]
    )


def by_round(trained: Runs, measure: str) -> pd.DataFrame:
    """A row a pair, an arm with garbage, a seed and a round: the measure."""
    return pd.DataFrame(
        [
            {
                "pair": title(trained, pair),
                "arm": arm,
                "seed": r.parameters["seed"],
                "round": number,
                "value": value,
            }
            for pair in pairs(trained)
            for arm in GARBAGE
            for r in of(trained, pair, arm)
            for number, value in enumerate(r.scalars.get(f"{measure}_by_round", ()), start=1)
        ]
    )


def differences(trained: Runs) -> pd.DataFrame:
    """AUROC of the inversion arm minus that of each control, a row a pair and a control."""
    return pd.DataFrame(
        [
            {
                "known → foreign": title(trained, pair),
                "minus": name,
                "difference [95 % interval]": change(values(pair)),
            }
            for pair in judged_pairs(trained)
            for name, values in gains(trained).items()
            if values(pair)
        ]
    )


def change(values: Sequence[float], form: str = "+.3f") -> str:
    """The mean with its interval: `+0.02 [+0.01, +0.03]`; a dash without values."""
    interval = over_seeds(values)
    if not len(values):
        return "–"
    if not interval.known:
        return f"{interval.estimate:{form}}"
    return f"{interval.estimate:{form}} [{interval.low:{form}}, {interval.high:{form}}]"
