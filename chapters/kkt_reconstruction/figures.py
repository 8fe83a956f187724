"""Figures of chapter 7: runs in, matplotlib figure out; None where there are no runs."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from chapters.kkt_reconstruction import checks, reading
from harness.figures import key, needs_runs, picture, seeds, small_multiples
from harness.results import Runs
from harness.style import INK, MUTED, PALETTE, WIDTH, style

# One colour, one meaning: images that were trained on, images that were not, and no images.
TRAINED, HELD_OUT, NOISE = PALETTE[0], PALETTE[1], MUTED
NULL = PALETTE[1]  # what images or mixtures score that no attack was needed for
LABELS = {1: PALETTE[0], -1: PALETTE[3]}  # in the plane


# --- reconstructions --------------------------------------------------------------------------


@needs_runs
def pairs(attacked: Runs, columns: int = 8, lines: int = 1) -> Figure:
    """What an attack found above the training images, of the first run of each data set.

    The pairs with the highest SSIM, `columns` a line; numbers are correlations.
    """
    firsts = [attacked.where(dataset=dataset)[0] for dataset in attacked.of("dataset")]
    margin, letters, gap = 1.0, 0.2, 0.03  # inches
    cell = (WIDTH - margin) / columns
    rows = [
        (run, start)
        for run in firsts
        for start in range(0, min(columns * lines, len(run["shown_ncc"])), columns)
    ]
    height = len(rows) * (2 * cell + letters + 0.06)
    with style():
        fig = Figure(figsize=(WIDTH, height))
        y = height
        for run, start in rows:
            y -= letters
            if start == 0:
                title = attacked.title(run.parameters["dataset"])
                fig.text(0, (y + 0.03) / height, title, fontsize=8.5, va="bottom")
            for image, name, numbers in (
                ("shown_reconstructions", "from the\nweights", run["shown_ncc"]),
                ("shown_images", "training\nimage", None),
            ):
                y -= cell
                fig.text(
                    (margin - 0.1) / WIDTH, (y + cell / 2) / height, name, fontsize=8.5,
                    ha="right", va="center", linespacing=1.1,
                )  # fmt: skip
                for i, pixels in enumerate(run[image][start : start + columns]):
                    box = (margin + i * cell, y, cell - gap, cell - gap)
                    ax = fig.add_axes(np.array(box) / (WIDTH, height, WIDTH, height))
                    picture(ax, pixels / 255)
                    if numbers is not None:
                        ax.set_title(f"{numbers[start + i]:.2f}", fontsize=8, pad=2)
            y -= 0.06
    return fig


@needs_runs
def calibration(attacked: Runs) -> Figure:
    """Best correlation of training and of held-out images, by data set and attack.

    All runs of a panel together; the dashed line is the held-out 99 % quantile.
    """
    methods = [m for m in reading.NAMES if m in attacked.of("method")]
    bins = np.linspace(0, 1, 41)
    with style():
        fig, axes = _grid(attacked, methods, height=1.25)
        for ax, runs, method in axes:
            ax.grid(False)
            ax.set(yticks=[], xlim=(0, 1), xticks=[0, 0.5, 1])
            ax.set_xticklabels(["0", "0.5", "1"])
            ax.spines["left"].set_visible(False)
            mine = runs.where(method=method)
            if not mine:
                continue
            for measure, colour in (("best_ncc_held_out", HELD_OUT), ("best_ncc", TRAINED)):
                values = np.concatenate(mine.values(measure))
                ax.hist(values, bins=bins, density=True, color=colour, alpha=0.6)
            ax.axvline(np.mean(mine.values("threshold")), color=INK, ls="--", lw=1)
            found = f"{np.mean(mine.values('hits')):.1f} of {_sizes(mine)}\nfound"
            ax.text(0.02, 0.95, found, transform=ax.transAxes, fontsize=9, va="top")
        fig.supxlabel("best correlation with any candidate", fontsize=10)
        key(fig, {"training images": (TRAINED, "s"), "held-out images": (HELD_OUT, "s")})
    return fig


@needs_runs
def found(attacked: Runs, finding: str = "") -> Figure:
    """Close training images of each attack beside its strongest null, a panel a data set.

    A faint mark a seed, the mean with its interval; the null is the largest of three on the same
    network.
    """
    methods = [m for m in reversed(reading.NAMES) if m in attacked.of("method")]
    datasets = attacked.of("dataset")
    with style():
        fig, panels = small_multiples(
            [attacked.title(d) for d in datasets], height=1.1 + 0.38 * len(methods)
        )
        for ax, dataset in zip(panels, datasets):
            for row, method in enumerate(methods):
                runs = attacked.where(dataset=dataset, method=method)
                nulls = [reading.null(run, "close") for run in runs]
                seeds(ax, row - 0.17, nulls, NULL, "D", hollow=True)
                seeds(ax, row + 0.17, runs.values("close"), TRAINED)
            n = max(attacked.of("n"))
            ax.set_xlim(-0.03 * n, 1.03 * n)
        panels[0].set_yticks(range(len(methods)), [reading.NAMES[m] for m in methods])
        panels[0].set_ylim(-0.5, len(methods) - 0.5)
        fig.supxlabel("training images with correlation above 0.7", fontsize=10)
        key(fig, {"the attack": (TRAINED, "o"), "strongest null": (NULL, "D")}, finding=finding)
    return fig


@needs_runs
def trust(unmixed: Runs, finding: str = "") -> Figure:
    """How alike candidates come back from other starts, against the nearest image of each kind.

    All runs of a data set in one panel; the dashed line is the correlation from which a
    candidate counts as a training image.
    """
    datasets = unmixed.of("dataset")
    with style():
        fig, panels = small_multiples(
            [unmixed.title(d) for d in datasets], height=2.7, sharex=True, sharey=True
        )
        for ax, dataset in zip(panels, datasets):
            for run in unmixed.where(dataset=dataset):
                for measure, colour in (
                    ("trusted_ncc_held_out", HELD_OUT),
                    ("trusted_ncc", TRAINED),
                ):
                    apart = (1 - np.asarray(run["trust"])).clip(1e-6)
                    ax.plot(apart, run[measure], "o", color=colour, ms=3.5, mew=0, alpha=0.45)
            ax.axhline(0.7, color=MUTED, ls="--", lw=1)
            ax.set(ylim=(0, 1.03), yticks=[0, 0.5, 1], xscale="log")
            ax.grid(True)
        panels[0].invert_xaxis()  # shared: what agrees stands on the right
        panels[0].set_ylabel("correlation with nearest image", fontsize=10)
        fig.supxlabel("1 − agreement with the other starts", fontsize=10)
        key(
            fig,
            {"nearest training image": (TRAINED, "o"), "nearest held-out image": (HELD_OUT, "o")},
            finding=finding,
        )
    return fig


@needs_runs
def budget(spent: Runs) -> Figure:
    """What the paper's attack finds along its iterations, and its stationarity residual."""
    datasets = spent.of("dataset")
    rows = {
        "share of images": {
            "along_tpr_at_1_percent": (TRAINED, "-"),
            "along_close": (TRAINED, ":"),
        },
        "unexplained": {"along_residual": (INK, "-")},
    }
    with style():
        fig, panels = small_multiples(
            [spent.title(d) for d in datasets], height=3.6, rows=len(rows), sharex=True
        )
        for line, (name, measures) in zip(panels, rows.items()):
            for ax, dataset in zip(line, datasets):
                for run in spent.where(dataset=dataset):
                    for measure, (colour, ls) in measures.items():
                        n = run.parameters["n"] if measure == "along_close" else 1
                        values = np.asarray(run[measure]) / n
                        ax.plot(run["along_step"], values, color=colour, ls=ls, lw=1.5)
                    if name != "unexplained":
                        share = reading.null(run, "hits") / run.parameters["n"]
                        ax.axhline(share, color=NULL, ls="--", lw=1)
                ax.set(xscale="log", ylim=(-0.03, 1.03), yticks=[0, 0.5, 1])
                ax.grid(True)
            line[0].set_ylabel(name, fontsize=10)
        fig.supxlabel("iterations of the attack", fontsize=10)
        key(fig, {
            "found (dotted: close)": (TRAINED, "s"), "strongest null, found": (NULL, "s"),
            "stationarity residual": (INK, "s"),
        })  # fmt: skip
    return fig


