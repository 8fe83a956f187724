"""Figures of chapter 8: runs in, matplotlib figure out; None where nothing was run."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter

from chapters.initialization import reading
from chapters.initialization.design import (
    ATTACKS,
    BILEVEL,
    INVENTED,
    NATURAL,
    NETWORKS,
    PAPER,
    REFUTES,
    SHARES,
    SIGNALS,
    STARTS,
    SUPPORTS,
    TABLE_1,
    TELLERS,
)
from harness.figures import key, needs_runs, picture, seeds, small_multiples
from harness.results import Result, Runs
from harness.statistics import over_seeds
from harness.style import FAINT, INK, MUTED, PALETTE, WIDTH, style

# One colour, one meaning: trained on; never trained on; no image.
TRUE, OTHER, RANDOM = PALETTE[0], PALETTE[1], MUTED
OF_START = {"noise": RANDOM, "the training images": TRUE, "other images": OTHER}
POOLS = {  # what outputs are compared with
    "training images": ("to_truth", TRUE),
    "other images": ("to_partition", OTHER),
    "noise": ("to_noise", RANDOM),
}


# --- the key figure -----------------------------------------------------------------------------


def told_apart(told: Runs, tuning: Runs, finding: str = "") -> Figure | None:
    """AUROC of each attack's best blind signal, a row an attack and a panel a data set.

    Dots: hits against natural misses of the attack itself; diamonds: against inventions. The
    signal, at the right, is chosen on the tuning draws.
    """
    datasets = told.of("dataset")
    if not datasets:
        return None
    rows = [attack for attack in TELLERS if attack in told.of("attack")]
    with style():
        names = [told.title(dataset) for dataset in datasets]
        fig, panels = small_multiples(names, height=1.15 + 0.42 * len(rows))
        for ax, dataset in zip(panels, datasets):
            ax.axvspan(SUPPORTS, REFUTES, color=FAINT, lw=0, zorder=0)
            ax.axvline(0.5, color=MUTED, ls="--", lw=1, zorder=1)
            for y, attack in enumerate(rows):
                own, chosen = told.where(dataset=dataset), tuning.where(dataset=dataset)
                _told_row(ax, y, own, chosen, attack)
            ax.set(xlim=(0.22, 1.04), ylim=(len(rows) - 0.35, -0.65))
            ax.set_xticks([0.5, SUPPORTS, REFUTES, 1], ["0.5", ".6", ".7", "1"], fontsize=8)
        panels[0].set_yticks(range(len(rows)), [_in_two(TELLERS[attack]) for attack in rows])
        panels[0].tick_params(axis="y", labelsize=8.5)
        key(
            fig,
            {"against natural misses": (TRUE, "o"), "against inventions": (OTHER, "D")},
            finding=finding,
        )
        fig.supxlabel("AUROC of the best signal that sees no image; dashed: guessing", fontsize=9)
    return fig


def _told_row(ax: Axes, y: float, told: Runs, tuning: Runs, attack: str) -> None:
    """The marks of one attack, and above them the signal, or the two, that was chosen."""
    names = []
    for kind, place, colour, marker in ((NATURAL, 0.0, TRUE, "o"), (INVENTED, 0.26, OTHER, "D")):
        chosen = reading.detector(tuning, [attack], kind)
        if values := reading.told_by(told, chosen, kind):
            seeds(ax, y + place, values, colour, marker)
            names.append(("low " if chosen.lower else "") + SIGNALS[chosen.signal])
    words = f"by {' / '.join(dict.fromkeys(names))}" if names else "too few hits or misses"
    look = {} if names else {"color": MUTED, "style": "italic"}
    height = y - 0.32 if names else y
    ax.text(1.03, height, words, fontsize=7, va="center", ha="right", **look)


def _in_two(name: str) -> str:
    return name.replace(", ", ",\n")


# --- pictures of starts and what came of them -----------------------------------------------------

SHOWN = 3  # images a start
WORDS = {"the training images": "the truth"}  # where there is little room
MARGIN, GAP, LETTERS = 0.82, 0.14, 0.2  # inches: of the names, between starts, for a line of text
PICTURES = {
    "shown_start": "start",
    "shown_outputs": "output",
    "shown_nearest": "nearest\ntrained on",
}


def starts(mixed: Runs, started: Runs) -> Figure | None:
    """Bilevel, one run a start: what it started from, what came out, the nearest training image.

    A block for the affine network and one for that with a hidden layer (paper, Figures 1 to 4).
    """
    blocks = {
        f"bilevel, {NETWORKS[network]}": {
            f"from {WORDS.get(name, name)}": _shown(reading.at(runs, pure))
            for name, pure in STARTS.items()
        }
        for network, runs in (("affine", reading.by(mixed, BILEVEL)), ("hidden", started))
    }
    return _blocks(blocks)


def kkt_starts(mixed: Runs, noisy: Runs) -> Figure | None:
    """The KKT attack on three layers from three starts (paper, Figures 5 to 9)."""
    block = {
        "from N(0, 1)": _shown(reading.standard(noisy)),
        "from tuned noise": _shown(reading.tuned(noisy)),
        "from other images": _shown(reading.from_others(mixed, PAPER)),
    }
    return _blocks({"KKT, three layers": block})


def _shown(runs: Runs) -> Result | None:
    """The first run that kept its pictures."""
    return next((run for run in runs if "shown_outputs" in run.arrays), None)


def _blocks(blocks: Mapping[str, Mapping[str, Result | None]]) -> Figure | None:
    """{block: {start: run}}: three rows of pictures a block, a group of columns a start."""
    blocks = {name: starts for name, starts in blocks.items() if any(starts.values())}
    if not blocks:
        return None
    groups = max(map(len, blocks.values()))
    cell = (WIDTH - MARGIN - (groups - 1) * GAP) / (groups * SHOWN)
    tall = len(PICTURES) * cell + LETTERS + (LETTERS if len(blocks) > 1 else 0)
    height = len(blocks) * tall + (len(blocks) - 1) * 0.08
    with style():
        fig = Figure(figsize=(WIDTH, height))
        top = height
        for name, starts in blocks.items():
            if len(blocks) > 1:
                fig.text(0, (top - 0.04) / height, name, fontsize=9, va="top", weight="bold")
                top -= LETTERS
            for group, (start, run) in enumerate(starts.items()):
                left = MARGIN + group * (SHOWN * cell + GAP)
                fig.text(left / WIDTH, (top - 0.04) / height, start, fontsize=8.5, va="top")
                _group(fig, run, left, top - LETTERS, cell)
            for row, words in enumerate(PICTURES.values()):
                y = top - LETTERS - (row + 0.5) * cell
                place = ((MARGIN - 0.08) / WIDTH, y / height)
                fig.text(*place, words, fontsize=8, ha="right", va="center", linespacing=1.05)
            top -= LETTERS + len(PICTURES) * cell + 0.08
    return fig


def _group(fig: Figure, run: Result | None, left: float, top: float, cell: float) -> None:
    """The pictures of one run; without it a dash."""
    wide, high = fig.get_size_inches()
    if run is None:
        fig.text(left / wide, (top - cell) / high, "– not run", fontsize=8, color=MUTED)
        return
    for row, kind in enumerate(PICTURES):
        for column, pixels in enumerate(run[kind][:SHOWN]):
            box = np.array([left + column * cell, top - (row + 1) * cell, cell, cell])
            box[2:] -= 0.03
            picture(fig.add_axes(box / (wide, high, wide, high)), pixels / 255)


# --- weights ------------------------------------------------------------------------------------

LEAST = 1e-14  # of a squared distance, where an axis is logarithmic


def weights(mixed: Runs, loosened: Runs) -> Figure | None:
    """‖θ* − θ‖² of the bilevel attack: along its steps, and against the tolerance below it."""
    bilevel = reading.by(mixed, BILEVEL)
    if not bilevel and not loosened:
        return None
    with style():
        fig, (along, against) = small_multiples(
            ["along the steps", "by the tolerance inside"], height=2.5
        )
        for start, pure in STARTS.items():
            for run in reading.at(bilevel, pure):
                line = np.maximum(np.asarray(run["along_distance"], dtype=float), LEAST)
                along.plot(run["along_step"], line, color=OF_START[start], lw=1.2, alpha=0.8)
        for start, pure in STARTS.items():
            if own := reading.at(loosened, pure):
                line = own.frame().sort_values("tolerance")
                distance = line["distance"].clip(lower=LEAST)
                against.plot(line["tolerance"], distance, "o-", color=OF_START[start], ms=3, lw=1)
        for ax in (along, against):
            for value in TABLE_1["affine"].values():
                ax.axhline(value, color=INK, lw=0.8, ls=":")
        along.annotate(
            "Table 1", (0.02, min(TABLE_1["affine"].values())), fontsize=8, va="top",
            xycoords=("axes fraction", "data"), xytext=(0, -2), textcoords="offset points",
        )  # fmt: skip
        along.set(yscale="log", xlabel="steps of the images")
        against.set(yscale="log", xscale="log", xlabel="tolerance of the lower level")
        for ax in (along, against):
            ax.xaxis.label.set_size(9)
            ax.grid(axis="y", visible=True)
        along.set_ylabel("‖θ* − θ‖²", fontsize=9)
        key(
            fig,
            {f"from {WORDS.get(name, name)}": (colour, "s") for name, colour in OF_START.items()},
        )
    return fig


# --- mixtures -----------------------------------------------------------------------------------


def mixtures(mixed: Runs) -> Figure | None:
    """Mean distance of outputs to three kinds of images, by the start: maps of 5 × 5 starts.

    A row an attack, below that of no step at all; a column a kind. Without images (λ₂ = 0) the five
    starts of a map are one.
    """
    attacks = [attack for attack in ATTACKS if reading.by(mixed, attack)]
    if not attacks:
        return None
    maps = {"zero steps": (attacks[0], "_at_start")} | {name: (name, "") for name in attacks}
    tables = {
        (row, pool): _map(reading.by(mixed, attack), f"{measure}{ending}")
        for row, (attack, ending) in maps.items()
        for pool, (measure, _) in POOLS.items()
    }
    most = max(np.nanmax(table) for table in tables.values() if np.isfinite(table).any())
    with style():
        fig = Figure(figsize=(WIDTH, 0.75 + 1.02 * len(maps)), layout="constrained")
        axes = fig.subplots(len(maps), len(POOLS), sharex=True, sharey=True, squeeze=False)
        for ax, ((row, pool), table) in zip(axes.flat, tables.items()):
            ax.grid(False)
            ax.spines[:].set_visible(False)
            drawn = ax.imshow(
                table, origin="lower", aspect="auto", cmap="rocket_r", vmin=0, vmax=most
            )
            ax.set_xticks([0, 2, 4], ["0", ".5", "1"])
            ax.set_yticks([0, 2, 4], ["0", ".5", "1"])
            ax.tick_params(length=0, labelsize=8)
        for ax, pool in zip(axes[0], POOLS):
            ax.set_title(f"to {pool}", fontsize=9)
        for ax, row in zip(axes[:, 0], maps):
            ax.set_ylabel(_in_two(row) + "\n\nλ₂", fontsize=8.5)
        bar = fig.colorbar(drawn, ax=axes, shrink=0.5, aspect=25, pad=0.02)
        bar.set_label("mean L₂ distance", fontsize=8.5)
        bar.ax.tick_params(labelsize=8)
        bar.outline.set_visible(False)
        fig.supxlabel("λ₁, share of the training images among images", fontsize=9)
    return fig


def _map(runs: Runs, measure: str) -> np.ndarray:
    """Mean over seeds by (λ₂, λ₁); NaN where nothing was run."""
    return np.array(
        [[reading.mean(reading.at(runs, (truth, image)), measure) for truth in SHARES]
         for image in SHARES]
    )  # fmt: skip


def mixing(mixed: Runs) -> Figure | None:
    """Distances along two lines of starts, a column an attack; dotted: before the first step.

    Above from the other images to the truth (paper, Figure 11), below from noise (Figure 12).
    """
    attacks = [attack for attack in ATTACKS if reading.by(mixed, attack)]
    if not attacks:
        return None
    lines = {
        "truth_share": ("training images", "other images"),
        "image_share": ("training images", "noise"),
    }
    with style():
        names = [attack.replace(", ", "\n") for attack in attacks]
        fig, axes = small_multiples(names, height=3.9, rows=2, sharex=True, sharey="row")
        for row, (varied, pools) in zip(axes, lines.items()):
            for ax, attack in zip(row, attacks):
                for pool in pools:
                    _line(ax, reading.by(mixed, attack), varied, *POOLS[pool])
                ax.grid(axis="y", visible=True)
                ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
            row[0].set_ylim(bottom=0)  # when all lines of the row are there
        for row, words in zip(axes, ("from other images", "from noise")):
            row[0].set_ylabel(f"{words}\nL₂ distance", fontsize=8.5)
        key(fig, {f"to {pool}": (colour, "s") for pool, (_, colour) in POOLS.items()})
        fig.supxlabel("share of the training images in the start; dotted: zero steps", fontsize=9)
    return fig


def _line(ax: Axes, runs: Runs, varied: str, measure: str, colour) -> None:
    """Means over seeds with their intervals, and dotted the start's own."""
    before = reading.curve(runs, varied, f"{measure}_at_start")
    ax.plot(before.index, before.mean(axis=1), ":", color=colour, lw=1.6)
    after = reading.curve(runs, varied, measure)
    if after.empty or not after.shape[1]:
        return
    found = [over_seeds(values) for values in after.to_numpy()]
    ax.plot(after.index, [one.estimate for one in found], "o-", color=colour, ms=3)
    if all(one.known for one in found):
        ends = [[one.low for one in found], [one.high for one in found]]
        ax.fill_between(after.index, *ends, color=colour, alpha=0.18, lw=0)


