"""Chapter 8: from runs to the values by seed that its figures, claims and sentences share."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from chapters.initialization.design import (
    ATTACKS,
    BILEVEL,
    NATURAL,
    NETWORKS,
    OTHERS,
    SHARES,
    SIGNALS,
    STANDARD,
    STARTS,
    TABLE_1,
    TELLERS,
    TRUTH,
)
from harness.results import Result, Runs
from harness.statistics import Interval, over_seeds

Pair = tuple[float, float]  # (truth_share, image_share)
TOP, FAR = 10, 50  # of outputs by nearness to a training image (paper, Fig 6)
FIRST = 40  # outputs (paper, Fig 8)
FEWEST = 3  # hits, and natural misses, without which nothing is told apart


# --- runs by attack, start and seed ---------------------------------------------------------------


def by(mixed: Runs, attack: str) -> Runs:
    """The runs of one of `design.ATTACKS`."""
    function, network = ATTACKS[attack]
    return mixed.where(network=network).filter(
        lambda run: run.function.rpartition(".")[2] == function
    )


def at(runs: Runs, start: Pair) -> Runs:
    """The runs from a start; without images the share of the truth among them is nothing."""
    truth, image = start
    shares = {"truth_share": truth} if image else {}
    return runs.where(image_share=image, **shares)


def per_seed(runs: Runs, measure: str) -> pd.Series:
    """One measure by seed, in their order."""
    values = {run.parameters["seed"]: float(run[measure]) for run in runs}
    return pd.Series(values, dtype=float).sort_index()


def mean(runs: Runs, measure: str) -> float:
    """NaN without runs."""
    return float(np.mean(runs.values(measure))) if runs else float("nan")


def first(runs: Runs) -> Result | None:
    """The run of the lowest seed."""
    return min(runs, key=lambda run: run.parameters["seed"], default=None)


def minus(one: Runs, two: Runs, measure: str) -> list[float]:
    """The difference of a measure by seed, on the seeds that both have."""
    return (per_seed(one, measure) - per_seed(two, measure)).dropna().tolist()


# --- along the mixtures ---------------------------------------------------------------------------

ALONG = {  # (truth_share, image_share) for each share that is varied
    "truth_share": lambda share: (share, 1.0),  # from the other images to the truth (Fig 11)
    "image_share": lambda share: (1.0, share),  # from noise to the truth (Fig 12)
}


def curve(runs: Runs, varied: str, measure: str) -> pd.DataFrame:
    """A row a share and a column a seed; seeds that lack a share are left out."""
    columns = {share: per_seed(at(runs, ALONG[varied](share)), measure) for share in SHARES}
    return pd.DataFrame(columns).T.dropna(axis=1)


def crossovers(runs: Runs, ending: str = "") -> list[float]:
    """The share of the truth from which outputs are nearer to it than to the other images, by seed.

    Between two shares on a straight line; 0 or 1 where one kind is nearer everywhere.
    ending: "_at_start" for no step at all.
    """
    gap = curve(runs, "truth_share", f"to_truth{ending}") - curve(
        runs, "truth_share", f"to_partition{ending}"
    )
    return [_crossing(gap[seed].to_numpy()) for seed in gap]


def _crossing(gap: np.ndarray) -> float:
    """Where the gap, at each of `SHARES`, falls through 0 for the last time."""
    for i in reversed(range(len(gap) - 1)):
        if gap[i] > 0 >= gap[i + 1]:
            return SHARES[i] + (SHARES[i + 1] - SHARES[i]) * gap[i] / (gap[i] - gap[i + 1])
    return 1.0 if gap[-1] > 0 else 0.0


def rank_correlations(runs: Runs, ending: str = "") -> list[float]:
    """Spearman's, of the share of the truth in noise and the distance to it, by seed."""
    found = curve(runs, "image_share", f"to_truth{ending}")
    return [
        float(spearmanr(found.index, found[seed]).statistic) if np.ptp(found[seed]) else 0.0
        for seed in found
    ]


def slopes(runs: Runs) -> pd.Series:
    """How fast the distance to the truth grows with the share of noise beside it, by seed."""
    found = curve(runs, "image_share", "to_truth")
    return pd.Series(
        {seed: float(np.polyfit(1 - found.index, found[seed], 1)[0]) for seed in found}, dtype=float
    )


def near_truth(mixed: Runs, kkt: str) -> list[float]:
    """Distance to the truth, KKT minus bilevel, from starts at least 3/4 truth without noise."""
    gaps = []
    for share in SHARES[-2:]:
        one, two = (per_seed(at(by(mixed, a), (share, 1.0)), "to_truth") for a in (kkt, BILEVEL))
        gaps.append(one - two)
    return pd.concat(gaps, axis=1).dropna().mean(axis=1).tolist()


def steeper(mixed: Runs, kkt: str) -> list[float]:
    """Slope of the bilevel attack minus that of a KKT attack, by seed."""
    return (slopes(by(mixed, BILEVEL)) - slopes(by(mixed, kkt))).dropna().tolist()


