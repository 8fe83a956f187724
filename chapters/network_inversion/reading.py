"""Chapter 3: from runs to values by seed that its figures, claims and sentences share."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr

from chapters.network_inversion.design import ALL_TERMS, FOUR
from chapters.shared import STAND_INS
from harness.results import Result, Runs
from harness.statistics import Interval, over_seeds
from lib import data

Asked = Mapping[str, Runs]  # the runs of every question of `design.questions`
CONVERGED = 0.95  # inversion accuracy that the papers train to
WITHIN = 0.01  # between inversion accuracies that are called matched
LEAST_WEIGHTS = 3  # of fewer a rank correlation says little
AT_MOST = {"fashion-mnist-900": 300, "coloured-digits": 3000}  # half of these sets


# --- values by seed -----------------------------------------------------------------------------


def measured(runs: Runs) -> Runs:
    """Those that have measures: the generator did not diverge, and some class obeyed it."""
    return runs.filter(lambda result: "inversion_accuracy" in result.scalars)


def datasets(asked: Asked) -> list[str]:
    """The data sets on which the chapter's main setting was run."""
    return measured(asked["vector-matrix"]).of("dataset")


def judged_on(names: Sequence[str]) -> list[str]:
    """Without those that stand for one that is there itself, so that none counts twice."""
    there = {data.title(name) for name in names}
    return [name for name in names if STAND_INS.get(data.title(name)) not in there]


def in_its_place(names: Sequence[str]) -> str:
    """A sentence on the set that stands in for one that was not run; "" where none does."""
    there = {data.title(name) for name in names}
    return "".join(
        f" *{own.capitalize()}* stand in the place of {of}, which was not run, and are ours: digits "
        "of MNIST blended into photographs of CIFAR-10 (JPEG)."
        for own, of in STAND_INS.items()
        if own in there and of not in there
    )


def seen(names: Sequence[str], n: int) -> dict[str, int]:
    """{data set: training images of a classifier} where half of the set is less than n."""
    return {name: AT_MOST[name] for name in names if AT_MOST.get(name, n) < n}


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


def difference(asked: Asked, first: str, second: str, measure: str, dataset: str) -> pd.Series:
    """first − second by seed, on the seeds that both questions have."""
    found = (per_seed(asked[name], measure, dataset) for name in (first, second))
    return next(found).sub(next(found)).dropna()


def gap(asked: Asked, first: str, second: str, measure: str, dataset: str) -> list[float]:
    """The values of `difference`."""
    return difference(asked, first, second, measure, dataset).tolist()


def matched_gap(asked: Asked, first: str, second: str, measure: str, dataset: str) -> list[float]:
    """The same, and none where the inversion accuracies are not matched."""
    if not agree(asked, (first, second), dataset):
        return []
    return gap(asked, first, second, measure, dataset)


def above_best(asked: Asked, name: str, others: Sequence[str], dataset: str) -> list[float]:
    """Diversity within a class, told by `name`, minus the best of the others in each seed."""
    wide = pd.DataFrame(
        {other: per_seed(asked[other], "intra", dataset) for other in (name, *others)}
    ).dropna()
    return (wide[name] - wide[list(others)].max(axis=1)).tolist()


def accuracies(asked: Asked, names: Iterable[str], dataset: str) -> pd.DataFrame:
    """Inversion accuracy, a column a name and a row a seed that all of them have.

    0 where a generator diverged or was obeyed by no class, so that no failure is left out.
    """
    return pd.DataFrame(
        {
            name: pd.Series(
                {
                    r.parameters["seed"]: float(r.scalars.get("inversion_accuracy", 0.0))
                    for r in asked[name].where(dataset=dataset)
                },
                dtype=float,
            )
            for name in names
        }
    ).dropna()


def matched(asked: Asked, names: Iterable[str], dataset: str) -> list[str]:
    """Ways of telling whose generators reach the papers' inversion accuracy in every seed."""
    found = {name: accuracies(asked, [name], dataset)[name] for name in names}
    return [name for name, values in found.items() if len(values) and values.min() >= CONVERGED]


def accuracy_gap(asked: Asked, names: Sequence[str], dataset: str) -> list[float]:
    """The largest difference between their inversion accuracies, in each seed."""
    found = accuracies(asked, names, dataset)
    return (found.max(axis=1) - found.min(axis=1)).tolist()


def agree(asked: Asked, names: Sequence[str], dataset: str, *, at_least: float = CONVERGED) -> bool:
    """Whether inversion accuracies lie within one point of each other, and as high, everywhere."""
    gaps = accuracy_gap(asked, names, dataset)
    lowest = accuracies(asked, names, dataset).min(axis=None)
    return bool(gaps) and max(gaps) <= WITHIN + 1e-12 and bool(lowest >= at_least)