@needs_runs
def margins(attacked: Runs, score: str = "best_ncc") -> Figure:
    """A score of each training image against the network's output for it, by data set and attack.

    score: "best_ncc", the correlation, or "ssim", the paper's measure.
    """
    methods = [m for m in reading.NAMES if m in attacked.of("method")]
    with style():
        fig, axes = _grid(attacked, methods, height=1.5)
        for ax, runs, method in axes:
            for run in runs.where(method=method):
                output = np.abs(run["margins"]) / abs(run["smallest_margin"])
                ax.plot(output, run[score], "o", ms=3, mew=0, alpha=0.4, color=TRAINED)
            ax.set(ylim=(-0.05, 1.05), yticks=[0, 0.5, 1])
            ax.grid(True)
        fig.supxlabel("output |Φ| in units of the smallest margin", fontsize=10)
        fig.supylabel("correlation" if score == "best_ncc" else "SSIM", fontsize=10)
    return fig


@needs_runs
def capacity(sized: Runs) -> Figure:
    """Share of training images found against their number; a dot a seed, a line the means."""
    datasets = sized.of("dataset")
    with style():
        fig, panels = small_multiples([sized.title(d) for d in datasets], height=2.2)
        for ax, dataset in zip(panels, datasets):
            frame = sized.where(dataset=dataset).frame()
            means = frame.groupby("n")["tpr_at_1_percent"].mean()
            ax.plot(means.index, means, color=TRAINED)
            ax.plot(
                frame["n"], frame["tpr_at_1_percent"], "o", color=TRAINED, ms=4.5, alpha=0.5, mew=0
            )
            ax.axhline(0.01, color=MUTED, ls="--", lw=1)
            ax.set(ylim=(-0.02, 1.02), yticks=[0, 0.5, 1], xticks=means.index)
            ax.grid(True)
        fig.supxlabel("training images n; dashed: by chance", fontsize=10)
        fig.supylabel("share found", fontsize=10)
    return fig


