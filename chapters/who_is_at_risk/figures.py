"""Figures of chapter 10: runs in, matplotlib figure out; None where nothing was run."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from chapters.who_is_at_risk import reading
from chapters.who_is_at_risk.design import DEFENCES, PLAIN, RECIPES
from harness import figures
from harness.figures import key, needs_runs, seeds, small_multiples
from harness.results import Runs
from harness.style import INK, MUTED, PALETTE, WIDTH, style

# One colour, one meaning: what is found, the same from a known start, and what is no attack's.
FOUND, KNOWN, NULL = PALETTE[0], PALETTE[2], PALETTE[1]


@needs_runs
def recipes(read: Runs, finding: str = "") -> Figure:
    """Share of training images found, a row a recipe and a panel a data set, beside the null.

    A faint mark a seed, the mean with its interval; the null is the largest of three on the same
    network.
    """
    datasets = read.of("dataset")
    named = {n: title for n, title in RECIPES.items() if any(_of(read, d, n) for d in datasets)}
    with style():
        fig, panels = small_multiples(
            [read.title(d) for d in datasets], height=1.2 + 0.27 * len(named)
        )
        for ax, dataset in zip(panels, datasets):
            for y, name in enumerate(named):
                runs = _of(read, dataset, name)
                seeds(ax, y + 0.17, reading.null_share(runs), NULL, "D", hollow=True)
                seeds(ax, y - 0.12, reading.share(runs), FOUND)
            ax.set(xlim=(-0.04, 1.04), xticks=[0, 0.5, 1])
            ax.set_xticklabels(["0", "0.5", "1"])
        panels[0].set_yticks(range(len(named)), list(named.values()), fontsize=8)
        panels[0].set_ylim(len(named) - 0.5, -0.5)
        fig.supxlabel("share of training images found", fontsize=10)
        key(fig, {"unmixed": (FOUND, "o"), "strongest null": (NULL, "D")}, finding=finding)
    return fig


@needs_runs
def sizes(sized: Runs, finding: str = "") -> Figure:
    """Share found (above) and seconds of the attack (below) against the number of images."""
    datasets = sized.of("dataset")
    starts = {False: FOUND, True: KNOWN}
    with style():
        fig, panels = small_multiples(
            [sized.title(d) for d in datasets], height=3.7, rows=2, sharex=True, sharey="row"
        )
        for above, below, dataset in zip(*panels, datasets):
            for known, colour in starts.items():
                runs = sized.where(dataset=dataset, start_known=known)
                _over_n(above, runs, reading.share(runs), colour)
                _over_n(below, runs, runs.values("attack_seconds"), colour)
                if not known:
                    _over_n(above, runs, reading.null_share(runs), NULL, "D")
            above.set(xscale="log", ylim=(-0.04, 1.04), yticks=[0, 0.5, 1])
            below.set(yscale="log")
            counts = sorted(sized.of("n"))
            below.set_xticks(counts, [str(n) for n in counts])
            below.minorticks_off()
            for ax in (above, below):
                ax.grid(True)
        panels[0][0].set_ylabel("share found", fontsize=10)
        panels[1][0].set_ylabel("seconds", fontsize=10)
        fig.supxlabel("training images n", fontsize=10)
        key(fig, {
            "start unknown": (FOUND, "o"), "start known": (KNOWN, "o"), "strongest null": (NULL, "D"),
        }, finding=finding)  # fmt: skip
    return fig


def _over_n(ax: Axes, runs: Runs, values: Sequence[float], colour: str, mark: str = "o") -> None:
    """A faint mark a run, a line through the means."""
    counts = [run.parameters["n"] for run in runs]
    ax.plot(counts, values, mark, color=colour, ms=3.5, mew=0, alpha=0.35)
    means = {n: np.mean([v for v, k in zip(values, counts) if k == n]) for n in sorted({*counts})}
    ax.plot(list(means), list(means.values()), color=colour, marker=mark, ms=4.5, mew=0, lw=1.4)


@needs_runs
def trusted(sized: Runs, finding: str = "") -> Figure:
    """Share of training images among the candidates that the attack trusts most, by how many.

    Start unknown; a line a number of images, the mean over seeds; dashed: those close to a held-out
    image, at the largest number.
    """
    own = sized.where(start_known=False)
    datasets, counts = sized.of("dataset"), sorted(sized.of("n"))
    with style():
        fig, panels = small_multiples([sized.title(d) for d in datasets], height=2.7)
        for ax, dataset in zip(panels, datasets):
            for place, n in enumerate(counts):
                runs = own.where(dataset=dataset, n=n)
                if not runs:
                    continue
                values = reading.precision(runs)
                alpha = 0.35 + 0.65 * (place + 1) / len(counts)
                ax.plot(range(1, len(values) + 1), values, color=FOUND, alpha=alpha, lw=1.5)
                ax.annotate(
                    str(n), (len(values), values[-1]), fontsize=8, color=INK, va="center",
                    xytext=(3, 0), textcoords="offset points",
                )  # fmt: skip
                if n == counts[-1]:
                    values = reading.precision(runs, "trusted_ncc_held_out")
                    ax.plot(range(1, len(values) + 1), values, color=NULL, ls="--", lw=1.2)
            ax.set(xscale="log", ylim=(-0.03, 1.03), yticks=[0, 0.5, 1])
            ax.set_xticks([1, 10, 100], ["1", "10", "100"])
            ax.grid(True)
        panels[0].set_ylabel("share close", fontsize=10)
        fig.supxlabel("most trusted candidates, so many", fontsize=10)
        key(fig, {
            "to a training image, by n": (FOUND, "s"), "to a held-out one": (NULL, "s"),
        }, finding=finding)  # fmt: skip
    return fig


@needs_runs
def defences(guarded: Runs, finding: str = "") -> Figure:
    """Test accuracy against share of training images found, a mark a defence, a panel a set.

    Names stand in the order of what is found; a line joins each with its mark.
    """
    datasets = guarded.of("dataset")
    with style():
        fig = Figure(figsize=(WIDTH, 0.7 + 2.5 * len(datasets)), layout="constrained")
        panels = fig.subplots(len(datasets), 1, sharex=True, squeeze=False)[:, 0]
        for ax, dataset in zip(panels, datasets):
            table = reading.trade(guarded, dataset).sort_values("found").reset_index(drop=True)
            ax.plot(table["accuracy"], table["null"], "D", color=NULL, ms=4, mfc="none", mew=1)
            for place, line in table.iterrows():
                none = line["defence"] == DEFENCES[PLAIN]
                height = place / max(len(table) - 1, 1)
                ax.plot(line["accuracy"], line["found"], "o", color=INK if none else FOUND, ms=6)
                ax.annotate(
                    f"{line['defence']}", (line["accuracy"], line["found"]), fontsize=7.5,
                    xytext=(1.06, height), textcoords="axes fraction", va="center",
                    fontweight="bold" if none else "normal", annotation_clip=False,
                    ha="left",
                    arrowprops={
                        "arrowstyle": "-", "color": MUTED, "lw": 0.6, "relpos": (0, 0.5),
                        "shrinkA": 0, "shrinkB": 2,
                    },
                )  # fmt: skip
            ax.set_title(guarded.title(dataset), fontsize=10, loc="left")
            ax.set(ylim=(-0.06, 1.06), yticks=[0, 0.5, 1], ylabel="share found")
            ax.grid(True)
        panels[-1].set_xlabel("test accuracy", fontsize=10)
        key(fig, {"unmixed": (FOUND, "o"), "strongest null": (NULL, "D")}, finding=finding)
    return fig


@needs_runs
def pairs(shown: Runs, lines: int = 2) -> Figure | None:
    """What came back above the training images it belongs to, of the first run with pictures."""
    kept = [run for run in shown if "shown_images" in run.arrays]
    if not kept:
        return None
    run = kept[0]
    columns = -(-len(run["shown_ncc"]) // lines)
    rows, titles = {}, {}
    for line in range(lines):
        part = slice(line * columns, (line + 1) * columns)
        spaces = " " * line  # rows of a figure have different names
        rows["from the weights" + spaces] = run["shown_reconstructions"][part] / 255
        rows["training image" + spaces] = run["shown_images"][part] / 255
        titles["from the weights" + spaces] = [f"{ncc:.2f}" for ncc in run["shown_ncc"][part]]
    return figures.image_rows(rows, titles)


@needs_runs
def along(varied: Runs, parameter: str = "width") -> Figure | None:
    """Share found against a parameter of the runs, a panel a data set, beside the null."""
    asked = varied.filter(lambda run: run.parameters.get(parameter) is not None)
    if not asked:
        return None
    datasets = asked.of("dataset")
    with style():
        fig, panels = small_multiples([asked.title(d) for d in datasets], height=2.3)
        for ax, dataset in zip(panels, datasets):
            runs = asked.where(dataset=dataset)
            for values, colour, mark in (
                (reading.share(runs), FOUND, "o"),
                (reading.null_share(runs), NULL, "D"),
            ):
                at = [run.parameters[parameter] for run in runs]
                ax.plot(at, values, mark, color=colour, ms=4.5, mew=0, alpha=0.5)
                means = {k: np.mean([v for v, a in zip(values, at) if a == k]) for k in {*at}}
                ax.plot(sorted(means), [means[k] for k in sorted(means)], color=colour, lw=1.4)
            ax.set(xscale="log", ylim=(-0.04, 1.04), yticks=[0, 0.5, 1])
            ax.set_xticks(sorted({*at}), [str(k) for k in sorted({*at})])
            ax.minorticks_off()
            ax.grid(True)
        panels[0].set_ylabel("share found", fontsize=10)
        fig.supxlabel(parameter, fontsize=10)
        key(fig, {"unmixed": (FOUND, "o"), "strongest null": (NULL, "D")})
    return fig


def _of(read: Runs, dataset: str, name: str) -> Runs:
    return reading.of(read, dataset, name)
