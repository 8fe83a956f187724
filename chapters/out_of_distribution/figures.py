"""Figures of chapter 5: runs in, matplotlib figure out; None where nothing was run."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from chapters.out_of_distribution.design import (
    EXPOSED,
    GARBAGE,
    INVERTED,
    NOISE,
    PLAIN,
    UNTRAINED,
)
from chapters.out_of_distribution.reading import (
    DETECTORS,
    Pair,
    by_round,
    first,
    pairs,
    per_seed,
    title,
)
from harness import figures
from harness.figures import key, needs_runs, seeds, small_multiples
from harness.results import Result, Runs
from harness.style import INK, MUTED, PALETTE, WIDTH, style

KNOWN, FOREIGN = PALETTE[0], PALETTE[1]
ADDED = {NOISE: MUTED, UNTRAINED: PALETTE[2], INVERTED: PALETTE[1]}  # what joins the garbage
DOTS = 250  # of each kind in a row
EDGES = (-11.0, 15.0)  # log-odds: what lies beyond is drawn there
SURE = {"0.01": 1e-2, "0.5": 0.5, "0.99": 0.99, "0.9999": 0.9999}


def _odds(confidence: float) -> float:
    sure = min(max(confidence, 1e-12), 1 - 1e-12)
    return math.log(sure / (1 - sure))


def _panels(trained: Runs, shown: Sequence[Pair], **settings) -> tuple[Figure, np.ndarray]:
    """A panel a pair, with its title in letters and lines that fit four of them side by side."""
    titles = [title(trained, pair).replace(" → ", " →\n") for pair in shown]
    fig, axes = small_multiples(titles, **settings)
    for ax in np.atleast_2d(axes)[0]:
        ax.set_title(ax.get_title(loc="left"), fontsize=8, loc="left", linespacing=1.1)
    return fig, axes


# --- the key figure -----------------------------------------------------------------------------


@needs_runs
def thresholds(trained: Runs) -> Figure | None:
    """Confidences before and after, one panel a pair; bars: where no threshold separates.

    Known test images, foreign images that are accepted, and those that are refused, of the lowest
    seed; the ends of a bar are the least confident known image that is classified correctly and
    the most confident foreign one that is accepted, of all test images.
    """
    shown = [pair for pair in pairs(trained) if first(trained, pair, INVERTED)]
    if not shown:
        return None
    rows = -(-len(shown) // 2)
    with style():
        fig = Figure(figsize=(WIDTH, 0.75 + 1.06 * rows), layout="constrained")
        axes = fig.subplots(rows, min(2, len(shown)), sharex=True, sharey=True, squeeze=False)
        for ax in axes.flat[len(shown) :]:
            ax.set_visible(False)
        for ax, pair in zip(axes.flat, shown):
            for arm, y in ((PLAIN, 0.0), (INVERTED, 2.6)):
                if result := first(trained, pair, arm):
                    _strips(ax, result, y)
            ax.set_title(title(trained, pair), loc="left", fontsize=9)
            ax.set_xticks([_odds(p) for p in SURE.values()], SURE)
            ax.set_yticks([0.5, 3.6], ["ten\nclasses", "with\ngarbage"])
            ax.set(ylim=(5.1, -0.6), xlim=(EDGES[0] - 0.7, EDGES[1] + 0.7))
            ax.tick_params(labelsize=8)
            ax.tick_params(axis="y", length=0)
            ax.grid(axis="y", visible=False)
        fig.supxlabel("confidence: largest probability among the ten classes", fontsize=10)
        marks = {"known": KNOWN, "foreign, accepted": FOREIGN, "foreign, refused": MUTED}
        key(fig, {name: (colour, "o") for name, colour in marks.items()})
    return fig


def _strips(ax: Axes, result: Result, y: float) -> None:
    """Rows of dots: known above, below them what is accepted, and what is refused."""
    away = result["foreign_refused"].astype(bool)
    foreign = result["odds_foreign"].astype(float)
    known = result["odds_known"].astype(float)[~result["known_wrong"].astype(bool)]
    random = np.random.default_rng(0)
    kinds = ((known, KNOWN), (foreign[~away], FOREIGN), (foreign[away], MUTED))
    for row, (own, colour) in enumerate(kinds):
        some = own[:DOTS].clip(*EDGES)
        height = y + row + random.uniform(-0.28, 0.28, len(some))
        ax.plot(some, height, "o", color=colour, ms=1.7, mew=0, alpha=0.55)
    least, most = (
        float(np.clip(_odds(result[name]), *EDGES))
        for name in ("least_confident_known", "most_confident_accepted")
    )
    ax.plot(least, y, "o", color=KNOWN, ms=4.5, mec=INK, mew=0.8, zorder=4)
    if not away.all():
        ax.plot(most, y + 1, "o", color=FOREIGN, ms=4.5, mec=INK, mew=0.8, zorder=4)
    if most > least:
        ax.plot([least, most], [y + 0.5] * 2, color=INK, lw=1.6, marker="|", ms=6)


# --- how well they are told apart ---------------------------------------------------------------


@needs_runs
def told_apart(trained: Runs) -> Figure:
    """AUROC of known against foreign images, a row a way of refusing and a panel a pair."""
    ways = {  # name: arm, measure, that of 1 − P(garbage), colour
        "garbage: inverted": (INVERTED, "auroc", "auroc_garbage", FOREIGN),
        "garbage: untrained": (UNTRAINED, "auroc", "auroc_garbage", INK),
        "garbage: noise": (NOISE, "auroc", "auroc_garbage", INK),
        "outlier exposure": (EXPOSED, "auroc", "", INK),
        "plain": (PLAIN, "auroc", "", KNOWN),
    }
    for name, ending in DETECTORS.items():
        ways[f"plain: {name.split(' of ')[0]}"] = (PLAIN, f"auroc_{ending}", "", KNOWN)
    shown = pairs(trained)
    with style():
        fig, axes = _panels(trained, shown, height=1.5 + 0.27 * len(ways))
        for ax, pair in zip(axes, shown):
            ax.axvline(0.5, color=MUTED, ls="--", lw=1, zorder=0)
            for y, (arm, measure, other, colour) in enumerate(ways.values()):
                seeds(ax, y, per_seed(trained, pair, arm, measure).tolist(), colour)
                if other:
                    seeds(ax, y + 0.32, per_seed(trained, pair, arm, other).tolist(), colour, "D")
            ax.set_xlim(0.15, 1.05)
            ax.set_xticks([0.5, 1], ["0.5", "1"])
        axes[0].set_yticks(range(len(ways)), list(ways))
        axes[0].set_ylim(len(ways) - 0.5, -0.5)
        key(fig, {"by confidence, or as named": (INK, "o"), "by 1 − P(garbage)": (INK, "D")})
        fig.supxlabel("AUROC, known against foreign images; dashed: guessing", fontsize=10)
    return fig


@needs_runs
def turned_away(trained: Runs) -> Figure:
    """Share of foreign images in the garbage class, a row an arm and a panel a pair."""
    names = {INVERTED: "inverted images", UNTRAINED: "untrained generator", NOISE: "noise"}
    shown = pairs(trained)
    with style():
        fig, axes = _panels(trained, shown, height=1.95)
        for ax, pair in zip(axes, shown):
            ax.axvline(0.5, color=MUTED, ls="--", lw=1, zorder=0)
            for y, arm in enumerate(names):
                values = per_seed(trained, pair, arm, "refused").tolist()
                seeds(ax, y, values, FOREIGN if arm == INVERTED else INK)
            ax.set(xlim=(-0.06, 1.06))
            ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes[0].set_yticks(range(len(names)), list(names.values()))
        axes[0].set_ylim(len(names) - 0.5, -0.5)
        fig.supxlabel("share of foreign images in the garbage class", fontsize=10)
    return fig


@needs_runs
def rounds(trained: Runs) -> Figure | None:
    """AUROC (above) and share of foreign images refused (below) over the rounds, by arm."""
    frames = {"AUROC": by_round(trained, "auroc"), "refused": by_round(trained, "refused")}
    if frames["AUROC"].empty:
        return None
    shown = [pair for pair in pairs(trained) if first(trained, pair, INVERTED)]
    with style():
        fig, axes = _panels(trained, shown, height=3.1, rows=2, sharex=True, sharey="row")
        for row, (name, frame) in zip(axes, frames.items()):
            for ax, pair in zip(row, shown):
                own = frame[frame["pair"] == title(trained, pair)]
                for arm in GARBAGE:
                    wide = own[own["arm"] == arm].pivot(
                        index="round", columns="seed", values="value"
                    )
                    if wide.empty:
                        continue
                    ax.plot(wide.index, wide, color=ADDED[arm], lw=0.6, alpha=0.35)
                    ax.plot(wide.index, wide.mean(axis=1), color=ADDED[arm])
                ax.grid(axis="y", visible=True)
            row[0].set_ylabel(name, fontsize=9)
        axes[1, 0].set_ylim(-0.05, 1.05)
        fig.supxlabel("round", fontsize=10)
        words = {NOISE: "noise joins", UNTRAINED: "untrained", INVERTED: "inverted"}
        key(fig, {words[arm]: (ADDED[arm], "o") for arm in GARBAGE})
    return fig


# --- images -------------------------------------------------------------------------------------


@needs_runs
def slipped(trained: Runs, columns: int = 8) -> Figure | None:
    """The accepted foreign images of most confidence, a row a foreign set; lowest seed."""
    rows, titles = {}, {}
    for pair in pairs(trained):
        result = first(trained, pair, INVERTED)
        if result is None or not len(result["slipped"]):
            continue
        name = trained.title(pair[1])
        name = title(trained, pair) if name in rows else name
        pictures = result["slipped"][:columns] / 255
        blank = np.ones((columns - len(pictures), *pictures.shape[1:]))
        rows[name] = np.concatenate([pictures, blank])
        sure = [f"{p:.3f}" for p in result["slipped_confidence"][:columns]]
        titles[name] = sure + [""] * len(blank)
    return figures.image_rows(rows, titles) if rows else None


@needs_runs
def garbage(trained: Runs, columns: int = 8) -> Figure | None:
    """What joins the garbage class last, a row an arm, beside known images; the first pair."""
    pair = pairs(trained)[0]
    words = {NOISE: "noise", UNTRAINED: "untrained generator", INVERTED: "inverted"}
    made = {arm: first(trained, pair, arm) for arm in GARBAGE}
    rows = {
        words[arm]: result["garbage_shown"][:columns] / 255
        for arm, result in made.items()
        if result
    }
    if not rows:
        return None
    known = next(result for result in made.values() if result)["known_shown"][:columns] / 255
    return figures.image_rows({"known": known, **rows})
