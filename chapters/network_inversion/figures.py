"""Figures of chapter 3: runs in, matplotlib figure out; None where nothing was run."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from chapters.network_inversion.design import (
    CE_ONLY,
    EVERY_CLASS,
    FOUR,
    LEFT_OUT,
    TOLD,
    chosen_weights,
)
from chapters.network_inversion.reading import (
    Asked,
    along,
    confidences,
    datasets,
    made_images,
    matched,
    mean,
    measured,
    over_cosine,
    per_seed,
)
from harness import figures
from harness.results import Result, Runs
from harness.style import MUTED, PALETTE, WIDTH, style

CERTAIN, DOUBTING = PALETTE[0], PALETTE[1]  # what the generator is asked for
REAL = MUTED
ASKED_FOR_DOUBT = ("vector", "vector-matrix", "vector-matrix, row or column")
ON_DARK_CELLS, ON_PALE_CELLS = "#fefefe", "#262626"  # on cells, which dark pages do not change

# --- images -------------------------------------------------------------------------------------


def beside_real(
    asked: Asked, real: Mapping[str, np.ndarray], *, classes: int = 4, rows: Mapping[str, str]
) -> Figure | None:
    """Real images above made ones of the same classes, a block a data set.

    real: `reading.real_images`; without any its row is left out.  rows: {label: question}.
    classes: shown of each set, one fewer where more than three sets share the width.
    """
    shown = datasets(asked)
    classes -= len(shown) > 3
    made = {
        (label, d): made_images(measured(asked[name]), d)
        for label, name in rows.items()
        for d in shown
    }
    labels = [label for label in rows if any(made[label, d] for d in shown)]
    if not shown or not labels:
        return None
    blocks = {}
    for d in shown:
        common = set.intersection(*(set(made[x, d]) for x in labels if made[x, d]))
        blocks[d] = sorted(common)[:classes]
    narrow = len(shown) > 3
    first = ["real"] if any(d in real for d in shown) else []
    with style():
        margin, gap, top = 0.8, 0.12, 0.34 if narrow else 0.2
        cell = (WIDTH - margin - gap * (len(shown) - 1)) / (len(shown) * classes)
        cell = min(cell, 0.62)
        height = top + cell * len(first + labels)
        width = margin + gap * (len(shown) - 1) + cell * classes * len(shown)
        fig = Figure(figsize=(max(width, WIDTH), height))
        for j, d in enumerate(shown):
            left = margin + j * (classes * cell + gap)
            name = asked["vector-matrix"].title(d)
            fig.text(left / fig.get_figwidth(), 1, name.replace(" (", "\n(") if narrow else name,
                     fontsize=9, va="top", linespacing=1.1)  # fmt: skip
            for i, label in enumerate(first + labels):
                for k, c in enumerate(blocks[d]):
                    picture = _picture(real, made, label, d, c)
                    if picture is not None:
                        x, y, side = left + k * cell, height - top - (i + 1) * cell, cell - 0.03
                        W, H = fig.get_size_inches()
                        ax = fig.add_axes((x / W, y / H, side / W, side / H))
                        figures.picture(ax, picture)
        for i, label in enumerate(first + labels):
            fig.text(
                (margin - 0.08) / fig.get_figwidth(), (height - top - (i + 0.5) * cell) / height,
                label.replace(" ", "\n"), fontsize=9, ha="right", va="center", linespacing=1.1,
            )  # fmt: skip
    return fig


def _picture(real, made, label: str, dataset: str, k: int) -> np.ndarray | None:
    """Image [c, h, w] of class k."""
    if label == "real":
        return real[dataset][k] if dataset in real else None
    found = made[label, dataset].get(k)
    return None if found is None else found[0]


def live(samples, real: torch.Tensor, labels: torch.Tensor, *, draws: int = 3) -> Figure:
    """The first image of each class, and made ones below it.

    samples: `lib.inversion.Samples`.  real: [n, c, h, w] in [0, 1] with labels [n].
    """
    classes = int(labels.max()) + 1
    rows = {"real digits": torch.stack([real[labels == k][0] for k in range(classes)])}
    for i in range(draws):
        some = torch.stack([samples.images[samples.labels == k][i] for k in range(classes)])
        rows[f"draw {i + 1}"] = (some + 1) / 2
    return figures.image_rows(rows, {"real digits": [str(k) for k in range(classes)]})


def siblings(asked: Asked, real: Mapping[str, np.ndarray]) -> Figure | None:
    """One image of each class from each generator against one classifier, below real ones."""
    runs = measured(asked["siblings"])
    rows = {}
    for d in runs.of("dataset"):
        made = {g: made_images(runs, d, generator=g) for g in runs.where(dataset=d).of("generator")}
        common = sorted(set.intersection(*map(set, made.values())))
        if d in real:
            rows[f"{runs.title(d)} real"] = real[d][common]
        for g, own in made.items():
            rows[f"{runs.title(d)} made {g + 1}"] = np.stack([own[k][0] for k in common])
    widths = {len(row) for row in rows.values()}
    if not rows:
        return None
    least = min(widths)  # a class that a generator misses takes the last column of all
    short = {re.sub(r" (\(JPEG\)|\(900\)|digits)", "", name): row for name, row in rows.items()}
    return figures.image_rows({name: row[:least] for name, row in short.items()})


# --- values by seed -----------------------------------------------------------------------------


ASKED_FOR = {"asked for certainty": (CERTAIN, "o"), "asked for doubt": (DOUBTING, "o")}


def conditionings(asked: Asked) -> Figure | None:
    """Diversity within a class by what the generator is told; hollow: below 95 % accuracy."""
    shown = datasets(asked)
    if not shown:
        return None
    names = [n for n in TOLD if n not in ASKED_FOR_DOUBT] + list(ASKED_FOR_DOUBT)
    with style():
        titles = [asked["label"].title(d) for d in shown]
        fig, axes = figures.small_multiples(titles, height=1.0 + 0.3 * len(names))
        for ax, d in zip(axes, shown):
            equal = matched(asked, names, d)
            for y, name in enumerate(names):
                colour = DOUBTING if name in ASKED_FOR_DOUBT else CERTAIN
                values = per_seed(asked[name], "intra", d).tolist()
                figures.seeds(ax, y, values, colour, hollow=name not in equal)
            ax.set_xlim(left=0)
        axes[0].set_yticks(range(len(names)), [n.replace(", row", ",\nrow") for n in names])
        axes[0].invert_yaxis()
        fig.supxlabel("diversity within a class, 1 − mean cosine of features", fontsize=10)
        figures.key(fig, ASKED_FOR)
    return fig


def terms(asked: Asked) -> Figure | None:
    """Spread within a class of features (above) and of pixels (below), by loss."""
    shown = datasets(asked)
    if not shown:
        return None
    measures = {"features, 1 − mean cosine": "intra", "pixels, standard deviation": "pixel_std"}
    certain = ("no KL divergence", CE_ONLY)
    with style():
        titles = [asked["label"].title(d) for d in shown]
        fig, axes = figures.small_multiples(titles, height=4.0, rows=2)
        for row, (label, measure) in zip(axes, measures.items()):
            for ax, d in zip(row, shown):
                for y, name in enumerate(LEFT_OUT):
                    hollow = name not in matched(asked, [name], d)
                    colour = CERTAIN if name in certain else DOUBTING
                    figures.seeds(
                        ax, y, per_seed(asked[name], measure, d).tolist(), colour, hollow=hollow
                    )
                ax.set_xlim(left=0)
            row[len(shown) // 2].set_xlabel(f"within a class: {label}", fontsize=10)
        axes[0, 0].set_yticks(range(len(LEFT_OUT)), list(LEFT_OUT))
        axes[0, 0].invert_yaxis()
        figures.key(fig, ASKED_FOR)
    return fig


def confidence(asked: Asked) -> Figure | None:
    """Measured against predicted confidence, a dot a run."""
    table = confidences(asked)
    if table.empty:
        return None
    with style():
        fig = Figure(figsize=(WIDTH, 2.7), layout="constrained")
        ax = fig.subplots()
        ax.plot((0.2, 1), (0.2, 1), color=MUTED, ls="--", lw=1, zorder=0)
        for (name, own), colour, marker in zip(
            table.groupby("data set", sort=False), PALETTE, "os^D"
        ):
            ax.plot(own["predicted"], own["confidence"], marker, color=colour, ms=4.5, alpha=0.75,
                    mew=0, label=name)  # fmt: skip
        for name, where in {
            "no cross-entropy": table["ce"] == 0,
            "α = 4": table["kl"] == 4,
            "α = 1": (table["kl"] == 1) & (table["ce"] == 1) & (table["vector"] == "soft"),
            "α = ¼": table["kl"] == 0.25,
            "hot vectors,\nor no KL": (table["kl"] == 0) | (table["vector"] == "hot"),
        }.items():
            if where.any():
                x, low = table[where]["predicted"].mean(), table[where]["confidence"].min()
                ax.annotate(name, (x, low), xytext=(8, -6), textcoords="offset points", fontsize=9,
                            va="top", ha="right" if x > 0.95 else "left")  # fmt: skip
        ax.set(xlabel="confidence that the loss asks for", xlim=(0.2, 1.03), ylim=(0.13, 1.05))
        ax.set_title("mean largest probability of made images", loc="left", fontsize=10)
        ax.legend(frameon=False, fontsize=9, loc="upper left", handletextpad=0.1)
    return fig


def unlike(asked: Asked) -> Figure | None:
    """An independent classifier's view of test images and of made ones, a row a data set."""
    shown = datasets(asked)
    if not shown:
        return None
    panels = {
        "another network\nnames the class": ("oracle_accuracy", "oracle_test_accuracy", None),
        "KID to the\ntraining images": ("kid", "test_kid", None),
        "distance to the nearest\none, AUROC": ("nearest_auroc", None, 0.5),
    }
    kinds = {"vector-matrix, hot": (CERTAIN, 0.0), "vector-matrix": (DOUBTING, 0.22)}
    with style():
        fig, axes = figures.small_multiples(list(panels), height=1.0 + 0.5 * len(shown))
        for ax, (measure, of_test, level) in zip(axes, panels.values()):
            for y, d in enumerate(shown):
                if of_test:
                    figures.seeds(
                        ax, y - 0.22, per_seed(asked["vector-matrix"], of_test, d).tolist(), REAL
                    )
                for name, (colour, shift) in kinds.items():
                    figures.seeds(ax, y + shift, per_seed(asked[name], measure, d).tolist(), colour)
            if level is not None:
                ax.axvline(level, color=REAL, ls="--", lw=1, zorder=0)
            if measure == "kid":
                ax.set_xlim(left=-0.4)
        for ax in (axes[0], axes[2]):
            ax.set_xlim(-0.03, 1.05)
            ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes[0].set_yticks(range(len(shown)), [asked["label"].title(d) for d in shown])
        axes[0].set_ylim(len(shown) - 0.5, -0.5)
        figures.key(fig, {"test images": (REAL, "o"), **ASKED_FOR})
    return fig


