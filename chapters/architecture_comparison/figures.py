"""Figures of chapter 2: runs in, matplotlib figure out."""

import itertools

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from chapters.architecture_comparison.design import KNOW_NO_PLACES, MATCHED, VARIANTS
from chapters.architecture_comparison.reading import (
    AGAINST_CONTROLS,
    OFF,
    ON,
    PAPERS_ORDER,
    Tables,
    above_next,
    per_seed,
    three_ways,
)
from chapters.shortcut_injection.reading import SEEDS_FOR_A_CLAIM, clear, converged
from harness import figures
from harness.figures import key, needs_runs, seeds, small_multiples
from harness.results import Runs
from harness.style import FAINT, INK, MUTED, PALETTE, WIDTH, style

LEANS, BELIEVES = PALETTE[0], PALETTE[1]
WAYS = {
    ON: ("patch on a token", LEANS, "o", 0.25),
    OFF: ("between tokens", PALETTE[2], "s", 0.0),
    AGAINST_CONTROLS: ("lost against controls", INK, "D", -0.25),
}


@needs_runs
def overview(fooled: Runs) -> Figure:
    """Accuracy Difference and share of believed wrong patches, by architecture and data set."""
    measures = (
        ("Accuracy Difference", "accuracy_difference", LEANS, "o", 0.17),
        ("wrong patches believed", "follows_patch", BELIEVES, "D", -0.17),
    )
    datasets = converged(fooled).of("dataset")
    with style():
        fig, axes = small_multiples([fooled.title(name) for name in datasets], height=2.05)
        heights = dict(zip(PAPERS_ORDER, (2.0, 1.0, 0.0)))
        for ax, dataset in zip(axes, datasets):
            for _, measure, colour, marker, shift in measures:
                for a, y in heights.items():
                    values = per_seed(fooled, measure, dataset, a).tolist()
                    seeds(ax, y + shift, values, colour, marker)
            ax.set(xlim=(-0.03, 1.03), ylim=(-0.6, 2.6), xticks=[0, 0.5, 1])
            ax.set_xticklabels(["0", "0.5", "1"])
        axes[0].set_yticks(list(heights.values()), list(heights), fontsize=10)
        key(fig, {name: (colour, marker) for name, _, colour, marker, _ in measures})
    return fig


@needs_runs
def order(fooled: Runs, shifted: Runs, control: Runs) -> Figure:
    """Three ways to ask how much a network relies on its patch, by architecture and data set."""
    ways = three_ways(fooled, shifted, control)
    heights = dict(zip(PAPERS_ORDER, (2.0, 1.0, 0.0)))
    with style():
        fig, axes = small_multiples(list(ways[ON]), height=2.75)
        for ax, title in zip(axes, ways[ON]):
            for way, (_, colour, marker, shift) in WAYS.items():
                if title not in ways[way]:
                    continue
                for a, y in heights.items():
                    values = ways[way][title][a].dropna().tolist()
                    seeds(ax, y + shift, values, colour, marker)
            for y in (0.5, 1.5):
                ax.axhline(y, color=FAINT, lw=0.8)
            ax.set(xlim=(-0.05, 1.03), ylim=(-0.55, 2.55))
            ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes[0].set_yticks(list(heights.values()), list(heights), fontsize=10)
        marks = {name: (colour, marker) for name, colour, marker, _ in WAYS.values()}
        key(fig, marks, finding=_leads(ways))
    return fig


def _leads(ways: dict[str, Tables]) -> str:
    """On how many data sets with five seeds the ViT comes first; nothing if on none."""
    told = []
    for (way, tables), by in zip(ways.items(), ("on", "between tokens", "by loss")):
        leads = [above_next(table, "ViT").tolist() for table in tables.values()]
        first = [clear(own) for own in leads if len(own) >= SEEDS_FOR_A_CLAIM]
        if way == ON and not any(first):
            return ""
        if first:
            told.append(f"{by} {sum(first)} of {len(first)}")
    return f"ViT first {', '.join(told)}"


@needs_runs
def difference(fooled: Runs, measure: str, label: str) -> Figure:
    """One measure by architecture, a panel a data set, seeds and intervals."""
    datasets = converged(fooled).of("dataset")
    with style():
        fig, axes = small_multiples([fooled.title(name) for name in datasets], height=1.75)
        for ax, dataset in zip(axes, datasets):
            for a, y in zip(PAPERS_ORDER, (2, 1, 0)):
                seeds(ax, y, per_seed(fooled, measure, dataset, a).tolist(), LEANS)
            ax.set_ylim(-0.5, 2.5)
            ax.locator_params(axis="x", nbins=4)
        axes[0].set_yticks([2, 1, 0], PAPERS_ORDER, fontsize=10)
        fig.supxlabel(label, fontsize=11)
    return fig


def rates(measured: pd.DataFrame, column: str) -> Figure | None:
    """Accuracy Difference by learning rate and architecture, as colour and number.

    Of the data sets on which every rate was run, so that all maps have one axis.
    """
    runs_of = measured.groupby("data set")["lr"].transform("nunique")
    shown = measured[runs_of == measured["lr"].nunique()].dropna(subset=[column])
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
        columns=2, height=1.7, label_x="learning rate",
        label_y=f"epochs to a training loss of {loss:g}",
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
        fig, axes = small_multiples(
            [fooled.title(name) for name in datasets], height=0.95 + 0.27 * len(names)
        )
        for ax, dataset in zip(axes, datasets):
            for name, y in zip(names, heights):
                values = per_seed(pool, "accuracy_difference", dataset, name).tolist()
                colour = INK if name in PAPERS_ORDER else LEANS
                seeds(ax, y, values, BELIEVES if name in KNOW_NO_PLACES else colour)
            ax.set_xlim(-0.03, 1.03)
            ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
            for y in heights[:-1][
                [a.split()[0] != b.split()[0] for a, b in itertools.pairwise(names)]
            ]:
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
        key(fig, {"know places": (LEANS, "o"), "know no places": (BELIEVES, "D")})
        ax.set(xlabel="Accuracy Difference", xlim=(-0.02, 1.02), ylim=(-0.02, 1.08))
        ax.set_ylabel("wrong patches believed")
    return fig
