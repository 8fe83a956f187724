"""Figures of chapter 4: runs in, matplotlib figure out; None where nothing was run."""

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from chapters.interpretability.reading import (
    COIN,
    SCORES,
    average,
    mean,
    measured,
    per_seed,
    with_two,
)
from harness import figures
from harness.figures import key, needs_runs, seeds, small_multiples
from harness.results import Result, Runs
from harness.style import INK, MUTED, PALETTE, WIDTH, darker, style

REAL, MADE = PALETTE[0], PALETTE[1]  # images of the data set, and of a generator
PER_CLASS = 20  # of the points that a run keeps, so that digits do not hide each other

# --- small helpers ------------------------------------------------------------------------------


def _first(runs: Runs) -> dict[str, Result]:
    """{data set: its run of the lowest seed}."""
    return {
        d: min(runs.where(dataset=d), key=lambda result: result.parameters["seed"])
        for d in runs.of("dataset")
    }


def _digits(ax: Axes, points: np.ndarray, labels: np.ndarray, colours: Sequence) -> None:
    """Each point as the number of its class."""
    for k in np.unique(labels):
        for colour in dict.fromkeys(c for c, label in zip(colours, labels) if label == k):
            own = [i for i, c in enumerate(colours) if labels[i] == k and c == colour]
            ax.scatter(*points[own].T, s=16, marker=f"${k}$", color=colour, linewidths=0.2)


def _some_of_each(labels: np.ndarray, count: int) -> np.ndarray:
    """Indices of the first `count` of each class."""
    return np.concatenate([np.flatnonzero(labels == k)[:count] for k in np.unique(labels)])


# --- the key figure -----------------------------------------------------------------------------


@needs_runs
def lengths(looked: Runs, shown: int = 3) -> Figure:
    """Lengths of feature vectors, made and real, with an image of either kind of class `shown`."""
    first = _first(looked)
    with style():
        fig, axes = small_multiples([looked.title(d) for d in first], height=2.1, sharey=False)
        for i, (ax, (d, result)) in enumerate(zip(axes, first.items())):
            made, real = (result[f"norms_{kind}"].astype(float) for kind in ("inverted", "test"))
            edges = np.linspace(0, np.quantile(real, 0.995), 36)
            heights = []
            for own, colour in ((made, MADE), (real, REAL)):
                heights.append(ax.hist(own, edges, density=True, color=colour, alpha=0.75, lw=0)[0])
            top = max(map(np.max, heights))
            ax.set(yticks=[], xlim=(0, edges[-1]), ylim=(0, 2.3 * top))
            ax.grid(False)
            ax.spines["left"].set_visible(False)
            for kind, own, colour, word in (
                ("inverted", made, MADE, "inverted"),
                ("training", real, REAL, "real"),
            ):
                picture = result[f"shown_{kind}"][min(shown, len(result[f"shown_{kind}"]) - 1)]
                place = 0.16 if kind == "inverted" else 0.8
                _inset(ax, picture / 255, place, colour)
                if i == 0:
                    ax.text(place, 0.58, word, color=darker(colour), fontsize=9, ha="center",
                            va="top", transform=ax.transAxes)  # fmt: skip
        fig.supxlabel("length of the feature vector", fontsize=10)
    return fig


def _inset(ax: Axes, picture: np.ndarray, place: float, colour) -> None:
    """An image [c, h, w] in [0, 1] at the top of a panel; place: of its middle, in axes."""
    inner = ax.inset_axes((place - 0.15, 0.6, 0.3, 0.4))
    large = picture.repeat(8, axis=1).repeat(8, axis=2)  # browsers smooth pixels
    figures.picture(inner, large)
    inner.spines[:].set(color=colour, linewidth=1.2)


# --- planes and maps ----------------------------------------------------------------------------


