"""Chapter 6: from runs to values by seed that its figures, claims and sentences share."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from chapters.network_inversion.reading import judged_on
from chapters.training_like.design import FULL, INVERSION, RANKED
from harness.results import Result, Runs
from harness.statistics import Interval, lowest, over_seeds

Asked = Mapping[str, Runs]  # by design's names of questions

PAPER_SIZES = {  # of the papers' figures
    "mnist": (1000, 10_000, 60_000),
    "fashion-mnist": (1000, 10_000, 60_000),
    "fashion-mnist-900": (1000, 10_000, 60_000),
    "svhn": (1000, 5000, 10_000),
    "coloured-digits": (1000, 5000, 10_000),
    "cifar10": (1000, 5000, 10_000),
    "cifar10-jpeg": (1000, 5000, 10_000),
}
REQUIRED = {"mnist": 0.8, "fashion-mnist": 0.8, "fashion-mnist-900": 0.8}  # agreement; else 0.5
NULLS = ("strangers", "means", "rows", "span")
SIGNALS = {  # of the premises: how they are called
    "confidence": "confidence",
    "output_gradient": "gradient of the output",
    "probability_gradient": "gradient of the probability",
    "loss_gradient": "gradient of the loss",
    "weight_gradient": "gradient by the weights",
}


# --- values by seed -----------------------------------------------------------------------------


def measured(runs: Runs) -> Runs:
    """Those whose generator did not diverge."""
    return runs.filter(lambda result: "kid" in result.scalars)


def datasets(asked: Asked) -> list[str]:
    """Those of any question, in the order of the first that has them."""
    return list(dict.fromkeys(d for runs in asked.values() for d in runs.of("dataset")))


def judged(runs: Runs) -> list[str]:
    """Data sets whose runs count for a verdict."""
    return judged_on(runs.of("dataset"))


def per_seed(
    runs: Runs, measure: str | Callable[[Result], float], dataset: str, **where: object
) -> pd.Series:
    """One value a seed, the mean over its generators and halves; seeds without it are left out.

    measure: the name of a scalar, or a function of a result.
    """
    found: dict[int, list[float]] = {}
    for result in runs.where(dataset=dataset, **where):
        if callable(measure):
            value = measure(result)
        else:
            value = result.scalars.get(measure, np.nan)
        found.setdefault(result.parameters["seed"], []).append(float(value))
    means = {seed: np.mean(values) for seed, values in found.items()}
    return pd.Series(means, dtype=float).sort_index().dropna()


def mean(runs: Runs, measure: str, dataset: str, **where: object) -> float:
    """Mean over the seeds; NaN where there is none."""
    return float(per_seed(runs, measure, dataset, **where).mean())


def gap(first: Runs, second: Runs, measure: str, dataset: str) -> pd.Series:
    """first − second by seed, on the seeds that both have."""
    values = [per_seed(runs, measure, dataset) for runs in (first, second)]
    return (values[0] - values[1]).dropna()


def everywhere(gaps: Mapping[str, pd.Series]) -> Interval:
    """Of {data set: differences by seed} the interval that lies lowest; none carries nothing."""
    return lowest([over_seeds(values) for values in gaps.values()])


def spread(runs: Runs, measure: str, form: str) -> str:
    """The lowest and the highest mean of a data set, in words: "0.73 to 0.99"."""
    means = [mean(runs, measure, d) for d in runs.of("dataset")]
    means = [value for value in means if np.isfinite(value)]
    ends = [format(end, form) for end in (min(means), max(means))] if means else ["–"]
    return " to ".join(dict.fromkeys(ends))


# --- likeness -----------------------------------------------------------------------------------


def larger_kid(asked: Asked, name: str) -> dict[str, pd.Series]:
    """{data set: KID of a question − KID with all terms}, by seed."""
    full = measured(asked[FULL])
    return {d: gap(measured(asked[name]), full, "kid", d) for d in full.of("dataset")}


def more_agreement(asked: Asked, name: str = INVERSION) -> dict[str, pd.Series]:
    """{data set: agreement of the oracle with all terms − with the loss `name`}, by seed."""
    full = measured(asked[FULL])
    return {d: gap(full, measured(asked[name]), "oracle_accuracy", d) for d in full.of("dataset")}


def required(dataset: str) -> float:
    """Agreement of an independent classifier that I25 asks for."""
    return REQUIRED.get(dataset, 0.5)


# --- sizes --------------------------------------------------------------------------------------


def sizes_of(by_size: Runs, dataset: str) -> list[int]:
    return sorted({r.parameters["n"] for r in by_size.where(dataset=dataset)})


def as_in_the_paper(by_size: Runs, dataset: str) -> bool:
    """Whether the numbers of training images are the paper's."""
    return tuple(sizes_of(by_size, dataset)) == PAPER_SIZES.get(dataset)