SMALLEST = 1e-6  # a distance below is one that rounding makes


def ratio_at_truth(mixed: Runs, kkt: str) -> list[float]:
    """Distance to the truth from the truth, KKT over bilevel, by seed."""
    one, two = (per_seed(at(by(mixed, a), TRUTH), "to_truth") for a in (kkt, BILEVEL))
    return (one / two.clip(lower=SMALLEST)).dropna().tolist()


# --- outputs from noise -----------------------------------------------------------------------------


def standard(noisy: Runs) -> Runs:
    """Those whose noise is standard normal."""
    return noisy.where(sigma=STANDARD)


def tuned(noisy: Runs) -> Runs:
    """Those with another scale of noise."""
    return noisy.filter(lambda run: run.parameters["sigma"] != STANDARD)


def natural_but_far(run: Result) -> int | None:
    """How many outputs are as natural as the median of the ten nearest and rank beyond 50.

    None of a run without as many outputs.
    """
    order = np.argsort(-np.asarray(run["nearest_truth_ncc"]), kind="stable")
    if len(order) <= FAR:
        return None
    natural = np.asarray(run["naturalness"])[order]
    return int((natural[FAR:] >= np.median(natural[:TOP])).sum())


def no_hits_among_natural(run: Result) -> float | None:
    """Share of the 40 most natural outputs that are no hits; None of a run with fewer."""
    natural = np.asarray(run["naturalness"])
    if len(natural) < FIRST:
        return None
    chosen = np.argsort(-natural, kind="stable")[:FIRST]
    return float((np.asarray(run["nearest_truth_ncc"])[chosen] <= run["threshold"]).mean())


def known(runs: Runs, value: Callable[[Result], float | None]) -> list[float]:
    """The values of the runs that have one."""
    return [float(found) for run in runs if (found := value(run)) is not None]


# --- by the number of parameters --------------------------------------------------------------------


def ranks_by_width(sized: Runs, measure: str) -> list[float]:
    """Spearman's, of the parameters for each pixel and a score, by seed."""
    found = []
    for seed in sized.of("seed"):
        runs = sized.where(seed=seed)
        values = runs.values(measure)
        if len(values) > 2:
            same = len(set(values)) == 1
            rank = (
                spearmanr(runs.values("parameters_per_pixel"), values).statistic if not same else 0
            )
            found.append(float(rank))
    return found


def change_points(sized: Runs, measure: str = "auroc") -> list[float]:
    """log10 of the parameters for each pixel where one step fits the scores best, by seed."""
    found = []
    for seed in sized.of("seed"):
        runs = sized.where(seed=seed)
        order = np.argsort(runs.values("parameters_per_pixel"))
        x = np.log10(np.asarray(runs.values("parameters_per_pixel"))[order])
        y = np.asarray(runs.values(measure), dtype=float)[order]
        if len(y) > 2:
            left = [y[:i].var() * i + y[i:].var() * (len(y) - i) for i in range(1, len(y))]
            best = int(np.argmin(left))
            found.append(float((x[best] + x[best + 1]) / 2))
    return found


# --- who could tell ---------------------------------------------------------------------------------


class Detector(NamedTuple):
    """A signal of an attack, and whether low values speak for a hit, as the tuning draws chose it."""

    attack: str
    signal: str
    lower: bool
    tuning: float  # its AUROC there


def detector(
    tuning: Runs, attacks: Sequence[str] = (*TELLERS,), kind: str = NATURAL
) -> Detector | None:
    """The attack, signal and direction of the highest mean AUROC on the tuning draws.

    Of those alone whose groups are large enough to be told apart on at least half of the draws.
    kind: `design.NATURAL`, natural hits against natural misses, or `design.INVENTED`.
    """
    found = []
    for attack in attacks:
        runs = tuning.where(attack=attack)
        for signal in SIGNALS:
            values = _aurocs(runs, f"auroc_{kind}{signal}").to_numpy()
            if len(values) and 2 * len(values) >= len(runs):
                score = float(values.mean())
                found.append(Detector(attack, signal, score < 0.5, max(score, 1 - score)))
    return max(found, key=lambda one: one.tuning, default=None)


def _aurocs(runs: Runs, name: str) -> pd.Series:
    """By seed; those that do not have it are left out."""
    has = runs.filter(lambda run: name in run.scalars)
    return per_seed(has, name) if has else pd.Series(dtype=float)


def told_by(told: Runs, chosen: Detector | None, kind: str = NATURAL) -> list[float]:
    """AUROC of a detector on other draws, by seed; kind: as for `detector`."""
    if chosen is None:
        return []
    values = _aurocs(told.where(attack=chosen.attack), f"auroc_{kind}{chosen.signal}")
    return (1 - values if chosen.lower else values).tolist()


def of_set(runs: Runs, dataset: str) -> Runs:
    return runs.where(dataset=dataset)


def last(runs: Runs) -> Runs:
    """The runs on the last data set that any of them has."""
    return runs.where(dataset=runs.of("dataset")[-1:]) if runs else runs