@needs_runs
def planes(looked: Runs, basis: str = "inverted", kinds: Sequence[str] = ("inverted",)) -> Figure:
    """Images on the plane of two principal components, each as the number of its class.

    Coloured where the last layer gives the point on the plane the class of the image; lines are
    the borders of its decisions. basis: whose components.  kinds: whose images.
    """
    first = _first(looked)
    colours = {"inverted": MADE, "training": REAL}
    with style():
        fig, axes = small_multiples([looked.title(d) for d in first], height=2.25, sharey=False)
        for ax, result in zip(axes, first.values()):
            xs, ys = result[f"{basis}_xs"], result[f"{basis}_ys"]
            regions = result[f"{basis}_regions"]
            for k in np.unique(regions):
                ax.contour(xs, ys, regions == k, levels=[0.5], colors=[MUTED], linewidths=0.5)
            for kind in kinds:
                name = f"{basis}_plane_{kind}"
                some = _some_of_each(result[f"{name}_labels"], PER_CLASS)
                kept = result[f"{name}_kept"][some]
                _digits(
                    ax,
                    result[name][some].astype(float),
                    result[f"{name}_labels"][some],
                    [colours[kind] if k else MUTED for k in kept],
                )
            ax.set(xticks=[], yticks=[], xlim=(xs[0], xs[-1]), ylim=(ys[0], ys[-1]))
            ax.grid(False)
            ax.spines[:].set_visible(False)
        kept = {f"{kind}, keeps its class": (colours[kind], "o") for kind in kinds}
        key(fig, {**kept, "loses it": (MUTED, "o")})
    return fig


@needs_runs
def maps(looked: Runs, perplexities: Sequence[int] = (30,)) -> Figure:
    """t-SNE of inverted images, the number of its class above each; a row a perplexity.

    Coloured: the classes that form more than one cluster on that map.
    """
    first = _first(looked)
    with style():
        fig, axes = small_multiples(
            [looked.title(d) for d in first],
            height=0.65 + 1.65 * len(perplexities),
            rows=len(perplexities),
            sharey=False,
        )
        for row, perplexity in zip(np.atleast_2d(axes), perplexities):
            for ax, result in zip(row, first.values()):
                some = _some_of_each(result["tsne_labels"], 50)
                labels = result["tsne_labels"][some]
                counts = result[f"clusters_in_tsne_{perplexity}"]
                points = result[f"tsne_{perplexity}"][some].astype(float)
                for k in np.unique(labels):
                    own = points[labels == k]
                    colour = MADE if counts[k] > 1 else MUTED
                    ax.scatter(*own.T, s=5, color=colour, linewidths=0)
                    ax.annotate(str(k), (np.median(own[:, 0]), own[:, 1].max()), xytext=(0, 1),
                                textcoords="offset points", ha="center", fontsize=9)  # fmt: skip
                ax.set(xticks=[], yticks=[])
                ax.grid(False)
                ax.spines[:].set_visible(False)
            row[0].set_ylabel(f"perplexity {perplexity}", fontsize=9)
        key(fig, {"one cluster on the map": (MUTED, "o"), "more than one": (MADE, "o")})
    return fig


# --- clusters -----------------------------------------------------------------------------------


def coin(asked: Mapping[str, Runs]) -> Figure | None:
    """Classes with two clusters, without and with a coin in the generator's matrix.

    asked: runs of chapter 3 by its names of questions.
    """
    pairs = {
        plain: (measured(asked[plain]), measured(asked[tossed])) for plain, tossed in COIN.items()
    }
    shown = list(
        dict.fromkeys(d for pair in pairs.values() for runs in pair for d in runs.of("dataset"))
    )
    if not shown:
        return None
    title = next(iter(asked.values())).title
    with style():
        fig, axes = small_multiples([title(d) for d in shown], height=1.95)
        for ax, d in zip(axes, shown):
            for y, pair in enumerate(pairs.values()):
                for runs, colour, shift in zip(pair, (MUTED, MADE), (-0.14, 0.14)):
                    values = per_seed(runs, "clusters", d, with_two)
                    seeds(ax, y + shift, values, colour)
            ax.set(xlim=(-0.7, 10.7), xticks=[0, 5, 10])
        axes[0].set_yticks(range(len(pairs)), [f"told by\n{name}" for name in pairs])
        axes[0].set_ylim(len(pairs) - 0.5, -0.5)
        fig.supxlabel("classes, of ten, that form two clusters", fontsize=10)
        key(fig, {"row and column": (MUTED, "o"), "row or column, by a coin": (MADE, "o")})
    return fig