def worse_with_size(by_size: Runs, dataset: str) -> dict[str, list[float]]:
    """Differences by seed between neighbouring sizes, signed so that "worse" is above 0."""
    own = measured(by_size)
    sizes = sizes_of(own, dataset)
    if len(sizes) != 3:
        return {}
    steps = {"small_to_middle": sizes[:2], "middle_to_large": sizes[1:]}
    signs = {"kid": ("kid_rises", 1), "oracle_accuracy": ("oracle_falls", -1),
             "auroc": ("calibrated_auroc_falls", -1)}  # fmt: skip
    found = {}
    for measure, (name, sign) in signs.items():
        for step, (fewer, more) in steps.items():
            a, b = (per_seed(own, measure, dataset, n=n) for n in (fewer, more))
            found[f"{name}_{step}"] = list(sign * (b - a).dropna())
    return found


# --- single images ------------------------------------------------------------------------------


def strongest_null(runs: Runs, measure: str, dataset: str) -> str:
    """The null that reaches most, in mean over the seeds."""
    own = runs.where(dataset=dataset)
    reached = {
        null: mean(own, f"{null}_{measure}", dataset)
        for null in NULLS
        if any(f"{null}_{measure}" in result.scalars for result in own)
    }
    return max(reached, key=reached.get)


def over_null(runs: Runs, measure: str, dataset: str) -> pd.Series:
    """The attack's value minus that of the strongest null, by seed."""
    null = strongest_null(runs, measure, dataset)
    own, of_null = (per_seed(runs, name, dataset) for name in (measure, f"{null}_{measure}"))
    return (own - of_null).dropna()


def own_half(asked: Asked, dataset: str) -> pd.Series:
    """Share of outputs nearer to the half that their classifier saw, mean of both halves."""
    halves = [
        per_seed(measured(asked[name]), "own_half_share", dataset)
        for name in ("few, all nine terms", "few, other half")
    ]
    return ((halves[0] + halves[1]) / 2).dropna()


# --- classifiers --------------------------------------------------------------------------------


def capacity(result: Result) -> float:
    """Parameters over pixels of the training set."""
    return result["parameters"] / result["training_pixels"]


def rank_over_widths(by_width: Runs, measure: str, sign: int = 1) -> list[float]:
    """By seed, the rank correlation of a measure, times sign, with the capacity."""
    found = []
    for seed in by_width.of("seed"):
        own = list(measured(by_width).where(seed=seed))
        if len(own) > 2:
            pairs = [(capacity(r), sign * r[measure]) for r in own]
            found.append(float(spearmanr(*zip(*pairs)).statistic))
    return found


def as_accurate(first: Runs, second: Runs, dataset: str, within: float = 0.02) -> bool:
    """Whether two kinds of classifier err on about as many held-out images, in mean."""
    a, b = (mean(runs, "held_out_accuracy", dataset) for runs in (first, second))
    return bool(abs(a - b) <= within)


def ratio(premises: Runs, signal: str, dataset: str, over: str, under: str) -> list[float]:
    """By seed, the median of one kind of image over that of another."""

    def of(result: Result) -> float:
        low = result[f"{signal}_{under}_median"]
        return result[f"{signal}_{over}_median"] / low if low > 0 else np.nan

    return list(per_seed(premises, of, dataset))


# --- tables -------------------------------------------------------------------------------------


def by_class(asked: Asked) -> pd.DataFrame:
    """Agreement of the oracle with each label, mean over the seeds, one column a data set."""
    full = measured(asked[FULL])
    found = {
        full.title(d): np.mean([r["oracle_by_class"] for r in full.where(dataset=d)], axis=0)
        for d in full.of("dataset")
    }
    frame = pd.DataFrame(found)
    frame.insert(0, "class", range(len(frame)))
    return frame if found else pd.DataFrame()


def in_numbers(asked: Asked, names: Sequence[str] = RANKED) -> pd.DataFrame:
    """Means over the seeds, a row a data set and loss."""
    return pd.DataFrame(
        [
            {
                "data set": runs.title(d),
                "loss": name,
                "KID": mean(runs, "kid", d),
                "oracle": mean(runs, "oracle_accuracy", d),
                "second oracle": mean(runs, "second_oracle_accuracy", d),
                "diversity": mean(runs, "diversity", d),
                "runs": len(runs.where(dataset=d)),
            }
            for d in datasets(asked)
            for name in names
            for runs in [measured(asked[name])]
            if runs.where(dataset=d)
        ]
    )
