"""Chapter 7: from results to the numbers and tables that its text and figures share."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from harness.results import Runs
from harness.statistics import Interval, paired_bootstrap

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


def difference(upper: Runs, lower: Runs, measure: str) -> Interval | None:
    """upper − lower over the seeds of all data sets that both have; None below two pairs."""

    def by_task(runs: Runs) -> dict[tuple, float]:
        return {tuple(r.parameters[k] for k in ("dataset", "n", "seed")): r[measure] for r in runs}

    above, below = by_task(upper), by_task(lower)
    both = sorted(above.keys() & below.keys())
    if len(both) < 2:
        return None
    return paired_bootstrap([above[task] for task in both], [below[task] for task in both])


def scores(attacked: Runs) -> pd.DataFrame:
    """One row a data set, network and attack, means over seeds; the best attack first."""
    if not attacked:
        return pd.DataFrame()
    columns = {
        "found": ("hits", "mean"),
        "AUROC": ("auroc", "mean"),
        "excess": ("excess", "mean"),
        "SSIM > 0.4": ("ssim_above_0.4", "mean"),
        "seconds": ("attack_seconds", "mean"),
        "seeds": ("seed", "count"),
    }
    frame = attacked.frame().assign(attack=lambda f: f["method"].map(NAMES))
    keys = ["data set", "protocol", "attack"]
    means = frame.groupby(keys, sort=False).agg(**columns).reset_index()
    return means.sort_values(["data set", "protocol", "found"], ascending=[True, True, False])


def ranks(trained: Runs) -> str:
    """How many singular values stand out of the noise: "46", or the range over runs "46 to 49"."""
    values: Sequence[int] = trained.values("rank")
    if not values:
        return "–"
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"
