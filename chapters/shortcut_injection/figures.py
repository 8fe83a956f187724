"""Figures of chapter 1: groups of runs in, matplotlib figure out; None where nothing is there.

Orange stands for the patch and blue for the object, in every figure of the chapter.
"""

import functools
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from chapters.shortcut_injection.reading import (
    ARCHITECTURES,
    along,
    cells,
    clear,
    from_to,
    lost,
    mean,
    paired_by_seed,
    spread,
    without_diverged,
)
from harness.figures import image_rows, key, needs_runs, seeds, small_multiples
from harness.results import Runs
from harness.statistics import over_seeds
from harness.style import FAINT, INK, MUTED, PALETTE, WIDTH, darker, style
from lib.shortcuts import Patch

OBJECT, PATCH = PALETTE[0], PALETTE[1]
OF_ARCHITECTURE = dict(zip(ARCHITECTURES, ((PALETTE[2], "o"), (PALETTE[4], "s"), (INK, "^"))))


def _runs_figure(draw: Callable[..., Figure]) -> Callable[..., Figure | None]:
    """A figure of runs that did not diverge, in the book's look; None where there are none."""

    @functools.wraps(draw)
    def styled(*args, **kwargs):
        with style():
            return draw(*args, **kwargs)

    return without_diverged(needs_runs(styled))


# --- how much is lost, and whom a network believes --------------------------------------------


@_runs_figure
def accuracy_without(planted: Runs, control: Runs) -> Figure:
    """Accuracy without a patch, of networks that learned with one and of those that never did.

    One panel a data set, one row an architecture; faint marks are seeds.
    """
    fig, axes = small_multiples([planted.title(d) for d in planted.of("dataset")], height=2.25)
    for ax, dataset in zip(axes, planted.of("dataset")):
        for y, architecture in enumerate(ARCHITECTURES):
            cell = {"dataset": dataset, "architecture": architecture}
            ends = mean(planted, "accuracy_clean", **cell), mean(control, "accuracy_clean", **cell)
            ax.plot(ends, (y, y), color=FAINT, lw=4, zorder=1, solid_capstyle="butt")
            for runs, measure, look in (
                (planted, "accuracy_shortcut", (PATCH, "s")),
                (planted, "accuracy_clean", (OBJECT, "o")),
                (control, "accuracy_clean", (MUTED, "D")),
            ):
                seeds(ax, y, runs.where(**cell).values(measure), *look)
    _rows_of_architectures(axes)
    fig.supxlabel("accuracy on test images", fontsize=10)
    marks = {
        "with the patch": (PATCH, "s"),
        "without it": (OBJECT, "o"),
        "without it, never met one": (MUTED, "D"),
    }
    key(fig, marks, finding=_points_lost(planted, control))
    return fig


def _points_lost(planted: Runs, control: Runs) -> str:
    by_cell = lost(planted, control)
    less = [clear(values) for values in by_cell.values()]
    if less and all(less):
        points = [100 * float(np.mean(values)) for values in by_cell.values()]
        return f"Accuracy without a patch falls by {from_to(points, '.0f')} points"
    if any(less):
        return f"Less accurate without a patch: {sum(less)} of {len(less)} networks"
    return "Accuracy with the patch and without"


@_runs_figure
def believed(planted: Runs) -> Figure:
    """What networks say of images with a wrong patch: the patch's class, the object's, another."""
    fig, axes = small_multiples([planted.title(d) for d in planted.of("dataset")], height=2.25)
    for ax, dataset in zip(axes, planted.of("dataset")):
        for y, architecture in enumerate(ARCHITECTURES):
            cell = {"dataset": dataset, "architecture": architecture}
            shares = [mean(planted, m, **cell) for m in ("follows_patch", "accuracy_conflict")]
            if not np.isfinite(shares).all():
                continue
            left = 0.0
            for share, colour in zip((*shares, 1 - sum(shares)), (PATCH, OBJECT, FAINT)):
                ax.barh(y, share, left=left, color=colour, height=0.62)
                left += share
            ax.text(0.03, y, f"{shares[0]:.0%}", va="center", fontsize=9, color="black")
    _rows_of_architectures(axes)
    fig.supxlabel("share of test images with a wrong patch", fontsize=10)
    key(
        fig,
        {"the patch": (PATCH, "s"), "the object": (OBJECT, "s"), "neither": (MUTED, "s")},
        finding=f"{spread(planted, 'follows_patch')} of wrong patches are believed",
    )
    return fig


# --- pictures ---------------------------------------------------------------------------------