# --- networks ---------------------------------------------------------------------------------


@needs_runs
def residual(trained: Runs) -> Figure:
    """KKT residual along training at three kinds of images; a line a seed, a row a data set."""
    pools = {
        "training images": ("residual_train", TRAINED),
        "held-out images": ("residual_held_out", HELD_OUT),
        "noise": ("residual_noise", NOISE),
    }
    protocols = trained.of("protocol")
    with style():
        datasets = trained.of("dataset")
        fig = Figure(figsize=(WIDTH, 0.8 + 1.35 * len(datasets)), layout="constrained")
        axes = fig.subplots(len(datasets), len(protocols), sharex="col", sharey=True, squeeze=False)
        for dataset, line in zip(datasets, axes):
            for protocol, ax in zip(protocols, line):
                for run in trained.where(dataset=dataset, protocol=protocol):
                    for measure, colour in pools.values():
                        ax.plot(run["epochs_observed"], run[measure], color=colour, lw=1.4)
                ax.set(xscale="log", ylim=(0, 1.05), yticks=[0, 0.5, 1])
                ax.set_title(f"{trained.title(dataset)}, {protocol}", fontsize=10, loc="left")
        fig.supxlabel("training steps", fontsize=10)
        fig.supylabel("unexplained share of ‖θ‖²", fontsize=10)
        key(fig, {name: (colour, "s") for name, (_, colour) in pools.items()})
    return fig


