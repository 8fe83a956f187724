"""Figures of chapter 6: runs in, matplotlib figure out; None where nothing was run."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from chapters.training_like.design import FULL, INVERSION, LEFT_OUT, PRIORS, SHORTCUT, SOFT
from chapters.training_like.reading import (
    NULLS,
    SIGNALS,
    Asked,
    capacity,
    datasets,
    measured,
    own_half,
    per_seed,
    ratio,
    sizes_of,
)
from harness import figures
from harness.figures import key, needs_runs, seeds, small_multiples
from harness.results import Result, Runs
from harness.style import INK, MUTED, PALETTE, WIDTH, style

REAL, MADE, OTHER = PALETTE[0], PALETTE[1], MUTED
LOSSES = (FULL, "no confidence", "no robustness", "no gradient", PRIORS, INVERSION)
ALL_LOSSES = (*LEFT_OUT, "other perturbation", "batch gradient", *SOFT)
Real = Mapping[str, np.ndarray]  # {data set: one image of each class [k, c, h, w] in [0, 1]}


# --- pictures -----------------------------------------------------------------------------------


def _pictured(runs: Runs, dataset: str) -> Result | None:
    """The run on a data set whose pictures were kept, of the lowest seed."""
    own = [r for r in measured(runs).where(dataset=dataset) if "images" in r.arrays]
    return min(own, key=lambda r: r.parameters["seed"], default=None)


def _of_each(result: Result, classes: Sequence[int]) -> list[np.ndarray]:
    """The first kept image of each class, in [0, 1]."""
    labels = result["shown_labels"]
    return [result["images"][np.flatnonzero(labels == k)[0]] / 255 for k in classes]


def gallery(
    asked: Asked, real: Real, names: Mapping[str, str], *, classes: int = 5, columns: int = 2
) -> Figure | None:
    """Real images above made ones of the same classes, a block a data set.

    names: {label of a row: question}.
    """
    found = {
        d: {label: _pictured(asked[name], d) for label, name in names.items()}
        for d in datasets({name: asked[name] for name in names.values()})
    }
    found = {d: rows for d, rows in found.items() if any(rows.values())}
    if not found:
        return None
    title = next(iter(asked.values())).title
    margin, gap, line = 0.82, 0.12, 0.24
    columns = min(columns, len(found))
    cell = (WIDTH - margin - gap * (columns - 1)) / (columns * classes)
    rows = -(-len(found) // columns)
    tall = line + (1 + len(names)) * cell
    with style():
        fig = Figure(figsize=(WIDTH, rows * tall))
        height = rows * tall
        for i, (d, of) in enumerate(found.items()):
            left = margin + (i % columns) * (classes * cell + gap)
            top = height - (i // columns) * tall
            fig.text(left / WIDTH, (top - 0.05) / height, title(d), fontsize=9, va="top")
            lines = {"real": list(real[d][:classes]) if d in real else []}
            lines |= {k: _of_each(r, range(classes)) if r else [] for k, r in of.items()}
            for j, (label, images) in enumerate(lines.items()):
                y = top - line - (j + 1) * cell
                if i % columns == 0:
                    fig.text((margin - 0.08) / WIDTH, (y + cell / 2) / height,
                             label.replace(" ", "\n"), ha="right", va="center", fontsize=9,
                             linespacing=1.1)  # fmt: skip
                for k, image in enumerate(images):
                    side = cell - 0.03
                    box = ((left + k * cell) / WIDTH, y / height, side / WIDTH, side / height)
                    figures.picture(fig.add_axes(box), image)
    return fig


def pairs(few: Runs, dataset: str) -> Figure | None:
    """Reconstructions most like any real image, beside the nearest of either kind."""
    result = _pictured(few, dataset)
    if result is None:
        return None
    made, trained, others = result["pairs"] / 255
    near, far = result["pairs_ncc"]
    return figures.image_rows(
        {"made": made, "nearest training": trained, "nearest held out": others},
        {
            "nearest training": [f"{value:.2f}" for value in near],
            "nearest held out": [f"{value:.2f}" for value in far],
        },
    )


def as_perceived(shortcuts: Runs, real: Real, dataset: str) -> Figure | None:
    """The paper's Figure 3: training images with their patch, and what three networks give back."""
    planted = shortcuts.where(shortcut="planted")
    found = {name: _pictured(planted.where(architecture=name), dataset) for name in SHORTCUT}
    if dataset not in real or not any(found.values()):
        return None
    classes = range(len(real[dataset]))
    rows = {"with a patch": real[dataset]}
    rows |= {name: np.stack(_of_each(r, classes)) for name, r in reversed(found.items()) if r}
    return figures.image_rows(rows)


# --- likeness -----------------------------------------------------------------------------------