@_runs_figure
def planted_examples(portraits: Runs) -> Figure:
    """Test images of every class with the patch of their class, one row a data set."""
    rows: dict[str, np.ndarray] = {}
    for result in portraits:
        rows.setdefault(portraits.title(result.parameters["dataset"]), result["images_shortcut"])
    most = max(map(len, rows.values()))
    return image_rows({title: _padded(images, most) / 255 for title, images in rows.items()})


def _padded(images: np.ndarray, count: int) -> np.ndarray:
    """[k, c, h, w] -> [count, c, h, w], repeated from the start."""
    return images[np.arange(count) % len(images)]


@_runs_figure
def answers(portraits: Runs) -> Figure:
    """Test images with the right patch, none and a wrong one; above each what the network says.

    Of the last network that is there.
    """
    arrays = portraits[-1].arrays
    kinds = {"right patch": "shortcut", "no patch": "clean", "wrong patch": "conflict"}
    said = {shown: arrays[f"predicted_{kind}"] for shown, kind in kinds.items()}
    fig = image_rows(
        {shown: arrays[f"images_{kind}"] / 255 for shown, kind in kinds.items()},
        {shown: [str(answer) for answer in answers] for shown, answers in said.items()},
    )
    colours = [
        _of_answer(answer, label, place if shown == "wrong patch" else None)
        for shown, answers in said.items()
        for answer, label, place in zip(answers, arrays["labels"], arrays["conflicting"])
    ]
    for ax, colour in zip(fig.axes, colours, strict=True):
        ax.title.set(color=colour, fontweight="bold")
    return fig


def _of_answer(answer: int, label: int, place: int | None) -> object:
    """Blue for the class of the object, orange for that of a wrong patch, else grey."""
    if answer == label:
        return darker(OBJECT)
    return darker(PATCH) if answer == place else MUTED


@_runs_figure
def saliency(portraits: Runs, classes_shown: int = 6) -> Figure:
    """Where a network looks: mean |input gradient| of a class, its patch's place framed.

    One column a class, below an image of it; one row a network of the last data set.
    """
    of_last = portraits.where(dataset=portraits.of("dataset")[-1])
    classes, size, _ = of_last[0]["saliency"].shape
    corners = Patch.on_border(classes, size, size).corners.tolist()
    shown = np.unique(np.linspace(0, classes - 1, min(classes, classes_shown)).round().astype(int))
    side = min(0.78, (WIDTH - 0.7) / len(shown))
    rows = 1 + len(of_last)
    fig = Figure(figsize=(0.7 + side * len(shown), side * rows + 0.1))
    axes = fig.subplots(
        rows, len(shown), squeeze=False, gridspec_kw={"wspace": 0.06, "hspace": 0.06}
    )
    fig.subplots_adjust(left=0.7 / fig.get_figwidth(), right=1, bottom=0, top=1)
    images = of_last[0]["images_clean"].transpose(0, 2, 3, 1) / 255
    for ax, k in zip(axes[0], shown):
        ax.imshow(images[k].squeeze(), cmap="gray", vmin=0, vmax=1)
    axes[0][0].set_ylabel("test image", fontsize=9)
    for row, result in zip(axes[1:], of_last):
        maps = result["saliency"]
        for ax, k in zip(row, shown):
            ax.imshow(maps[k], cmap="gray", vmin=0, vmax=np.quantile(maps, 0.995))
        row[0].set_ylabel(result.parameters["architecture"], fontsize=9)
    for row in axes:
        for ax, k in zip(row, shown):
            y, x = corners[k]
            ax.add_patch(Rectangle((x - 0.5, y - 0.5), 4, 4, fill=False, ec=PATCH, lw=1.3))
            ax.set(xticks=[], yticks=[])
            ax.grid(False)
    return fig


# --- how soon, how reliable, how visible ------------------------------------------------------


@_runs_figure
def training_long(prolonged: Runs) -> Figure:
    """Accuracy with the patch and without along training; one panel a network and data set."""
    datasets = prolonged.of("dataset")
    fig = Figure(figsize=(WIDTH, 1.15 * len(datasets) + 0.9), layout="constrained")
    axes = fig.subplots(len(datasets), 3, sharex=True, sharey=True, squeeze=False)
    of_cell = cells(prolonged)
    for row, dataset in zip(axes, datasets):
        for ax, architecture in zip(row, ARCHITECTURES):
            name = f"{architecture}, {prolonged.title(dataset)}"
            ax.set_title(name, fontsize=8, loc="left", pad=3)
            ax.tick_params(labelsize=8)
            if name not in of_cell:
                ax.text(0.5, 0.5, "not run", transform=ax.transAxes, ha="center", color=MUTED)
                continue
            table = along(of_cell[name])
            for kind, colour in (("with the patch", PATCH), ("without", OBJECT)):
                _band(ax, table[(table["test images"] == kind) & (table["epoch"] > 0)], colour)
    axes[0][0].set(xscale="log", ylim=(0, 1.04), yticks=[0, 0.5, 1])
    axes[0][0].xaxis.set_major_formatter("{x:g}")
    fig.supxlabel("epoch", fontsize=10)
    epochs = spread(prolonged, "epochs_to_shortcut", ".2g")
    key(
        fig,
        {"accuracy with the patch": (PATCH, "s"), "without it": (OBJECT, "s")},
        finding=f"The patch is learned after {epochs} epochs",
    )
    return fig