@needs_runs
def spectrum(trained: Runs) -> Figure:
    """Singular values of the first layer after training, a panel a data set, a line a seed."""
    with style():
        datasets = trained.of("dataset")
        fig, panels = small_multiples([trained.title(d) for d in datasets], height=2.3)
        for ax, dataset in zip(panels, datasets):
            runs = trained.where(dataset=dataset)
            n = runs[0].parameters["n"]
            for run in runs:
                values = run["singular_values"][: 2 * n]
                ax.plot(range(1, len(values) + 1), values, color=TRAINED, lw=1.2, alpha=0.8)
            ax.axhline(runs[0]["noise_edge"], color=MUTED, ls="--", lw=1)
            ax.axvline(n, color=MUTED, ls=":", lw=1)
            ax.annotate(
                f"n = {n}\n{reading.ranks(runs)}\nabove noise", (n, 1), fontsize=9, va="top",
                xycoords=("data", "axes fraction"), xytext=(4, -2), textcoords="offset points",
            )  # fmt: skip
            ax.annotate(
                "noise edge", (1, runs[0]["noise_edge"]), fontsize=9, ha="right", va="bottom",
                xycoords=("axes fraction", "data"), xytext=(0, 2), textcoords="offset points",
            )  # fmt: skip
            ax.set(yscale="log")
            ax.grid(True)
        fig.supxlabel("index", fontsize=10)
        fig.supylabel("singular value of W₁", fontsize=10)
    return fig


@needs_runs
def circle(circles: Runs) -> Figure:
    """The first run in the plane: its truth, the network, and what two attacks recover."""
    run = circles[0]
    candidates, signs = run["candidates"], run["candidate_signs"]
    strong, final = run["strong"], run["final"]
    panels = [
        ("training points", None, None),
        ("output of the network", None, None),
        (f"{len(candidates)} candidates", candidates, signs),
        ("λ < 5 removed", candidates[strong], signs[strong]),
        ("duplicates removed", candidates[final], signs[final]),
        ("model inversion", run["inverted"], signs),
    ]
    with style():
        fig = Figure(figsize=(WIDTH, 3.7))
        axes = fig.subplots(2, 3).flat
        for ax, (title, points, marks) in zip(axes, panels):
            ax.set(aspect="equal", xlim=(-1.5, 1.5), ylim=(-1.5, 1.5), xticks=[], yticks=[])
            ax.set_title(title, fontsize=9)
            ax.spines[:].set_visible(False)
            ax.grid(False)
            _dots(ax, run["points"], run["signs"], marker="x", s=36, lw=1.5, zorder=3)
            if points is not None:
                _dots(ax, points, marks, marker="o", s=14, lw=0, alpha=0.55, zorder=2)
        field = run["field"].T
        bound = np.abs(field).max() / 3
        fig.axes[1].imshow(
            field, origin="lower", extent=(-1.5, 1.5, -1.5, 1.5), cmap="RdBu", vmin=-bound,
            vmax=bound, interpolation="bilinear", alpha=0.5, zorder=0,
        )  # fmt: skip
        fig.tight_layout()
    return fig


@needs_runs
def plane(circles: Runs, freed: Runs) -> Figure:
    """The first run in the plane of this book's search, and of the paper's attack below it."""
    with style():
        fig = Figure(figsize=(WIDTH, 3.7))
        lines = fig.subplots(2, 3)
        for line, run, name in zip(
            lines, (circles[0], freed[0]), ("multipliers\neliminated", "multipliers\nfree")
        ):
            kept = {
                f"{len(run['candidates'])} candidates": slice(None),
                "λ < 5 removed": run["strong"],
                "duplicates removed": run["final"],
            }
            line[0].set_ylabel(name, fontsize=9)
            for ax, (title, which) in zip(line, kept.items()):
                ax.set(aspect="equal", xlim=(-1.5, 1.5), ylim=(-1.5, 1.5), xticks=[], yticks=[])
                ax.set_title(title, fontsize=9)
                ax.spines[:].set_visible(False)
                ax.grid(False)
                _dots(ax, run["points"], run["signs"], marker="x", s=36, lw=1.5, zorder=3)
                points, marks = run["candidates"][which], run["candidate_signs"][which]
                _dots(ax, points, marks, marker="o", s=14, lw=0, alpha=0.55, zorder=2)
        fig.tight_layout()
    return fig