# --- landscape, widths ----------------------------------------------------------------------------

DEEPEST = 1e-3  # of the highest value of a slice: what lies deeper is drawn there


@needs_runs
def landscape(surface: Runs) -> Figure:
    """The objective of both attacks on the plane through truth, partition and noise; first run."""
    attacks = [attack for attack in ("bilevel", "kkt") if attack in surface.of("attack")]
    with style():
        fig, panels = small_multiples([_objective(a) for a in attacks], height=2.65, sharey=True)
        for ax, attack in zip(panels, attacks):
            run = reading.first(surface.where(attack=attack))
            values = run["slice"].astype(float)
            values = np.log10(np.maximum(values, DEEPEST * values.max()))
            x, y = run["slice_x"], run["slice_y"]
            ax.grid(False)
            drawn = ax.contourf(x, y, values, levels=14, cmap="rocket_r")
            for name, place, colour in zip(
                ("truth", "others", "noise"), run["slice_points"], (TRUE, OTHER, FAINT)
            ):
                ax.plot(*place, "o", color=colour, mec=INK, mew=0.8, ms=6, clip_on=False)
                right = place[0] > 0.5  # where the colour bar is near
                ax.annotate(
                    name, place, xytext=(-6 if right else 6, 3), textcoords="offset points",
                    fontsize=8.5, ha="right" if right else "left",
                    bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.7},
                )  # fmt: skip
            ax.set(aspect="equal", xticks=[], yticks=[])
            bar = fig.colorbar(drawn, ax=ax, shrink=0.75, pad=0.02)
            bar.ax.tick_params(labelsize=7)
            bar.set_label("log₁₀ of the objective", fontsize=8)
    return fig


