"""Chapter 7: from results to the numbers and tables that its text and figures share."""

import numpy as np
import pandas as pd

from harness.results import Runs
from harness.statistics import Interval, paired_bootstrap

FEWEST_SEEDS = 3  # for a sentence that compares
CLOSE = 0.7  # correlation from which a pair looks alike
NAMES = {
    "released": "the paper's attack",
    "first-layer": "first layer, as it is",
    "eliminated": "multipliers eliminated",
    "refined": "unmixed, then KKT",
    "unmixed": "first layer, unmixed",
}


def mean(runs: Runs, measure: str, form: str = ".1f") -> str:
    """Mean over the runs that are there, formatted; a dash when there is none."""
    return format(float(np.mean(runs.values(measure))), form) if runs else "–"


def median(runs: Runs, measure: str) -> str:
    """Median over runs as Markdown, 1,234 or 5.6·10⁷; a dash when there is none."""
    return large(float(np.median(runs.values(measure)))) if runs else "–"


def large(value: float) -> str:
    """1,234 or $5.6 \\cdot 10^{7}$."""
    if not abs(value) >= 1e6:
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}"
    power = int(np.floor(np.log10(abs(value))))
    return f"${value / 10**power:.1f} \\cdot 10^{{{power}}}$"


def held_out_images(attacked: Runs) -> str:
    """On how many images never trained on the scores rest, "1,000", or "200 or 1,000"."""
    sizes = sorted({len(result["best_ncc_held_out"]) for result in attacked})
    return " or ".join(f"{size:,}" for size in sizes) or "–"


def titles(runs: Runs) -> str:
    """The data sets of the runs, "MNIST and CIFAR-10 (JPEG)"; a dash when there is none."""
    return " and ".join(map(runs.title, runs.of("dataset"))) or "–"


def last(runs: Runs) -> Runs:
    """The runs on the last data set that any of them has."""
    return runs.where(dataset=runs.of("dataset")[-1:])


def difference(upper: Runs, lower: Runs, measure: str) -> Interval:
    """upper − lower over seeds, on the data set where its interval reaches lowest.

    A statement about every data set rests on it. Not a number unless each has three common seeds.
    """
    intervals = []
    for dataset in upper.of("dataset"):
        above, below = (
            {run.parameters["seed"]: run[measure] for run in runs.where(dataset=dataset)}
            for runs in (upper, lower)
        )
        seeds = sorted(above.keys() & below.keys())
        if len(seeds) < FEWEST_SEEDS:
            return Interval(np.nan, np.nan, np.nan)
        intervals.append(paired_bootstrap([above[s] for s in seeds], [below[s] for s in seeds]))
    unknown = Interval(np.nan, np.nan, np.nan)
    return min(intervals, key=lambda interval: interval.low, default=unknown)


def scores(attacked: Runs) -> pd.DataFrame:
    """One row a data set, network and attack, means over seeds; the best attack first."""
    if not attacked:
        return pd.DataFrame()
    columns = {
        "found": ("hits", "mean"),
        "AUROC": ("auroc", "mean"),
        "excess": ("excess", "mean"),
        "close": ("close", "mean"),
        "SSIM > 0.4": ("ssim_above_0.4", "mean"),
        "seconds": ("attack_seconds", "mean"),
        "seeds": ("seed", "count"),
    }
    frame = attacked.frame().assign(
        attack=lambda table: table["method"].map(NAMES),
        close=[int((best > CLOSE).sum()) for best in attacked.values("best_ncc")],
    )
    keys = ["data set", "protocol", "attack"]
    means = frame.groupby(keys, sort=False).agg(**columns).reset_index()
    return means.sort_values(["data set", "protocol", "found"], ascending=[True, True, False])


def progress(trained: Runs) -> str:
    """How far training went on the last data set, as a sentence for each protocol."""
    sentences = []
    for protocol in trained.of("protocol"):
        runs = last(trained).where(protocol=protocol)
        steps = " or ".join(f"{epochs:,}" for epochs in runs.of("epochs")) or "–"
        sentences.append(
            f"{steps} {protocol} steps reach a smallest margin of {median(runs, 'smallest_margin')}"
            f" (median) and a residual of {mean(runs, 'final_residual', '.2f')}, against "
            f"{mean_of_last(runs, 'residual_held_out')} at held-out images; "
            f"{mean(runs, 'mass_on_margin', '.0%')} of the multipliers' mass lies on samples "
            "within 1.1 of the smallest margin."
        )
    return f"On {titles(last(trained))}: " + " ".join(sentences)


def mean_of_last(runs: Runs, measure: str) -> str:
    """Mean over runs of the last value of a list; a dash when there is none."""
    return f"{np.mean([run[measure][-1] for run in runs]):.2f}" if runs else "–"


def against_mixtures(same: Runs, n: int) -> str:
    """The paper's attack beside the rows of the first layer, on the last data set."""
    runs = last(same)
    released, rows = runs.where(method="released"), runs.where(method="first-layer")
    return (
        f"On {titles(runs)} the paper's attack, at this budget, finds {mean(released, 'hits')} of "
        f"{n} (AUROC against held-out images {mean(released, 'auroc', '.2f')}). The layer's rows "
        f"as they are, mixtures that nobody solved for, find {mean(rows, 'hits')} "
        f"({mean(rows, 'auroc', '.2f')}): a score above chance shows that training images went in, "
        "not that they came out one by one."
    )


def ranks(trained: Runs) -> str:
    """How many singular values stand out of the noise: "46", or the range over runs "46 to 49"."""
    values = trained.values("rank")
    if not values:
        return "–"
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"
