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
from harness.statistics import bootstrap
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
    pictures = {name: _pictures(images, stretch=False) for name, images in rows.items()}
    titles = dict(titles or {})
    columns = len(next(iter(pictures.values())))
    for name, images in pictures.items():
        _require_length(images, columns, f"images in the row {name!r}")
        _require_length(titles.get(name), columns, f"titles of the row {name!r}")
    return _mosaic(
        list(pictures.values()),
        titles=[list(titles[name]) if name in titles else None for name in pictures],
        labels=list(pictures),
        columns=columns,
    )


def _mosaic(
    rows: list[list[np.ndarray]],
    *,
    titles: list[list[str] | None],
    labels: list[str],
    columns: int,
    group: int = 1,
) -> Figure:
    """Rows of pictures with texts above and labels on the left; `group` rows belong together."""
    gap, line = 0.05, 0.2  # inches
    margin = 1.0 if any(labels) else 0.0
    cell = min(1.3, (WIDTH - margin) / columns)
    shape = rows[0][0].shape
    tall = cell * shape[0] / shape[1]
    spaces = [
        (line if titles[r] else 0.0) + (0.12 if group > 1 and r and r % group == 0 else 0.0)
        for r in range(len(rows))
    ]
    height = sum(spaces) + len(rows) * (tall + gap)
    width = margin + columns * cell
    longest = max((len(text) for texts in titles for text in texts or ()), default=1)
    letters = min(9.0, (cell - gap) * 72 / (0.6 * max(longest, 1)))  # points, so that texts fit
    with style():
        fig = Figure(figsize=(width, height))
        y = height
        for row, texts, label, space in zip(rows, titles, labels, spaces):
            y -= space + tall + gap
            if label:
                fig.text(
                    (margin - 0.1) / width, (y + tall / 2) / height, label.replace(" ", "\n"),
                    ha="right", va="center", fontsize=9, linespacing=1.1,
                )  # fmt: skip
            for i, picture in enumerate(row):
                x = margin + i * cell
                ax = fig.add_axes(
                    (x / width, y / height, (cell - gap) / width, (tall - gap) / height)
                )
                ax.imshow(picture, cmap="gray", vmin=0, vmax=1)
                ax.set(xticks=[], yticks=[])
                ax.spines[:].set(visible=True, color=FAINT, linewidth=0.6)
                if texts:
                    ax.set_title(texts[i], fontsize=letters, pad=3)
    return fig


def _pictures(images: torch.Tensor | np.ndarray, stretch: bool) -> list[np.ndarray]:
    """[n, c, h, w] -> n arrays [h, w] or [h, w, 3] in [0, 1]."""
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
    if stretch:
        low = images.min(axis=(1, 2, 3), keepdims=True)
        span = images.max(axis=(1, 2, 3), keepdims=True) - low
        images = (images - low) / np.where(span > 0, span, 1)
    images = images.clip(0, 1).transpose(0, 2, 3, 1)
    return [image[..., 0] if image.shape[-1] == 1 else image for image in images]


# --- diagrams ---------------------------------------------------------------------------------


def small_multiples(names: Sequence[str], *, height: float) -> tuple[Figure, np.ndarray]:
    """(figure, axes): panels side by side with one y axis, each with its name above."""
    fig = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = fig.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for ax, name in zip(axes, names):
        ax.set_title(name.replace(" (", "\n("), fontsize=9, loc="left")
        ax.grid(axis="y", visible=False)
        ax.tick_params(axis="y", length=0)
    return fig, axes


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
    interval = bootstrap(values)
    ax.plot(values, [y] * len(values), marker, color=colour, alpha=0.3, ms=3.5, mew=0)
    ax.plot([interval.low, interval.high], [y, y], color=colour, lw=2, solid_capstyle="round")
    face = "none" if hollow else colour
    ax.plot(interval.estimate, y, marker, mfc=face, mec=colour if hollow else "none", ms=6)


def key(fig: Figure, marks: Mapping[str, tuple[Any, str]]) -> None:
    """Names of marks, {name: (colour, marker)}, each in its colour, in one line above the panels."""
    handles = [
        Line2D([], [], marker=marker, color=colour, ls="none", ms=6, label=name)
        for name, (colour, marker) in marks.items()
    ]
    fig.legend(
        handles=handles,
        loc="outside upper left",
        ncols=len(marks),
        frameon=False,
        handletextpad=0.1,
        columnspacing=1.2,
        labelcolor=[darker(colour) for colour, _ in marks.values()],
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
                markers=dict(zip(groups, MARKERS)), markersize=3.5, mew=0, errorbar=("ci", 95), seed=0,
                ax=ax, legend=ax is grid.flat[0],
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
        tables = [table.reindex(columns=sorted(table.columns)) for table in tables]
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