def _objective(attack: str) -> str:
    return {"bilevel": "bilevel", "kkt": "KKT"}[attack]


@needs_runs
def widths(sized: Runs) -> Figure:
    """AUROC against the number of parameters for each unknown pixel, a panel an attack."""
    attacks = sized.of("attack")
    with style():
        fig, panels = small_multiples([_objective(attack) for attack in attacks], height=2.1)
        for ax, attack in zip(panels, attacks):
            frame = sized.where(attack=attack).frame()
            means = frame.groupby("parameters_per_pixel")["auroc"].mean()
            for measure, colour in (("span_auroc", OTHER), ("auroc", TRUE)):
                if measure in frame:
                    own = frame.groupby("parameters_per_pixel")[measure].mean()
                    ax.plot(own.index, own, color=colour)
                    ax.plot(
                        frame["parameters_per_pixel"], frame[measure], "o", color=colour, ms=3.5,
                        alpha=0.35, mew=0,
                    )  # fmt: skip
            ax.axvline(1, color=MUTED, ls="--", lw=1)
            ax.axhline(0.5, color=MUTED, ls=":", lw=1)
            ax.set(xscale="log", ylim=(0.2, 1.03))
            ax.xaxis.set_major_locator(FixedLocator([0.1, 1, 10]))
            ax.set_xticks([0.1, 1, 10], ["0.1", "1", "10"])
            ax.xaxis.set_minor_formatter(NullFormatter())
            ax.set_xlim(min(0.09, means.index.min()), max(11, means.index.max()))
            ax.grid(axis="y", visible=True)
        key(fig, {"attack": (TRUE, "s"), "span null": (OTHER, "s")})
        fig.supxlabel("parameters for each unknown pixel", fontsize=9)
        fig.supylabel("AUROC", fontsize=9)
    return fig


