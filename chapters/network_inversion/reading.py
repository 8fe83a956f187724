"""Chapter 3: from runs to values by seed that its figures, claims and sentences share."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr

from chapters.network_inversion.design import ALL_TERMS, FOUR
from harness.results import Result, Runs
from harness.statistics import Interval, paired_bootstrap

Asked = Mapping[str, Runs]  # the runs of every question of `design.questions`
CONVERGED = 0.95  # inversion accuracy that the papers train to


# --- values by seed -----------------------------------------------------------------------------


def measured(runs: Runs) -> Runs:
    """Those that have measures: the generator did not diverge, and some class obeyed it."""
    return runs.filter(lambda result: "inversion_accuracy" in result.scalars)


def datasets(asked: Asked) -> list[str]:
    """The data sets on which the chapter's main setting was run."""
    return measured(asked["vector-matrix"]).of("dataset")


def per_seed(runs: Runs, measure: str, dataset: str) -> pd.Series:
    """One measure on one data set, by seed in order; seeds without it are left out."""
    found = {
        r.parameters["seed"]: float(r[measure])
        for r in measured(runs).where(dataset=dataset)
        if measure in r.scalars
    }
    return pd.Series(found, dtype=float).sort_index().dropna()


def mean(runs: Runs, measure: str, dataset: str) -> float:
    """Mean over the seeds; NaN where there is none."""
    return float(per_seed(runs, measure, dataset).mean())


def gap(asked: Asked, first: str, second: str, measure: str, dataset: str) -> list[float]:
    """first − second, on the seeds that both questions have."""
    difference = per_seed(asked[first], measure, dataset) - per_seed(
        asked[second], measure, dataset
    )
    return difference.dropna().tolist()


def above_best(asked: Asked, name: str, others: Sequence[str], dataset: str) -> list[float]:
    """Diversity within a class, told by `name`, minus the best of the others in each seed."""
    wide = pd.DataFrame(
        {other: per_seed(asked[other], "intra", dataset) for other in (name, *others)}
    ).dropna()
    return (wide[name] - wide[list(others)].max(axis=1)).tolist()


def matched(asked: Asked, names: Iterable[str], dataset: str) -> list[str]:
    """Ways of telling whose generators reach the papers' inversion accuracy in every seed."""
    found = {name: per_seed(asked[name], "inversion_accuracy", dataset) for name in names}
    return [name for name, values in found.items() if len(values) and values.min() >= CONVERGED]


def rank_by_seed(runs: Runs, x: str, y: str, dataset: str) -> list[float]:
    """Rank correlation of a parameter with a measure, in each seed; 0 where y never changes.

    A seed counts that has every value of x that was asked for.
    """
    wanted = {r.parameters[x] for r in runs.all}
    own = measured(runs).where(dataset=dataset)
    found = []
    for seed in sorted(own.of("seed")):
        rows = list(own.where(seed=seed))
        xs, ys = [r.parameters[x] for r in rows], [r[y] for r in rows]
        if set(xs) == wanted:
            found.append(float(spearmanr(xs, ys).statistic) if len(set(ys)) > 1 else 0.0)
    return found


def steepest_step(result: Result) -> float:
    """The steepest rise between two observations over the mean rise, until the highest accuracy.

    The first measure of I07; `jump` replaced it, because the noise of 200 images counts as a
    slope where observations lie one step apart.
    """
    step, accuracy = np.asarray(result["at_step"]), np.asarray(result["at_accuracy"])
    top = int(accuracy.argmax())
    rise = accuracy[top] - accuracy[0]
    if not top or rise <= 0:
        return 1.0
    slopes = np.diff(accuracy[: top + 1]) / np.diff(step[: top + 1])
    return float(slopes.max() / (rise / (step[top] - step[0])))


def sure(values: Sequence[float]) -> Interval:
    """Mean over seeds with its 95 % interval; below two seeds that is NaN and carries nothing."""
    if len(values) < 2:
        return Interval(values[0] if len(values) else float("nan"), float("nan"), float("nan"))
    return paired_bootstrap(values, [0.0] * len(values))


# --- tables -------------------------------------------------------------------------------------


def predicted_confidence(result: Result) -> float:
    """(α max P + β) / (α + β): the largest entry of the output at which KL and CE balance."""
    alpha, beta = result.parameters["kl"], result.parameters["ce"]
    return (alpha * result["asked_confidence"] + beta) / (alpha + beta)


def confidences(asked: Asked) -> pd.DataFrame:
    """Predicted and measured confidence, one row a run, wherever α, β or the vectors vary."""
    names = ("by kl", ALL_TERMS, "no KL divergence", "no cross-entropy", "vector-matrix, hot")
    found = {
        r.path or id(r): {
            "data set": asked[name].title(r.parameters["dataset"]),
            "seed": r.parameters["seed"],
            "vector": r.parameters["vector"],
            "kl": r.parameters["kl"],
            "ce": r.parameters["ce"],
            "predicted": predicted_confidence(r),
            "confidence": r["confidence"],
        }
        for name in names
        for r in measured(asked[name])
    }
    return pd.DataFrame(list(found.values()), columns=list(next(iter(found.values()), {})))


def along(asked: Asked, names: Sequence[str] = FOUR) -> pd.DataFrame:
    """Inversion accuracy along training: one row an observation after the first step."""
    return pd.DataFrame(
        [
            {
                "told by": name,
                "data set": asked[name].title(r.parameters["dataset"]),
                "seed": r.parameters["seed"],
                "step": step,
                "accuracy": accuracy,
            }
            for name in names
            for r in measured(asked[name])
            for step, accuracy in zip(r["at_step"], r["at_accuracy"])
            if step > 0
        ]
    )


def summary(asked: Asked, measures: Mapping[str, str], name: str = "vector-matrix") -> pd.DataFrame:
    """Means over seeds, one row a data set; measures: {column of the table: scalar}."""
    return pd.DataFrame(
        [
            {"data set": asked[name].title(d)}
            | {column: mean(asked[name], measure, d) for column, measure in measures.items()}
            for d in datasets(asked)
        ]
    )


def by_architecture(asked: Asked, measures: Mapping[str, str]) -> pd.DataFrame:
    """Means over the same seeds against each classifier, on the first data set."""
    others = measured(asked["other classifiers"])
    if not others:
        return pd.DataFrame()
    [dataset] = others.of("dataset")
    own = asked["vector-matrix"].where(dataset=dataset, seed=others.of("seed"))
    groups = {r.parameters["architecture"]: own for r in measured(own)}
    groups |= {a: others.where(architecture=a) for a in others.of("architecture")}
    return pd.DataFrame(
        [
            {"classifier": name}
            | {column: mean(runs, measure, dataset) for column, measure in measures.items()}
            for name, runs in groups.items()
        ]
    )


# --- images -------------------------------------------------------------------------------------


def real_images(examples: Runs) -> dict[str, np.ndarray]:
    """{data set: the first test image of each class [classes, c, h, w] in [0, 1]}."""
    return {r.parameters["dataset"]: r["images"] / 255 for r in examples}


def made_images(runs: Runs, dataset: str, **where: int) -> dict[int, np.ndarray]:
    """{class: its images [n, c, h, w] in [0, 1]} of the first run there; empty without one."""
    for r in runs.where(dataset=dataset, **where):
        if "images" in r.arrays:
            labels = torch.as_tensor(r["shown_labels"]).numpy()
            return {int(k): r["images"][labels == k] / 255 for k in np.unique(labels)}
    return {}