def best_told(
    told: Runs, tuning: Runs, attacks: Sequence[str] = (*TELLERS,), kind: str = NATURAL
) -> tuple[Detector | None, Interval]:
    """The detector that the tuning draws choose, and its AUROC over the seeds of the others.

    Of attacks that were run on these as well.
    """
    chosen = detector(tuning, [attack for attack in attacks if told.where(attack=attack)], kind)
    return chosen, over_seeds(told_by(told, chosen, kind))


# --- tables -----------------------------------------------------------------------------------------


def interval(values: Sequence[float], form: str = ".2g") -> str:
    """The mean with its interval: `0.02 [0.01, 0.03]`; a dash without values."""
    found = over_seeds(values)
    if not len(values):
        return "–"
    ends = f" [{found.low:{form}}, {found.high:{form}}]" if found.known else ""
    return f"{found.estimate:{form}}{ends}"


def weights(mixed: Runs, started: Runs) -> pd.DataFrame:
    """Table 1 of the paper beside ours: a row a network and a start of the bilevel attack."""
    rows = []
    bilevel = by(mixed, BILEVEL) + started
    for network, printed in TABLE_1.items():
        for start, paper in printed.items():
            runs = at(bilevel.where(network=network), STARTS[start])
            if runs:
                rows.append({
                    "network": NETWORKS[network],
                    "start": start,
                    "paper": f"{paper:.1e}",
                    "ours": interval(runs.values("distance"), ".1e"),
                    "of ‖θ*‖²": mean(runs, "relative_distance"),
                    "of ‖θ* − θ⁰‖²": _of_change(runs, "distance"),
                    "the same, zero steps": _of_change(runs, "distance_at_start"),
                })  # fmt: skip
    return pd.DataFrame(rows)


def _of_change(runs: Runs, measure: str) -> float:
    """A squared distance as a share of how far training went, squared; mean over runs."""
    return float(np.mean([run[measure] / run["squared_change"] for run in runs]))


def distances(mixed: Runs) -> pd.DataFrame:
    """Every start of every attack: mean distances to the three kinds, after and before."""
    rows = []
    for attack in ATTACKS:
        runs = by(mixed, attack)
        for image in SHARES:
            for truth in SHARES if image else SHARES[:1]:
                if own := at(runs, (truth, image)):
                    rows.append({"attack": attack, "λ₁": truth, "λ₂": image} | {
                        f"{words}{when}": mean(own, f"to_{kind}{ending}")
                        for ending, when in (("", ""), ("_at_start", ", no step"))
                        for kind, words in
                        (("truth", "truth"), ("partition", "others"), ("noise", "noise"))
                    } | {"seeds": len(own)})  # fmt: skip
    return pd.DataFrame(rows)


KINDS = {
    NATURAL: "natural misses",
    "": "the same, all hits",
    "held_out_": "held-out images",
    "elsewhere_": "another network's",
}


def signals(told: Runs) -> pd.DataFrame:
    """AUROC of every signal on the judged draws, a row a data set, attack and kind of stranger."""
    rows = []
    for dataset in told.of("dataset"):
        for attack, name in TELLERS.items():
            runs = told.where(dataset=dataset, attack=attack)
            for kind, words in KINDS.items():
                found = {
                    title: _aurocs(runs, f"auroc_{kind}{signal}").mean()
                    for signal, title in SIGNALS.items()
                }
                if any(np.isfinite(list(found.values()))):
                    rows.append(
                        {"data set": told.title(dataset), "attack": name, "against": words} | found
                    )
    return pd.DataFrame(rows)


def counts(told: Runs) -> pd.DataFrame:
    """How many hits and natural misses there are to be told apart, a row a data set and attack."""
    rows = []
    for dataset in told.of("dataset"):
        for attack, name in TELLERS.items():
            if runs := told.where(dataset=dataset, attack=attack):
                rows.append({
                    "data set": told.title(dataset), "attack": name,
                    "candidates": mean(runs, "candidates"),
                    "hits": mean(runs, "true_hits"),
                    "natural hits": mean(runs, "hits_natural"),
                    "natural misses": mean(runs, "misses_natural"),
                    "precision": mean(runs, "precision_top"),
                    "seeds": len(runs),
                })  # fmt: skip
    return pd.DataFrame(rows)


# --- what an interval carries -----------------------------------------------------------------------


def holds(values: Sequence[float], *, above: float = 0.0) -> bool:
    """Whether the interval over seeds lies above a value."""
    return over_seeds(values).low > above


def contains(values: Sequence[float], value: float) -> bool:
    found = over_seeds(values)
    return found.known and found.low <= value <= found.high


def stays(runs: Runs) -> list[float]:
    """Share of outputs nearer to their own start than to any training image, by seed.

    Of the two ways of measuring, distance and correlation, the one that says less.
    """
    return [
        min(run["nearer_to_start_by_distance"], run["nearer_to_start_by_correlation"])
        for run in runs
    ]


def from_others(mixed: Runs, attack: str) -> Runs:
    return at(by(mixed, attack), OTHERS)