# --- who could tell, in full ------------------------------------------------------------------------


def signal_values(told: Runs, tuning: Runs, attack: str) -> Figure | None:
    """The signal that was chosen for an attack, of its hits and natural misses; a panel a data set."""
    shown: dict[str, tuple[Runs, reading.Detector]] = {}
    for dataset in told.of("dataset"):
        chosen = reading.detector(tuning.where(dataset=dataset), [attack])
        runs = told.where(dataset=dataset, attack=attack)
        if chosen and runs:
            shown[dataset] = runs, chosen
    if not shown:
        return None
    with style():
        fig, panels = small_multiples([told.title(d) for d in shown], height=2.0, sharex=False)
        for ax, (runs, chosen) in zip(panels, shown.values()):
            values, hit, natural = (
                np.concatenate([np.asarray(run[name], dtype=float) for run in runs])
                for name in (f"signal_{chosen.signal}", "is_hit", "is_natural")
            )
            kinds: Sequence = ((hit * natural, TRUE), ((1 - hit) * natural, OTHER))
            low, high = float(values.min()), float(values.max())
            bins = np.linspace(low, high if high > low else low + 1, 30)
            for which, colour in kinds:
                ax.hist(values[which.astype(bool)], bins=bins, color=colour, alpha=0.6)
            ax.set_xlabel(SIGNALS[chosen.signal], fontsize=9)
            ax.grid(False)
        key(fig, {"training images": (TRUE, "s"), "natural-looking misses": (OTHER, "s")})
        fig.supylabel("candidates", fontsize=9)
    return fig
