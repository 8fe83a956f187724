"""Chapter 7: from results to the numbers and tables that its text and figures share."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from harness.results import Result, Runs
from harness.statistics import Interval, lowest, over_seeds

HALF, MOSTLY = 0.5, 0.9  # shares of candidates that are right
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


# --- against the nulls ------------------------------------------------------------------------


def null(run: Result, measure: str) -> float:
    """The most that any of the three nulls reaches in this run.

    measure: "hits" or "close".  Held-out images: one in a hundred is above its own 99 %
    quantile, and as large a share of n is close as of the held-out images.  Span: random mixtures
    of the row space.  Rows: those of the first layer, as they are.
    """
    n = run.parameters["n"]
    by_chance = 0.01 * n
    if measure == "close":
        by_chance = run["close_held_out"] * n / len(run["best_ncc_held_out"])
    return max(by_chance, run[f"span_{measure}"], run[f"rows_{measure}"])


def over_null(runs: Runs, measure: str) -> list[float]:
    """What an attack reaches beyond the strongest null on the same network, by run."""
    return [run[measure] - null(run, measure) for run in runs]


def beyond(runs: Runs, measure: str) -> Interval:
    """The same over seeds, on the data set where its interval reaches lowest.

    A statement about every data set rests on it.
    """
    return lowest(
        [over_seeds(over_null(runs.where(dataset=d), measure)) for d in runs.of("dataset")]
    )


def against_nulls(attacks: Mapping[str, Runs]) -> str:
    """Whether each attack brings back more close images than its strongest null; in words."""
    told = []
    for name, runs in attacks.items():
        gap = beyond(runs, "close")
        if not runs:
            told.append(f"{name} was not run.")
        elif gap.low > 0:
            told.append(
                f"{name} brings back more than the strongest null on every data set, by {gap} "
                "close images on the one where the interval reaches lowest."
            )
        else:
            told.append(
                f"Not shown for {name[0].lower()}{name[1:]}: {gap} close images past the null on a "
                "data set."
            )
    return " ".join(told)


def scores(attacked: Runs) -> pd.DataFrame:
    """One row a data set, network and attack, means over seeds; the most close images first."""
    if not attacked:
        return pd.DataFrame()
    columns = {
        "found": "hits",
        "null, found": "null_hits",
        "close": "close",
        "null, close": "null_close",
        "AUROC": "auroc",
        "null, AUROC": "null_auroc",
        "SSIM": "ssim_above_0.4",
        "SSIM, fitted": "fitted_ssim_above_0.4",
        "held out": "held_out_ssim",
        "seconds": "attack_seconds",
    }
    frame = attacked.frame().assign(
        attack=lambda table: table["method"].map(NAMES),
        null_hits=[null(run, "hits") for run in attacked],
        null_close=[null(run, "close") for run in attacked],
        null_auroc=[max(0.5, run["span_auroc"], run["rows_auroc"]) for run in attacked],
        held_out_ssim=[
            run["fitted_ssim_above_0.4_held_out"]
            * run.parameters["n"]
            / len(run["best_ncc_held_out"])
            for run in attacked
        ],
    )
    keys = ["data set", "protocol", "attack"]
    means = frame.groupby(keys, sort=False)[list(columns.values())].mean()
    table = means.set_axis(list(columns), axis=1).assign(
        seeds=frame.groupby(keys, sort=False)["seed"].count()
    )
    return table.reset_index().sort_values(
        ["data set", "protocol", "close"], ascending=[True, True, False]
    )


def answer(same: Runs, spent: Runs, held_out: str) -> str:
    """The chapter's answer in at most 60 words, on the last data set.

    same: attacks on the same networks.  spent: the paper's attack at its code's budget.
    """
    own = same.where(dataset=same.where(method="unmixed").of("dataset")[-1:])
    unmixed, released = own.where(method="unmixed"), own.where(method="released")
    if not unmixed:
        return "Not run: the end of the page says why."
    sure = beyond(same.where(method="unmixed"), "close").low > 0
    opening = "Partly, and without solving anything." if sure else "In these runs, not for certain."
    if here := spent.where(dataset=own.of("dataset")):
        released, length = here, _listed([f"{k:,}" for k in here.of("iterations")])
    else:
        length = "2,000"
    text = (
        f"{opening} Of {_listed(own.of('n'))} {titles(own)} images the first layer alone, "
        f"*unmixed*, gives back **{mean(unmixed, 'close', '.0f')}** (correlation above 0.7); the "
        f"strongest null {np.mean([null(run, 'close') for run in unmixed]):.0f}."
    )
    if released:
        text += (
            f" The paper's attack, after {length} iterations on {_networks(released)}, "
            f"{mean(released, 'close', '.0f')}, its strongest null "
            f"{np.mean([null(run, 'close') for run in released]):.0f}."
        )
    return text + f" Nulls: mixtures of the same images, {held_out} held-out ones."


def budget(spent: Runs) -> str:
    """What the paper's attack reaches at its code's budget, a sentence a data set."""
    told = []
    for dataset in spent.of("dataset"):
        runs = spent.where(dataset=dataset)
        steps = " or ".join(f"{k:,}" for k in runs.of("iterations"))
        told.append(
            f"On {runs.title(dataset)}, after {steps} iterations on {_networks(runs)}, "
            f"{mean(runs, 'hits', '.0f')} of {_listed(runs.of('n'))} images are found and "
            f"{mean(runs, 'close', '.0f')} are close; the strongest null reaches "
            f"{np.mean([null(run, 'hits') for run in runs]):.0f} and "
            f"{np.mean([null(run, 'close') for run in runs]):.0f}, and the stationarity term "
            f"leaves {np.mean([run['along_residual'][-1] for run in runs]):.2f} of the weights "
            "unexplained."
        )
    return " ".join(told) or "*Not run: the paper's attack at its code's budget.*"


def _networks(runs: Runs) -> str:
    return "one network" if len(runs) == 1 else f"{len(runs)} networks"


def _listed(values: Sequence[object]) -> str:
    return " or ".join(map(str, values))


def who_could_tell(unmixed: Runs) -> str:
    """The answer to the question whether an adversary can tell the true from the invented."""
    runs = unmixed.filter(lambda run: bool(np.any(run["trust"])))
    if not runs:
        return "Not run yet: the chapter says what is missing."
    told = ", ".join(
        f"{100 * np.mean(own.values('trusted_precision')):.0f} % on {own.title(dataset)}"
        for dataset in runs.of("dataset")
        for own in [runs.where(dataset=dataset)]
    )
    first = runs[0].parameters["n"] // 2
    text = (
        f"Of the {first} candidates that come back most alike from other starts of the unmixing, "
        f"training images are: {told}."
    )
    if trusted(runs).low > HALF:
        text = f"For one attack, yes. {text} No image is needed to rank them."
    return text + " Bilevel attacks, and inventions that look natural, are not tested yet."


def finding(same: Runs) -> str:
    """What the comparison with the nulls shows, as the title of its figure; "" if not sure."""
    sure = beyond(same.where(method="unmixed"), "close").low > 0
    return "Unmixing gets beyond mixtures of the training images" if sure else ""


def trust_finding(unmixed: Runs) -> str:
    """What agreement between starts tells, as the title of its figure; "" if not sure."""
    return "What comes back is a training image" if trusted(unmixed).low > MOSTLY else ""


def trusted(unmixed: Runs) -> Interval:
    """Share of training images among the first half that unmixing trusts, where it is lowest."""
    return lowest(
        [
            over_seeds(unmixed.where(dataset=d).values("trusted_precision"))
            for d in unmixed.of("dataset")
        ]
    )


# --- training ---------------------------------------------------------------------------------


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


def ranks(trained: Runs) -> str:
    """How many singular values stand out of the noise: "46", or the range over runs "46 to 49"."""
    values = trained.values("rank")
    if not values:
        return "–"
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"
