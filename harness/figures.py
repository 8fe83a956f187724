"""Kinds of diagram: each function draws a matplotlib figure; `harness.page` shows it.

    fig = figures.curves(frame, "epoch", "residual", hue="n", log_x=True)
    page.show(fig, alt="…", caption="…", name="fig-residual")

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

from harness.results import Runs
from harness.style import FAINT, MARKERS, MUTED, PALETTE, WIDTH, darker, style


def needs_runs(draw: Callable[..., Figure]) -> Callable[..., Figure | None]:
    """A figure that is None when one of its arguments is a group of runs with nothing in it."""

    @functools.wraps(draw)
    def drawn(*args: Any, **kwargs: Any) -> Figure | None:
        if any(isinstance(given, Runs) and not given for given in (*args, *kwargs.values())):
            return None
        return draw(*args, **kwargs)

    return drawn


# --- pictures ---------------------------------------------------------------------------------


def image_grid(
    images: torch.Tensor | np.ndarray,
    *,
    titles: Sequence[str] | None = None,
    columns: int = 8,
    stretch: bool = False,
) -> Figure:
    """Images [n, c, h, w] row after row, c = 1 or 3; values outside [0, 1] are clipped.

    titles: n short texts above the images.  stretch: map each image's own range to [0, 1].
    """
    pictures = _pictures(images, stretch)
    _require_length(titles, len(pictures), "titles")
    rows = [range(i, min(i + columns, len(pictures))) for i in range(0, len(pictures), columns)]
    return _mosaic(
        [[pictures[i] for i in row] for row in rows],
        titles=[[titles[i] for i in row] if titles else None for row in rows],
        labels=[""] * len(rows),
        columns=min(columns, len(pictures)),
    )


def image_pairs(
    top: torch.Tensor | np.ndarray,
    bottom: torch.Tensor | np.ndarray,
    *,
    row_labels: tuple[str, str] = ("reconstructed", "nearest training image"),
    titles: Sequence[str] | None = None,
    columns: int = 7,
    stretch: bool = False,
) -> Figure:
    """Pairs of images, each of `top` [n, c, h, w] above its partner in `bottom` [n, c', h', w'].

    titles: n short texts above the pairs, such as their correlation.  stretch: of each image.
    """
    above, below = _pictures(top, stretch), _pictures(bottom, stretch)
    _require_length(below, len(above), "bottom images")
    _require_length(titles, len(above), "titles")
    rows, texts, labels = [], [], []
    for start in range(0, len(above), columns):
        part = slice(start, start + columns)
        rows += [above[part], below[part]]
        texts += [list(titles[part]) if titles else None, None]
        labels += row_labels
    return _mosaic(
        rows, titles=texts, labels=labels, columns=min(columns, len(above)), group=2
    )


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


def curves(
    frame: pd.DataFrame,
    x: str,
    y: str,
    hue: str | None = None,
    *,
    log_x: bool = False,
    log_y: bool = False,
    label_x: str | None = None,
    label_y: str | None = None,
    reference: tuple[float, str] | None = None,
) -> Figure:
    """y over x, one line a value of `hue`, each named at its end.

    Rows that share x and hue (seeds) are averaged; the band is the 95 % bootstrap interval of
    the mean.  reference: a level to compare with and its name, drawn as a dashed line.
    """
    with style():
        fig, ax = _axes()
        groups = _groups(frame, hue)
        sns.lineplot(
            frame, x=x, y=y, hue=hue, hue_order=groups, palette=_colours(groups), legend=False,
            style=hue, style_order=groups, dashes=False,
            markers=dict(zip(groups, MARKERS)) if groups else None,
            color=PALETTE[0], errorbar=("ci", 95), seed=0, ax=ax,
        )  # fmt: skip
        _finish(ax, log_x, log_y, label_x or x, label_y or y)
        if reference is not None:
            _level(ax, *reference)
        if groups:
            means = frame.groupby([hue, x])[y].mean().reset_index().sort_values(x)
            ends = [means.loc[means[hue] == g, y].iloc[-1] for g in groups]
            _end_labels(ax, ends, [_named(hue, g) for g in groups], _colours(groups))
    return fig


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


def scatter(
    frame: pd.DataFrame,
    x: str,
    y: str,
    hue: str | None = None,
    *,
    log_x: bool = False,
    log_y: bool = False,
    label_x: str | None = None,
    label_y: str | None = None,
    diagonal: bool = False,
) -> Figure:
    """One dot a row; colour and shape by `hue`.  diagonal: draw y = x."""
    with style():
        fig, ax = _axes(height=0.75)
        groups = _groups(frame, hue)
        sns.scatterplot(
            frame, x=x, y=y, hue=hue, hue_order=groups, palette=_colours(groups),
            style=hue, style_order=groups, markers=dict(zip(groups, MARKERS)) if groups else True,
            color=PALETTE[0], s=28, alpha=0.8, linewidth=0.3, ax=ax,
        )  # fmt: skip
        _finish(ax, log_x, log_y, label_x or x, label_y or y)
        if diagonal:
            low = max(ax.get_xlim()[0], ax.get_ylim()[0])
            high = min(ax.get_xlim()[1], ax.get_ylim()[1])
            ax.plot((low, high), (low, high), color=MUTED, ls="--", lw=1, zorder=0)
        if groups:  # the legend stands between the dots and the name of the axis
            lines = _legend(ax, hue, groups, "lower left", 1.0)
            ax.set_title(label_y or y, loc="left", pad=8 + 16 * lines)
    return fig


def intervals(
    frame: pd.DataFrame,
    category: str,
    value: str,
    hue: str | None = None,
    *,
    log_x: bool = False,
    label_x: str | None = None,
    reference: tuple[float, str] | None = None,
) -> Figure:
    """Values by category: every seed a faint dot, the mean a full one with its 95 % interval."""
    with style():
        groups = _groups(frame, hue)
        rows = frame[category].nunique() * (0.035 * len(groups) + 0.03 if groups else 0.07)
        fig, ax = _axes(height=max(0.3, rows + 0.15))
        shared = dict(
            data=frame, y=category, x=value, hue=hue, hue_order=groups, orient="h",
            palette=_colours(groups), ax=ax, **({} if groups else {"color": PALETTE[0]}),
        )  # fmt: skip
        sns.stripplot(**shared, dodge=bool(groups), size=4, alpha=0.35, jitter=False, legend=False)
        sns.pointplot(
            **shared, dodge=0.8 - 0.8 / len(groups) if groups else False, linestyle="none",
            errorbar=("ci", 95), seed=0, markersize=6, err_kws={"linewidth": 2},
        )  # fmt: skip
        _finish(ax, log_x, False, label_x or value, "")
        ax.grid(axis="y", visible=False)
        if reference is not None:
            ax.axvline(reference[0], color=MUTED, linestyle="--", linewidth=1, zorder=0)
            ax.annotate(
                reference[1], (reference[0], 1), xycoords=("data", "axes fraction"),
                xytext=(0, 3), textcoords="offset points", ha="center", fontsize=9,
            )  # fmt: skip
        if groups:  # below the name of the axis
            points = fig.get_figheight() * 72 * ax.get_position().height
            _legend(ax, hue, groups, "upper left", -44 / points)
    return fig


# --- small helpers ----------------------------------------------------------------------------


def _axes(height: float = 0.62) -> tuple[Figure, Axes]:
    """One pair of axes, `height` times as tall as the page is wide."""
    fig = Figure(figsize=(WIDTH, WIDTH * height))
    return fig, fig.add_subplot()


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


def _named(hue: str, group: Any) -> str:
    """A number needs its name beside it, a word does not."""
    number = isinstance(group, (int, float, np.number)) and not isinstance(group, bool)
    return f"{hue} = {group:g}" if number else str(group)


def _finish(ax: Axes, log_x: bool, log_y: bool, label_x: str, label_y: str) -> None:
    if log_x:
        ax.set_xscale("log")
    if log_y:
        ax.set_yscale("log")
    ax.set(xlabel=label_x, ylabel="")
    if label_y:  # above the axis, where it is read without turning the head
        ax.set_title(label_y, loc="left", fontsize=11)


def _legend(ax: Axes, hue: str, groups: list[Any], corner: str, height: float) -> int:
    """Put the legend outside, its `corner` at `height` (in axes) and the left end of the axis.

    Returns its number of lines: as many names stand side by side as the width allows.
    """
    names = [_named(hue, group) for group in groups]
    columns = min(len(names), max(1, 44 // (max(map(len, names)) + 4)))
    sns.move_legend(
        ax, corner, bbox_to_anchor=(0, height), ncols=columns, title=None,
        frameon=False, handletextpad=0.1, columnspacing=1.0, borderpad=0.2,
    )  # fmt: skip
    for text, name in zip(ax.get_legend().get_texts(), names):
        text.set_text(name)
    return -(-len(names) // columns)


def _level(ax: Axes, value: float, name: str) -> None:
    ax.axhline(value, color=MUTED, linestyle="--", linewidth=1, zorder=0)
    ax.annotate(
        name, (0.01, value), xycoords=("axes fraction", "data"), xytext=(0, 3),
        textcoords="offset points", fontsize=9,
    )  # fmt: skip


def _end_labels(ax: Axes, ends: list[float], names: list[str], colours: list[Any]) -> None:
    """Write each name at the height where its line ends, pushed apart where they would touch."""
    heights = [ax.transAxes.inverted().transform(ax.transData.transform((1, y)))[1] for y in ends]
    apart = 13 / (ax.figure.get_figheight() * 72 * ax.get_position().height)
    order = np.argsort(heights)
    placed = np.array(heights)[order]
    for _ in range(50):
        for i in range(len(placed) - 1):
            lack = apart - (placed[i + 1] - placed[i])
            if lack > 1e-6:
                placed[i] -= lack / 2
                placed[i + 1] += lack / 2
    for i, y in zip(order, placed):
        ax.text(
            1.02, y, names[i], transform=ax.transAxes, color=darker(colours[i]), va="center",
            fontsize=10,
        )  # fmt: skip





def _require_length(items: Sequence[Any] | None, n: int, what: str) -> None:
    if items is not None and len(items) != n:
        raise ValueError(f"There are {len(items)} {what} for {n} images.")