# --- appendix -----------------------------------------------------------------------------------

MEASURES = {  # columns of `in_numbers`: scalar and its format
    "inversion\naccuracy": ("inversion_accuracy", ".3f"),
    "confidence": ("confidence", ".2f"),
    "diversity\nwithin a class": ("intra", ".2f"),
    "the same, to\nanother network": ("oracle_intra", ".3f"),
    "steps to\n95 %": ("steps_to_95", ".0f"),
}
LOSS_MEASURES = {
    **{k: v for k, v in MEASURES.items() if v[0] in ("inversion_accuracy", "confidence", "intra")},
    "diversity\nbetween classes": ("inter", ".2f"),
    "pixels,\nst. deviation": ("pixel_std", ".2f"),
}


def in_numbers(
    asked: Asked, names: Sequence[str], measures: Mapping[str, tuple[str, str]] = MEASURES
) -> Figure | None:
    """Means over seeds as number and colour: a row a setting, a map a measure, a column a set.

    Each map has its own scale of colours.
    """
    shown = datasets(asked)
    if not shown:
        return None
    with style():
        lines = -(-len(measures) // 3)
        foot = 0.85 if len(shown) < 4 else 1.1  # steeper names below the columns
        fig = Figure(figsize=(WIDTH, lines * (foot + 0.23 * len(names)) + 0.3))
        axes = fig.subplots(lines, 3, sharex=True, sharey=True, squeeze=False)
        for ax, (title, (measure, form)) in zip(axes.flat, measures.items()):
            values = np.array([[mean(asked[n], measure, d) for d in shown] for n in names])
            texts = np.vectorize(format)(values, form)
            _cells(ax, values, texts, low=np.nanmin(values), high=np.nanmax(values))
            ax.set_title(title, fontsize=9, loc="left", linespacing=1.1)
        for ax in axes.flat[len(measures) :]:
            ax.set_visible(False)
        for ax in axes.flat:
            ax.tick_params(length=0, labelbottom=True)
            ax.set_xticks([i + 0.5 for i in range(len(shown))],
                          [asked["label"].title(d).split(" (")[0] for d in shown], fontsize=7,
                          rotation=20 if len(shown) < 4 else 40, ha="right", rotation_mode="anchor")  # fmt: skip
        axes[0, 0].set_yticks([i + 0.5 for i in range(len(names))], names)
        axes[0, 0].set_ylim(len(names), 0)
        for ax in axes[:, 0]:
            ax.tick_params(axis="y", labelsize=8)
        fig.tight_layout(w_pad=0.4)
    return fig


def _cells(ax: Axes, values: np.ndarray, texts: np.ndarray, *, low: float, high: float) -> None:
    """A table [rows, columns] of texts; colours from the value `low` to `high`."""
    shades = colormaps["Blues"]
    for (i, j), value in np.ndenumerate(values):
        if not np.isfinite(value):
            continue
        share = (value - low) / (high - low) if high > low else 0.0
        ax.add_patch(Rectangle((j, i), 0.96, 0.96, facecolor=shades(0.1 + 0.7 * share), lw=0))
        ax.text(j + 0.48, i + 0.5, texts[i, j], ha="center", va="center",
                fontsize=8 if values.shape[1] < 4 else 6.5,
                color=ON_DARK_CELLS if share > 0.6 else ON_PALE_CELLS)  # fmt: skip
    ax.set_xlim(0, values.shape[1])
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)