def by_weight(swept: Runs) -> Figure | None:
    """Clusters in a class over the weight of the cosine term; accuracy of the generator below."""
    here = measured(swept)
    if not here:
        return None
    weights = sorted(here.of("cosine"))
    shown = here.of("dataset")
    with style():
        fig, axes = small_multiples(
            [swept.title(d) for d in shown], height=2.9, rows=2, sharex=True, sharey="row"
        )
        for column, d in zip(axes.T, shown):
            for ax, measure, reduce in zip(
                column, ("clusters", "inversion_accuracy"), (average, float)
            ):
                means = []
                for x, weight in enumerate(weights):
                    values = per_seed(here.where(cosine=weight), measure, d, reduce)
                    ax.plot([x] * len(values), values, "o", color=MADE, alpha=0.35, ms=4, mew=0)
                    means.append(np.mean(values) if values else np.nan)
                ax.plot(range(len(weights)), means, color=MADE)
                ax.grid(True)
            column[-1].set_xticks(range(len(weights)), [f"{w:g}" for w in weights])
        axes[0, 0].set_ylabel("clusters\nin a class", fontsize=9)
        axes[1, 0].set_ylabel("images with the\nclass asked for", fontsize=9)
        axes[0, 0].set_ylim(bottom=0.9)
        axes[1, 0].set_ylim(0, 1.05)
        fig.supxlabel("γ, weight of the cosine term", fontsize=10)
    return fig


# --- units --------------------------------------------------------------------------------------


@needs_runs
def overlap(looked: Runs) -> Figure:
    """Overlap of the most active units of training images with those of test and made images."""
    shown = looked.of("dataset")
    with style():
        fig = Figure(figsize=(WIDTH, 1.0 + 0.42 * len(shown)), layout="constrained")
        ax = fig.subplots()
        for y, d in enumerate(shown):
            for kind, colour in (("test", REAL), ("inverted", MADE)):
                classes = np.concatenate(per_seed(looked, f"overlap_{kind}", d, np.asarray))
                ax.plot(classes, [y] * len(classes), "|", color=colour, alpha=0.6, ms=9)
                middle = mean(looked, f"overlap_{kind}", d, np.mean)
                ax.plot(middle, y, "o", color=colour, ms=7, mew=0)
        ax.set_yticks(range(len(shown)), [looked.title(d) for d in shown])
        ax.set(ylim=(len(shown) - 0.5, -0.5), xlim=(-0.02, 1.02))
        ax.tick_params(labelsize=9)
        ax.grid(axis="y", visible=False)
        ax.set_xlabel("share of the 16 busiest units in common (Jaccard)", fontsize=10)
        key(
            fig,
            {
                "training and inverted images": (MADE, "o"),
                "training and test images": (REAL, "o"),
            },
        )
    return fig


@needs_runs
def portraits(looked: Runs) -> Figure:
    """Images that fire a unit most, real and made together; the last data set, lowest seed.

    Above the units that prefer training images, below those that prefer made ones.
    """
    result = list(_first(looked).values())[-1]
    made = result["portrait_is_inverted"]
    pictures = result["portrait_images"] / 255
    each = made.shape[1]
    rows = {
        f"unit {unit}": pictures[i * each : (i + 1) * each]
        for i, unit in enumerate(result["portrait_units"])
    }
    fig = figures.image_rows(rows)
    for ax, flag in zip(fig.axes, made.flatten()):
        ax.spines[:].set(color=MADE if flag else REAL, linewidth=1.6)
    key(fig, {"training image": (REAL, "s"), "inverted image": (MADE, "s")})
    return fig


def _two_lines(names: Iterable[str]) -> list[str]:
    return [re.sub("(: | of the )", lambda end: end[0].rstrip() + "\n", name) for name in names]


@needs_runs
def detectors(looked: Runs) -> Figure:
    """AUROC of telling made from test images, a row a score and a panel a data set."""
    shown = looked.of("dataset")
    colours = [
        MADE if m == "auroc_norm" else REAL if "units" in m else INK for m in SCORES.values()
    ]
    with style():
        titles = [looked.title(d) for d in shown]
        fig, axes = small_multiples(titles, height=0.9 + 0.36 * len(SCORES))
        for ax, d in zip(axes, shown):
            ax.axvline(0.5, color=MUTED, ls="--", lw=1, zorder=0)
            for y, (measure, colour) in enumerate(zip(SCORES.values(), colours)):
                seeds(ax, y, per_seed(looked, measure, d), colour)
            ax.set(xlim=(-0.06, 1.06))
            ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes[0].set_yticks(range(len(SCORES)), _two_lines(SCORES))
        axes[0].set_ylim(len(SCORES) - 0.5, -0.5)
        fig.supxlabel("AUROC, inverted against test images; dashed: guessing", fontsize=10)
    return fig
