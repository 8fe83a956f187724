"""Figures of chapter 2: runs in, matplotlib figure out."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from chapters.architecture_comparison.design import KNOW_NO_PLACES, MATCHED, VARIANTS
from chapters.architecture_comparison.reading import PAPERS_ORDER, per_seed
from chapters.shortcut_injection.reading import converged
from harness import figures
from harness.figures import needs_runs
from harness.results import Runs
from harness.statistics import bootstrap
from harness.style import FAINT, INK, MUTED, PALETTE, WIDTH, darker, style

LEANS, BELIEVES = PALETTE[0], PALETTE[1]


def _dots(ax: Axes, heights: list[float], values: list[list[float]], colour, marker="o") -> None:
    """Seeds as faint dots, their mean as a full one with its 95 % interval; one row a list."""
    for y, own in zip(heights, values):
        if not len(own):
            continue
        interval = bootstrap(own)
        ax.plot(own, [y] * len(own), marker, color=colour, alpha=0.3, ms=3.5, mew=0)
        ax.plot([interval.low, interval.high], [y, y], color=colour, lw=2, solid_capstyle="round")
        ax.plot(interval.estimate, y, marker, color=colour, ms=6, mec="none")


def _panels(names: list[str], rows: int, *, row: float = 0.27) -> tuple[Figure, np.ndarray]:
    """Panels side by side, one a data set, with as many rows of dots."""
    fig = Figure(figsize=(WIDTH, 0.95 + row * rows), layout="constrained")
    axes = fig.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for ax, name in zip(axes, names):
        ax.set_title(name.replace(" (", "\n("), fontsize=9, loc="left")
        ax.grid(axis="y", visible=False)
        ax.tick_params(axis="y", length=0)
    return fig, axes


def _key(fig: Figure, names: dict[str, tuple]) -> None:
    """Names of marks, each in its colour, in one line above the panels."""
    handles = [
        Line2D([], [], marker=marker, color=colour, ls="none", ms=6, label=name)
        for name, (colour, marker) in names.items()
    ]
    fig.legend(
        handles=handles, loc="outside upper left", ncols=len(names), frameon=False,
        handletextpad=0.1, columnspacing=1.2, labelcolor=[darker(c) for c, _ in names.values()],
    )  # fmt: skip


@needs_runs
def overview(fooled: Runs) -> Figure:
    """Accuracy Difference and share of believed wrong patches, by architecture and data set."""
    measures = (
        ("Accuracy Difference", "accuracy_difference", LEANS, "o", 0.17),
        ("wrong patches believed", "follows_patch", BELIEVES, "D", -0.17),
    )
    datasets = converged(fooled).of("dataset")
    with style():
        fig, axes = _panels([fooled.title(name) for name in datasets], 4)
        heights = dict(zip(PAPERS_ORDER, (2.0, 1.0, 0.0)))
        for ax, dataset in zip(axes, datasets):
            for _, measure, colour, marker, shift in measures:
                values = [per_seed(fooled, measure, dataset, a).tolist() for a in heights]
                _dots(ax, [y + shift for y in heights.values()], values, colour, marker)
            ax.set(xlim=(-0.03, 1.03), ylim=(-0.6, 2.6), xticks=[0, 0.5, 1])
            ax.set_xticklabels(["0", "0.5", "1"])
        axes[0].set_yticks(list(heights.values()), list(heights), fontsize=10)
        _key(fig, {name: (colour, marker) for name, _, colour, marker, _ in measures})
    return fig


@needs_runs
def difference(fooled: Runs, measure: str, label: str) -> Figure:
    """One measure by architecture, a panel a data set, seeds and intervals."""
    datasets = converged(fooled).of("dataset")
    with style():
        fig, axes = _panels([fooled.title(name) for name in datasets], 3)
        for ax, dataset in zip(axes, datasets):
            values = [per_seed(fooled, measure, dataset, a).tolist() for a in PAPERS_ORDER]
            _dots(ax, [2.0, 1.0, 0.0], values, LEANS)
            ax.set_ylim(-0.5, 2.5)
            ax.locator_params(axis="x", nbins=4)
        axes[0].set_yticks([2, 1, 0], PAPERS_ORDER, fontsize=10)
        fig.supxlabel(label, fontsize=11)
    return fig


def rates(measured: pd.DataFrame, column: str) -> Figure | None:
    """Accuracy Difference by learning rate and architecture, as colour and number."""
    shown = measured.dropna(subset=[column])
    if shown.empty:
        return None
    return figures.heat(
        shown, "lr", "architecture", column, "data set", label_x="learning rate", bounds=(0, 1)
    )


def convergence(measured: pd.DataFrame, loss: float) -> Figure | None:
    """Epochs to a training loss over the learning rate, a panel a data set."""
    shown = measured[np.isfinite(measured["epochs to converge"].astype(float))]
    if shown.empty:
        return None
    return figures.panels(
        shown, "lr", "epochs to converge", "architecture", "data set", log_x=True, log_y=True,
        columns=3, height=1.9, label_x="learning rate", label_y=f"epochs to a training loss of {loss:g}",
    )  # fmt: skip


@needs_runs
def apart(fooled: Runs, matched: Runs, ablated: Runs) -> Figure:
    """Accuracy Difference of every network and of what is left when a part is taken out."""
    pool = fooled + matched + ablated
    shown = {a: a for a in PAPERS_ORDER} | {name: text for text, name in VARIANTS.items()}
    shown |= {name: f"{name.split()[0]}, matched" for name in MATCHED}
    names = sorted(shown, key=lambda name: (PAPERS_ORDER.index(name.split()[0]), name))
    heights = np.arange(len(names))[::-1] * 1.0
    datasets = converged(fooled).of("dataset")
    with style():
        fig, axes = _panels([fooled.title(name) for name in datasets], len(names))
        for ax, dataset in zip(axes, datasets):
            for name, y in zip(names, heights):
                values = per_seed(pool, "accuracy_difference", dataset, name).tolist()
                colour = INK if name in PAPERS_ORDER else LEANS
                _dots(ax, [y], [values], BELIEVES if name in KNOW_NO_PLACES else colour)
            ax.set_xlim(-0.03, 1.03)
            ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
            for y in heights[:-1][[a.split()[0] != b.split()[0] for a, b in zip(names, names[1:])]]:
                ax.axhline(y - 0.5, color=FAINT, lw=0.8)
        axes[0].set_yticks(heights, [shown[name] for name in names], fontsize=9)
        fig.supxlabel("Accuracy Difference", fontsize=11)
    return fig


@needs_runs
def belief(fooled: Runs, matched: Runs, ablated: Runs) -> Figure:
    """Share of believed wrong patches over Accuracy Difference, every network and seed."""
    with style():
        fig = Figure(figsize=(WIDTH, 3.0), layout="constrained")
        ax = fig.subplots()
        groups = {False: (LEANS, "o"), True: (BELIEVES, "D")}
        runs = converged(fooled + matched + ablated)
        for blind, (colour, marker) in groups.items():
            own = [r for r in runs if (r.parameters["architecture"] in KNOW_NO_PLACES) == blind]
            x, y = ([r[name] for r in own] for name in ("accuracy_difference", "follows_patch"))
            ax.plot(x, y, marker, color=colour, ms=4.5, alpha=0.6, mew=0)
        ax.plot([0, 1], [0, 1], ls="--", lw=1, color=MUTED, zorder=0)
        _key(fig, {"know places": (LEANS, "o"), "know no places": (BELIEVES, "D")})
        ax.set(xlabel="Accuracy Difference", xlim=(-0.02, 1.02), ylim=(-0.02, 1.08))
        ax.set_ylabel("wrong patches believed")
    return fig