def matched_arms(asked: Asked, names: Sequence[str], dataset: str) -> list[str]:
    """These ways of telling if they match, or with the hot vector in place of the soft; or none."""
    for vector in ("vector", "vector, hot"):
        arms = [vector if name == "vector" else name for name in names]
        if agree(asked, arms, dataset):
            return arms
    return []


def doubt_over_form(asked: Asked, dataset: str) -> list[float]:
    """What doubt adds to the diversity within a class, minus what a vector for a label changes."""
    pairs = (("vector-matrix", "vector-matrix, hot"), ("vector, hot", "label"))
    if not all(agree(asked, pair, dataset) for pair in pairs):
        return []
    doubt, form = (difference(asked, *pair, "intra", dataset) for pair in pairs)
    return (doubt - form.abs()).dropna().tolist()


def orthogonality_over_cosine(asked: Asked, dataset: str) -> list[float]:
    """What the orthogonality term adds to that diversity, minus what the cosine term changes."""
    names = ("no orthogonality", "no cosine")
    if not all(agree(asked, (ALL_TERMS, name), dataset) for name in names):
        return []
    first, second = (difference(asked, ALL_TERMS, name, "intra", dataset) for name in names)
    return (first - second.abs()).dropna().tolist()


# --- the weight of the cosine term --------------------------------------------------------------


def over_cosine(asked: Asked) -> Runs:
    """Runs at every weight of the cosine term, those at which generators fail among them."""
    return asked["by cosine"] + asked["too much cosine"]


def working(asked: Asked, dataset: str) -> Runs:
    """Runs at the weights where no generator of this data set falls below the papers' accuracy.

    Of the weights that were run on all seeds; none if fewer than three are left.
    """
    swept = asked["by cosine"].where(dataset=dataset)
    failed = {
        r.parameters["cosine"]
        for r in swept
        if r.scalars.get("inversion_accuracy", 0.0) < CONVERGED
    }
    kept = sorted({r.parameters["cosine"] for r in swept.all} - failed)
    return swept.where(cosine=kept if len(kept) >= LEAST_WEIGHTS else [])


def complete(runs: Runs, x: str, dataset: str) -> dict[int, Runs]:
    """{seed: its runs} on one data set, of the seeds with every value of x that was asked for."""
    wanted = {r.parameters[x] for r in runs.all}
    own = measured(runs).where(dataset=dataset)
    by_seed = {seed: own.where(seed=seed) for seed in sorted(own.of("seed"))}
    return {seed: rows for seed, rows in by_seed.items() if set(rows.of(x)) == wanted}


def rank_by_seed(runs: Runs, x: str, y: str, dataset: str) -> list[float]:
    """Rank correlation of a parameter with a measure, in each seed; 0 where y never changes.

    A seed counts that has every value of x that was asked for.
    """
    found = []
    for rows in complete(runs, x, dataset).values():
        xs, ys = [r.parameters[x] for r in rows], rows.values(y)
        found.append(float(spearmanr(xs, ys).statistic) if len(set(ys)) > 1 else 0.0)
    return found


def lowest_accuracy(runs: Runs, x: str, dataset: str) -> list[float]:
    """The lowest inversion accuracy over all values of x, of the seeds that have them all."""
    return [
        float(min(rows.values("inversion_accuracy")))
        for rows in complete(runs, x, dataset).values()
    ]


# --- along training -----------------------------------------------------------------------------


def steepest_step(result: Result) -> float:
    """The steepest rise between two observations over the mean rise, until the highest accuracy.

    The first measure of I07, and that of its verdict. `jump`, which came after the runs, is that
    of I07-tenths: between observations one step apart the noise of 200 images counts as a slope.
    """
    step, accuracy = np.asarray(result["at_step"]), np.asarray(result["at_accuracy"])
    top = int(accuracy.argmax())
    rise = accuracy[top] - accuracy[0]
    if not top or rise <= 0:
        return 1.0
    slopes = np.diff(accuracy[: top + 1]) / np.diff(step[: top + 1])
    return float(slopes.max() / (rise / (step[top] - step[0])))


def steeper(asked: Asked, dataset: str) -> list[float]:
    """The steepest step told by a vector minus that told by the label, on the seeds of both."""
    vector, label = (
        pd.Series(
            {r.parameters["seed"]: steepest_step(r) for r in own.where(dataset=dataset)},
            dtype=float,
        )
        for own in (measured(asked["vector"]), measured(asked["label"]))
    )
    return vector.sub(label).sort_index().dropna().tolist()


def sure(values: Sequence[float]) -> Interval:
    """Mean over seeds with its 95 % interval; below two seeds that carries nothing."""
    return over_seeds(values)


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
