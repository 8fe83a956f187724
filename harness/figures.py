"""Kinds of diagram: each function draws a matplotlib figure; `harness.page` shows it.

    fig, axes = figures.small_multiples(["MNIST", "CIFAR-10"], height=2.0)
    figures.seeds(axes[0], 0.0, [0.81, 0.84, 0.79], PALETTE[0])
    page.show(fig, alt="…", caption="…", name="fig-found")

Every figure is drawn for the width of a phone: five inches, so its letters stay readable there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from harness.results import Runs
from harness.statistics import over_seeds
from harness.style import FAINT, MARKERS, PALETTE, WIDTH, darker, style


def needs_runs(draw: Callable[..., Figure]) -> Callable[..., Figure | None]:
    """A figure that is None when one of its arguments is a group of runs with nothing in it."""

    @functools.wraps(draw)
    def drawn(*args: Any, **kwargs: Any) -> Figure | None:
        if any(isinstance(given, Runs) and not given for given in (*args, *kwargs.values())):
            return None
        return draw(*args, **kwargs)

    return drawn


# --- pictures ---------------------------------------------------------------------------------


def image_rows(
    rows: Mapping[str, torch.Tensor | np.ndarray],
    titles: Mapping[str, Sequence[str]] | None = None,
) -> Figure:
    """Named rows of images, each [n, c, h, w] with the same n, one below the other.

    titles: n short texts above the images of a row, for some or all rows.
    """
    pictures = {name: _checked(images) for name, images in rows.items()}
    titles = dict(titles or {})
    columns = len(next(iter(pictures.values())))
    for name, images in pictures.items():
        _require_length(images, columns, f"images in the row {name!r}")
        _require_length(titles.get(name), columns, f"titles of the row {name!r}")
    gap, line, margin = 0.05, 0.2, 1.0  # inches
    cell = min(1.3, (WIDTH - margin) / columns)
    high, wide = next(iter(pictures.values())).shape[2:]
    tall = cell * high / wide
    width = margin + columns * cell
    height = line * len(titles) + len(rows) * (tall + gap)
    longest = max((len(text) for texts in titles.values() for text in texts), default=1)
    letters = min(9.0, (cell - gap) * 72 / (0.6 * max(longest, 1)))  # points, so that texts fit
    with style():
        fig = Figure(figsize=(width, height))
        y = height
        for name, images in pictures.items():
            y -= (line if name in titles else 0.0) + tall + gap
            fig.text(
                (margin - 0.1) / width, (y + tall / 2) / height, name.replace(" ", "\n"),
                ha="right", va="center", fontsize=9, linespacing=1.1,
            )  # fmt: skip
            for i, image in enumerate(images):
                box = ((margin + i * cell) / width, y / height)
                ax = fig.add_axes((*box, (cell - gap) / width, (tall - gap) / height))
                picture(ax, image)
                if name in titles:
                    ax.set_title(titles[name][i], fontsize=letters, pad=3)
    return fig


def picture(ax: Axes, image: np.ndarray) -> None:
    """One image, [c, h, w] in [0, 1], in a faint frame without ticks."""
    shown = image.transpose(1, 2, 0).clip(0, 1)
    ax.imshow(shown[..., 0] if shown.shape[-1] == 1 else shown, cmap="gray", vmin=0, vmax=1)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(visible=True, color=FAINT, linewidth=0.6)


def _checked(images: torch.Tensor | np.ndarray) -> np.ndarray:
    """The images as an array [n, c, h, w] of finite numbers."""
    if isinstance(images, torch.Tensor):
        images = images.detach().cpu().numpy()
    images = np.asarray(images, dtype=float)
    if images.ndim != 4 or images.shape[1] not in (1, 3) or not len(images):
        raise ValueError(
            f"Images must be [n, c, h, w] with c = 1 or 3 and n > 0, not {list(images.shape)}."
        )
    if not np.isfinite(images).all():
        broken = np.flatnonzero(~np.isfinite(images).all(axis=(1, 2, 3)))
        raise ValueError(f"Image {broken[0]} holds values that are not finite.")
    return images


# --- diagrams ---------------------------------------------------------------------------------


def small_multiples(
    names: Sequence[str], *, height: float, rows: int = 1, **sharing: bool | str
) -> tuple[Figure, np.ndarray]:
    """(figure, axes): panels side by side, each column with its name above.

    axes: [names], or [rows, names] for more than one row.  sharing: `sharex` and `sharey` of
    matplotlib, if it is not one y axis for all.
    """
    fig = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = fig.subplots(rows, len(names), squeeze=False, **{"sharey": True, **sharing})
    narrow = len(names) > 2
    title_size, number_size, intervals = {1: (10, 9, 5), 2: (10, 9, 5), 3: (9, 9, 3)}.get(
        len(names), (7.5, 7, 2)
    )
    for ax, name in zip(axes[0], names):
        title = name.replace(" (", "\n(") if narrow else name
        ax.set_title(title, fontsize=title_size, loc="left", linespacing=1.1)
    for ax in axes.flat:
        ax.grid(axis="y", visible=False)
        ax.tick_params(axis="y", length=0, labelsize=9)
        ax.tick_params(axis="x", labelsize=number_size)
        ax.locator_params(axis="x", nbins=intervals)
    return fig, axes[0] if rows == 1 else axes


def seeds(
    ax: Axes,
    y: float,
    values: Sequence[float],
    colour: Any,
    marker: str = "o",
    *,
    hollow: bool = False,
) -> None:
    """One row of a panel: every seed a faint mark, the mean a full one with its 95 % interval."""
    if not len(values):
        return
    interval = over_seeds(values)
    ax.plot(values, [y] * len(values), marker, color=colour, alpha=0.3, ms=3.5, mew=0)
    if interval.known:
        ax.plot([interval.low, interval.high], [y, y], color=colour, lw=2, solid_capstyle="round")
    look = {"mfc": "none", "mew": 1.4} if hollow else {"mew": 0}
    ax.plot(interval.estimate, y, marker, color=colour, ms=6, zorder=3, **look)


def key(fig: Figure, marks: Mapping[str, tuple[Any, str]], *, finding: str = "") -> None:
    """Names of marks, {name: (colour, marker)}, each in its colour, in one line above the panels.

    finding: what the figure shows, as a title above them.
    """
    handles = [
        Line2D([], [], marker=marker, color=colour, ls="none", ms=6, mew=0, label=name)
        for name, (colour, marker) in marks.items()
    ]
    if fig.get_layout_engine():
        place: dict[str, Any] = {"loc": "outside upper left"}
    else:  # nothing makes room inside
        place = {"loc": "lower left", "bbox_to_anchor": (0, 1)}
    fig.legend(
        handles=handles,
        **place,
        ncols=max(len(marks), 1),
        frameon=False,
        borderpad=0,
        handlelength=1,
        handletextpad=0.3,
        columnspacing=1.2,
        labelcolor=[darker(colour) for colour, _ in marks.values()],
        title=finding or None,
        title_fontproperties={"size": 11, "weight": "bold"},
        alignment="left",
    )


def panels(
    frame: pd.DataFrame,
    x: str,
    y: str,
    hue: str,
    by: str,
    *,
    columns: int = 2,
    log_x: bool = False,
    log_y: bool = False,
    label_x: str | None = None,
    label_y: str | None = None,
    height: float = 2.0,
) -> Figure:
    """`curves` side by side, one panel a value of `by`, with shared axes and one legend.

    height: of a panel, in inches.
    """
    with style():
        groups, parts = _groups(frame, hue), list(frame[by].dropna().unique())
        columns = min(columns, len(parts))
        rows = -(-len(parts) // columns)
        fig = Figure(figsize=(WIDTH, rows * height + 0.8), layout="constrained")
        grid = fig.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for ax, part in zip(grid.flat, parts):
            sns.lineplot(
                frame[frame[by] == part], x=x, y=y, hue=hue, hue_order=groups,
                palette=_colours(groups), style=hue, style_order=groups, dashes=False,
                markers=dict(zip(groups, MARKERS)), markersize=3.5, mew=0,
                errorbar=_interval, ax=ax, legend=ax is grid.flat[0],
            )  # fmt: skip
            _finish(ax, log_x, log_y, "", "")
            ax.set_title(str(part), fontsize=10 if columns < 3 else 8, loc="left")
        for empty in range(len(parts), rows * columns):
            grid.flat[empty].set_visible(False)
            grid.flat[empty - columns].tick_params(labelbottom=True)
        handles, names = grid.flat[0].get_legend_handles_labels()
        grid.flat[0].get_legend().remove()
        fig.supxlabel(label_x or x, fontsize=11)
        fig.legend(
            handles, names, loc="outside upper left", ncols=min(len(names), 4), frameon=False,
            handletextpad=0.4, columnspacing=1.2, title=label_y or y, alignment="left",
            title_fontsize=11, borderpad=0,
        )  # fmt: skip
    return fig


def _interval(values: Sequence[float]) -> tuple[float, float]:
    """The ends of the 95 % interval over seeds, as seaborn wants them; NaN where there is none."""
    interval = over_seeds(values)
    return (interval.low, interval.high) if interval.known else (np.nan, np.nan)


def heat(
    frame: pd.DataFrame,
    x: str,
    y: str,
    value: str,
    by: str,
    *,
    label_x: str | None = None,
    format: str = ".2f",
    bounds: tuple[float, float] | None = None,
) -> Figure:
    """Mean of `value` over the rows of each pair of `x` and `y`, as colour and number.

    One map a value of `by`, below each other, all on one scale; bounds: of the colours.
    """
    with style():
        parts = list(frame[by].dropna().unique())
        tables = [
            frame[frame[by] == part].pivot_table(index=y, columns=x, values=value, sort=False)
            for part in parts
        ]
        columns = sorted(frame[x].dropna().unique())  # one axis, also where a part lacks a value
        tables = [table.reindex(columns=columns) for table in tables]
        low, high = bounds or (
            min(table.min().min() for table in tables), max(table.max().max() for table in tables)
        )  # fmt: skip
        fig = Figure(figsize=(WIDTH, 0.6 + sum(0.35 * len(table) + 0.35 for table in tables)))
        axes = fig.subplots(
            len(parts), 1, sharex=True, squeeze=False,
            gridspec_kw=dict(height_ratios=[len(table) for table in tables]),
        )  # fmt: skip
        for ax, table, part in zip(axes.flat, tables, parts):
            sns.heatmap(
                table, ax=ax, vmin=low, vmax=high, cmap="rocket_r", annot=True, fmt=format,
                annot_kws={"fontsize": 9}, cbar=False, linewidths=1, linecolor="white",
            )  # fmt: skip
            ax.set(xlabel="", ylabel="")
            ax.set_title(str(part), fontsize=10, loc="left")
            ax.tick_params(axis="both", length=0)
            ax.set_yticklabels(ax.get_yticklabels(), rotation=0)
        axes.flat[-1].set_xlabel(label_x or x)
        fig.tight_layout()
    return fig


# --- small helpers ----------------------------------------------------------------------------


def _groups(frame: pd.DataFrame, hue: str | None) -> list[Any] | None:
    """The values of `hue`, numbers in order, everything else as it comes."""
    if hue is None:
        return None
    values = list(frame[hue].dropna().unique())
    groups = sorted(values) if pd.api.types.is_numeric_dtype(frame[hue]) else values
    if not 0 < len(groups) <= len(MARKERS):
        raise ValueError(
            f"{hue!r} has {len(groups)} values; 1 to {len(MARKERS)} can be told apart."
        )
    return groups


def _colours(groups: list[Any] | None) -> list[Any] | None:
    return None if groups is None else [PALETTE[i % len(PALETTE)] for i in range(len(groups))]


def _finish(ax: Axes, log_x: bool, log_y: bool, label_x: str, label_y: str) -> None:
    if log_x:
        ax.set_xscale("log")
    if log_y:
        ax.set_yscale("log")
    ax.set(xlabel=label_x, ylabel="")
    if label_y:  # above the axis, where it is read without turning the head
        ax.set_title(label_y, loc="left", fontsize=11)


def _require_length(items: Sequence[Any] | None, n: int, what: str) -> None:
    if items is not None and len(items) != n:
        raise ValueError(f"There are {len(items)} {what} for {n} images.")