@figures.needs_runs
def tried_weights(tried: Runs) -> Figure | None:
    """Vendi score of the weights that were tried; in brackets those that the rule refuses."""
    runs = measured(tried)
    if not runs:
        return None
    chosen, alphas = chosen_weights(tried), sorted(runs.of("kl"))
    gammas, deltas = sorted(runs.of("cosine")), sorted(runs.of("orthogonality"))
    with style():
        fig = Figure(figsize=(WIDTH, 0.85 + 0.28 * len(deltas)))
        axes = fig.subplots(1, len(alphas), sharey=True, squeeze=False)[0]
        for ax, alpha in zip(axes, alphas):
            cells = [
                [list(runs.where(kl=alpha, cosine=g, orthogonality=d)) for g in gammas]
                for d in deltas
            ]
            values = np.array([[_mean_of(c, "vendi") for c in row] for row in cells])
            texts = np.array([[_score(c) for c in row] for row in cells])
            _cells(ax, values, texts, low=1.0, high=max(r["vendi"] for r in runs))
            if alpha == chosen["kl"] and chosen["cosine"] in gammas:
                place = gammas.index(chosen["cosine"]), deltas.index(chosen["orthogonality"])
                ax.add_patch(Rectangle(place, 0.96, 0.96, fill=False, ec=DOUBTING, lw=2.5))
            ax.set_title(f"α = {alpha:g}, β = 1", fontsize=10, loc="left")
            ax.set_xticks([i + 0.5 for i in range(len(gammas))], [f"γ = {g:g}" for g in gammas])
            ax.tick_params(labelsize=9)
        axes[0].set_yticks([i + 0.5 for i in range(len(deltas))], [f"δ = {d:g}" for d in deltas])
        axes[0].set_ylim(len(deltas), 0)
        fig.tight_layout()
    return fig