def _band(ax: Axes, table, colour) -> None:
    """Mean over seeds and the 95 % interval of the mean, at every epoch that was observed."""
    groups = table.groupby("epoch")["accuracy"]
    found = [over_seeds(values.tolist()) for _, values in groups]
    epochs = list(groups.groups)
    ax.fill_between(
        epochs, [i.low for i in found], [i.high for i in found], color=colour, alpha=0.2, lw=0
    )
    ax.plot(epochs, [i.estimate for i in found], color=colour, lw=1.5)


@_runs_figure
def reliability(unreliable: Runs) -> Figure:
    """Share of wrong patches that are believed, over the share of right ones in training."""
    titles = [unreliable.title(dataset) for dataset in unreliable.of("dataset")]
    fig, axes = small_multiples(titles, height=2.85, sharex=True)
    for ax, dataset in zip(axes, unreliable.of("dataset")):
        for architecture, (colour, marker) in OF_ARCHITECTURE.items():
            own = unreliable.where(dataset=dataset, architecture=architecture)
            shares = sorted(own.of("correlation"))
            found = [over_seeds(own.where(correlation=c).values("follows_patch")) for c in shares]
            ax.fill_between(
                shares, [i.low for i in found], [i.high for i in found],
                color=colour, alpha=0.2, lw=0,
            )  # fmt: skip
            ax.plot(shares, [i.estimate for i in found], color=colour, marker=marker, ms=4.5, mew=0)
        ax.set(ylim=(-0.03, 1.03), yticks=[0, 0.5, 1])
        ax.grid(True)
    axes[0].set_ylabel("wrong patches believed", fontsize=10)
    fig.supxlabel("share of training images whose patch is right", fontsize=10)
    top = max(unreliable.of("correlation"))
    below = max((c for c in unreliable.of("correlation") if c < top), default=top)
    always, mostly = (unreliable.where(correlation=c) for c in (top, below))
    key(
        fig,
        OF_ARCHITECTURE,
        finding=f"Right in {below:.0%} of cases, a patch is believed less"
        if clear(paired_by_seed(always, mostly, "follows_patch"))
        else "How often wrong patches are believed",
    )
    return fig


@_runs_figure
def visibility(faint: Runs) -> Figure:
    """Share of wrong patches that a CNN believes, by the patch's size and brightness.

    Rows from the faintest patch to the plainest one, each beside a drawing of it.
    """
    looks = sorted(
        {(r.parameters["patch_size"], r.parameters["colour"][0]) for r in faint},
        key=lambda look: (look[0], look[1]),
    )
    titles = [faint.title(dataset) for dataset in faint.of("dataset")]
    fig, axes = small_multiples(titles, height=1.25 + 0.27 * len(looks))
    for ax, dataset in zip(axes, faint.of("dataset")):
        for y, (size, brightness) in enumerate(looks):
            own = faint.where(dataset=dataset, patch_size=size, colour=[[brightness]])
            seeds(ax, y, own.values("follows_patch"), PATCH)
        ax.set(xlim=(-0.03, 1.03), xticks=[0, 0.5, 1], ylim=(-0.6, len(looks) - 0.4))
    axes[0].set_yticks(range(len(looks)), [_look(*look) for look in looks], fontsize=9)
    fig.supxlabel("share of wrong patches that a CNN believes", fontsize=10)
    size, brightness = looks[0]
    faintest = faint.where(patch_size=size, colour=[[brightness]])
    key(fig, {}, finding=f"{_look(*looks[0])}: {spread(faintest, 'follows_patch')} are believed")
    return fig


def _look(size: int, brightness: float) -> str:
    return f"{size} × {size}, " + ("white" if brightness == 1 else f"{brightness:.0%} grey")


# --- small helpers ----------------------------------------------------------------------------


def _rows_of_architectures(axes: Sequence[Axes]) -> None:
    for ax in axes:
        ax.set(xlim=(-0.03, 1.03), xticks=[0, 0.5, 1])
    axes[0].set_yticks(range(len(ARCHITECTURES)), ARCHITECTURES, fontsize=10)
    axes[0].set_ylim(len(ARCHITECTURES) - 0.5, -0.5)