@needs_runs
def twins(twins: Runs) -> Figure:
    """Excess hits of each twin of the paper's attack, and the loss left, a row of panels a data set.

    A faint mark a seed, the mean with its interval; dashed: the mean of the twin as released.
    """
    datasets = twins.of("dataset")
    names = list(checks.named(twins))[::-1]
    with style():
        fig, panels = small_multiples(
            ["excess hits", "loss left"], rows=len(datasets),
            height=0.6 + (0.5 + 0.24 * len(names)) * len(datasets), sharex="col",
        )  # fmt: skip
        for line, dataset in zip(np.atleast_2d(panels), datasets):
            own = checks.named(twins.where(dataset=dataset))
            for ax, measure in zip(line, ("excess", "residual")):
                for row, name in enumerate(names):
                    if name in own:
                        seeds(ax, row, own[name].values(measure), TRAINED)
                if base := own.get("as released"):
                    ax.axvline(np.mean(base.values(measure)), color=MUTED, ls="--", lw=1)
            line[0].set_yticks(range(len(names)), names)
            line[0].set_ylim(-0.5, len(names) - 0.5)
            line[0].set_ylabel(twins.title(dataset), fontsize=10)
    return fig


@needs_runs
def equations(padded: Runs, widened: Runs) -> Figure:
    """Found and loss left, by candidates for each image, and by parameters for each unknown."""
    columns = {
        "candidates for each image": (padded, lambda run: run.parameters["per_image"]),
        "parameters for each unknown": (widened, lambda run: run["parameters_over_unknowns"]),
    }
    rows = {"AUROC": "auroc", "loss left": "residual"}
    with style():
        fig, panels = small_multiples(["", ""], rows=2, height=3.4, sharex="col", sharey="row")
        for ax, name in zip(panels[-1], columns):
            ax.set_xlabel(name, fontsize=10)
        for line, (title, measure) in zip(panels, rows.items()):
            line[0].set_ylabel(title, fontsize=10)
            for ax, (runs, place) in zip(line, columns.values()):
                for run in runs:
                    ax.plot(place(run), run[measure], "o", ms=4, mew=0, alpha=0.5, color=TRAINED)
                means = {x: np.mean([r[measure] for r in runs if place(r) == x])
                         for x in sorted(set(map(place, runs)))}  # fmt: skip
                ax.plot(means.keys(), means.values(), color=TRAINED, lw=1.2)
                ax.grid(True)
            line[0].set_xticks(sorted({run.parameters["per_image"] for run in padded}))
            line[1].axvline(1, color=MUTED, ls=":", lw=1)
            line[1].set_xscale("log")
    return fig


def _dots(ax: Axes, points: np.ndarray, signs: np.ndarray, **look) -> None:
    ax.scatter(*points.T, c=[LABELS[int(sign)] for sign in signs], **look)


# --- parts ------------------------------------------------------------------------------------


def _grid(
    runs: Runs, methods: Sequence[str], *, height: float
) -> tuple[Figure, list[tuple[Axes, Runs, str]]]:
    """Panels, a row a data set and a column an attack: (axes, runs of the set, attack)."""
    datasets = runs.of("dataset")
    fig, axes = small_multiples(
        [reading.NAMES[method] for method in methods], height=0.75 + height * len(datasets),
        rows=len(datasets), sharex="col", sharey="row",
    )  # fmt: skip
    cells = []
    for dataset, line in zip(datasets, np.atleast_2d(axes)):
        cells += [(ax, runs.where(dataset=dataset), method) for method, ax in zip(methods, line)]
        line[0].set_ylabel(runs.title(dataset), fontsize=10)
    return fig, cells


def _sizes(runs: Runs) -> str:
    return " or ".join(str(n) for n in runs.of("n"))