def _mean_of(runs: Sequence[Result], measure: str) -> float:
    return float(np.mean([r[measure] for r in runs])) if runs else float("nan")


def _score(runs: Sequence[Result]) -> str:
    """The Vendi score, in brackets if some class falls short of the rule's accuracy."""
    kept = _mean_of(runs, "worst_class_accuracy") >= EVERY_CLASS
    return f"{_mean_of(runs, 'vendi'):.1f}" if kept else f"({_mean_of(runs, 'vendi'):.1f})"


def steps(asked: Asked) -> Figure | None:
    """Inversion accuracy along training, for the papers' four ways of telling."""
    table = along(asked, FOUR)
    if table.empty:
        return None
    return figures.panels(
        table, "step", "accuracy", "told by", "data set", columns=_columns(table), log_x=True,
        height=2.0,
        label_x="step of the generator", label_y="inversion accuracy",
    )  # fmt: skip


def _columns(table: pd.DataFrame) -> int:
    """Panels side by side: four stand two by two."""
    return 2 if table["data set"].nunique() == 4 else 3


def by_cosine(asked: Asked) -> Figure | None:
    """Diversity and accuracy over the weight of the cosine term, a panel a data set."""
    table = measured(over_cosine(asked)).frame()
    if table.empty:
        return None
    weights = sorted(table["cosine"].unique())
    shown = {"intra": "within classes", "inter": "between classes",
             "inversion_accuracy": "accuracy"}  # fmt: skip
    long = table.melt(
        ["cosine", "data set", "seed"], list(shown), var_name="what", value_name="value"
    )
    long = long.assign(what=long["what"].map(shown), place=long["cosine"].map(weights.index))
    fig = figures.panels(
        long, "place", "value", "what", "data set", columns=_columns(long), height=2.0,
        label_x="γ, weight of the cosine term",
        label_y="diversity (1 − mean cosine), inversion accuracy",
    )  # fmt: skip
    for ax in fig.axes:
        ax.set_xticks(range(len(weights)), [f"{v:g}" for v in weights])
    return fig