def losses(asked: Asked, names: Sequence[str] = LOSSES) -> Figure | None:
    """KID (above) and agreement of the oracle (below), a row a loss and a panel a data set."""
    found = {name: measured(asked[name]) for name in names}
    found = {name: runs for name, runs in found.items() if runs}
    if not found:
        return None
    return _two_measures(
        found,
        {"kid": "KID to the training images", "oracle_accuracy": "agreement of the oracle"},
        colour=lambda name: MADE if name == FULL else REAL if name == INVERSION else INK,
        log=("kid",),
    )


def regularisers(asked: Asked, names: Mapping[str, str]) -> Figure | None:
    """Agreement and KID for classifiers with all regularisers, and without one.

    names: {label: the regulariser left out, "" for none}.
    """
    found = {
        label: measured(asked["unregularised"] if name else asked[FULL]).filter(
            lambda r, name=name: r.parameters.get("unregularised", "") == name
        )
        for label, name in names.items()
    }
    found = {label: runs for label, runs in found.items() if runs}
    if not found:
        return None
    return _two_measures(
        found,
        {"kid": "KID to the training images", "oracle_accuracy": "agreement of the oracle"},
        colour=lambda label: INK if names[label] else MADE,
        log=("kid",),
    )


def shortcuts(asked: Asked) -> Figure | None:
    """Patch intensity and agreement, trained on patches and without, a panel a data set."""
    runs = measured(asked["shortcuts"])
    if not runs:
        return None
    kinds = {"planted": (MADE, -0.14), "control": (OTHER, 0.14)}
    shown = runs.of("dataset")
    measures = {
        "patch_intensity": "intensity inside the patch over outside",
        "oracle_accuracy": "agreement of the oracle",
    }
    with style():
        fig, axes = small_multiples(
            [runs.title(d) for d in shown], height=3.4, rows=2, sharex="row", sharey=True
        )
        for row, (measure, label) in zip(axes, measures.items()):
            for ax, d in zip(row, shown):
                for y, name in enumerate(SHORTCUT):
                    for kind, (colour, shift) in kinds.items():
                        own = runs.where(architecture=name, shortcut=kind)
                        seeds(ax, y + shift, list(per_seed(own, measure, d)), colour)
            row[0].set_yticks(range(len(SHORTCUT)), SHORTCUT)
            row[0].set_ylim(len(SHORTCUT) - 0.5, -0.5)
            row[len(shown) // 2].set_xlabel(label, fontsize=9)
        key(fig, {"trained on patches": (MADE, "o"), "without": (OTHER, "o")})
    return fig


def _two_measures(
    found: Mapping[str, Runs],
    measures: Mapping[str, str],
    *,
    colour: Callable[[str], object],
    log: Sequence[str] = (),
) -> Figure:
    """Two rows of panels, one column a data set; each group of runs is a line of dots."""
    shown = datasets(found)
    title = next(iter(found.values())).title
    with style():
        fig, axes = small_multiples(
            [title(d) for d in shown],
            height=1.0 + 2 * (0.25 + 0.2 * len(found)),
            rows=len(measures),
            sharex="row",
            sharey=True,
        )
        for row, (measure, label) in zip(axes, measures.items()):
            for ax, d in zip(row, shown):
                for y, (name, runs) in enumerate(found.items()):
                    seeds(ax, y, list(per_seed(runs, measure, d)), colour(name))
                if measure in log:
                    ax.set_xscale("log")
                    ax.set_xticks([0.1, 1, 10], ["0.1", "1", "10"])
                    ax.xaxis.set_minor_locator(NullLocator())
                else:
                    ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
            values = [
                v for runs in found.values() for d in shown for v in per_seed(runs, measure, d)
            ]
            if measure in log:  # the lower end of an interval may be no number on such an axis
                row[0].set_xlim(0.7 * min(values), 1.4 * max(values))
            row[0].set_yticks(range(len(found)), list(found))
            row[0].set_ylim(len(found) - 0.5, -0.5)
            row[len(shown) // 2].set_xlabel(label, fontsize=9)
    return fig


# --- sizes and widths ---------------------------------------------------------------------------

ALONG = {
    "kid": "KID to the\ntraining images",
    "oracle_accuracy": "agreement\nof the oracle",
    "auroc": "calibrated\nAUROC",
}


@needs_runs
def by_size(runs: Runs) -> Figure | None:
    """Likeness and calibrated AUROC over the number of training images."""
    own = measured(runs)
    if not own:
        return None
    shown = own.of("dataset")
    with style():
        fig, axes = small_multiples(
            [own.title(d) for d in shown], height=4.0, rows=len(ALONG), sharex="col", sharey="row"
        )
        for column, d in zip(axes.T, shown):
            sizes = sizes_of(own, d)
            for ax, measure in zip(column, ALONG):
                values = [per_seed(own, measure, d, n=n) for n in sizes]
                _along(ax, range(len(sizes)), values)
                if measure == "auroc":
                    ax.axhline(0.5, color=MUTED, ls="--", lw=1, zorder=0)
            column[-1].set_xticks(range(len(sizes)), [_short(n) for n in sizes])
            column[-1].set_xlim(-0.3, len(sizes) - 0.7)
        for ax, label in zip(axes[:, 0], ALONG.values()):
            ax.set_ylabel(label, fontsize=9)
        fig.supxlabel("training images", fontsize=10)
    return fig


def _short(n: int) -> str:
    return f"{n // 1000}k" if n >= 1000 else str(n)


def _along(ax: Axes, xs: Sequence[float], values: Sequence[pd.Series]) -> None:
    """Seeds as faint marks, their means joined."""
    for x, some in zip(xs, values):
        ax.plot([x] * len(some), some, "o", color=MADE, alpha=0.35, ms=4, mew=0)
    ax.plot(xs, [some.mean() for some in values], color=MADE)
    ax.grid(True)


@needs_runs
def by_width(runs: Runs) -> Figure | None:
    """Likeness and calibrated AUROC over the capacity of the classifier, on one data set."""
    own = measured(runs)
    if not own:
        return None
    dataset = own.of("dataset")[0]
    widths = sorted(own.of("width"))
    capacities = [np.mean([capacity(r) for r in own.where(width=width)]) for width in widths]
    with style():
        fig, axes = small_multiples(["", "", ""], height=2.1, sharey=False)
        for ax, (measure, label) in zip(axes, ALONG.items()):
            _along(ax, capacities, [per_seed(own, measure, dataset, width=w) for w in widths])
            ax.set_xscale("log")
            ax.axvline(1, color=MUTED, ls=":", lw=1, zorder=0)
            ax.set_title(label, fontsize=9, loc="left")
        fig.supxlabel("parameters over pixels of the training set", fontsize=10)
    return fig


# --- premises and single images -----------------------------------------------------------------

KIND_MARKS = {
    "held_out": ("held out", REAL, "o"),
    "inverted_hot": ("inverted, hot vectors", OTHER, "s"),
    "inverted_soft": ("inverted, soft vectors", MADE, "D"),
}


@needs_runs
def premises(premised: Runs) -> Figure:
    """Median gradients of other images over those of training images, a row a gradient."""
    shown = premised.of("dataset")
    signals = {name: label for name, label in SIGNALS.items() if name != "confidence"}
    with style():
        fig, axes = small_multiples([premised.title(d) for d in shown], height=2.6)
        for ax, d in zip(axes, shown):
            ax.axvline(1, color=MUTED, ls="--", lw=1, zorder=0)
            for y, signal in enumerate(signals):
                for kind, (_, colour, marker) in KIND_MARKS.items():
                    values = ratio(premised, signal, d, kind, "training")
                    seeds(ax, y, [v for v in values if v > 0], colour, marker)
            ax.set_xscale("log")
        names = [label.replace(" of the ", "\nof the ").replace(" by ", "\nby ")
                 for label in signals.values()]  # fmt: skip
        axes[0].set_yticks(range(len(signals)), names)
        axes[0].set_ylim(len(signals) - 0.5, -0.5)
        fig.supxlabel("median norm over that of training images", fontsize=10)
        key(fig, {name: (colour, marker) for name, colour, marker in KIND_MARKS.values()})
    return fig


def instances(asked: Asked) -> Figure | None:
    """Calibrated AUROC of attacks and nulls, and the share nearer to the own half."""
    few = measured(asked["few, all nine terms"])
    if not few:
        return None
    shown = few.of("dataset")
    mlp, bias = (measured(asked[name]) for name in ("few, MLP", "few, stationarity"))
    plain = measured(asked["few, inversion loss"])
    rows = {
        "nine terms": (few, "auroc", MADE),
        "and stationarity": (bias, "auroc", MADE),
        "inversion loss": (plain, "auroc", INK),
        "against an MLP": (mlp, "auroc", INK),
        **{f"null: {null}": (mlp if null in NULLS[2:] else few, f"{null}_auroc", OTHER)
           for null in NULLS},
    }  # fmt: skip
    with style():
        fig, axes = small_multiples(
            [few.title(d) for d in shown],
            height=1.7 + 0.24 * len(rows),
            rows=2,
            sharex="row",
            sharey="row",
            gridspec_kw={"height_ratios": [len(rows), 1.3]},
        )
        for column, d in zip(axes.T, shown):
            for ax in column:
                ax.axvline(0.5, color=MUTED, ls="--", lw=1, zorder=0)
            for y, (runs, measure, colour) in enumerate(rows.values()):
                seeds(column[0], y, list(per_seed(runs, measure, d)), colour)
            seeds(column[1], 0, list(own_half(asked, d)), REAL, "D")
        axes[0, 0].set_yticks(range(len(rows)), rows)
        axes[0, 0].set_ylim(len(rows) - 0.5, -0.5)
        axes[0, len(shown) // 2].set_xlabel("calibrated AUROC; dashed: chance", fontsize=9)
        axes[1, 0].set_yticks([0], ["own half"])
        axes[1, len(shown) // 2].set_xlabel("share nearer to the own half", fontsize=9)
    return fig
