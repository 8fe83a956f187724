"""The book's look: sizes, colours, a variant for dark pages."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import matplotlib as mpl
import seaborn as sns
from matplotlib.collections import Collection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text

WIDTH = 5.2  # inches
PALETTE = sns.color_palette("colorblind")
INK, FAINT = "#222222", "#dddddd"
MUTED = "#888888"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")

_RC = {
    "figure.facecolor": "none",  # the page shows through, light or dark
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "svg.hashsalt": "book",  # equal figures give equal bytes
    "font.family": "DejaVu Sans",  # comes with matplotlib, so figures are alike everywhere
    "font.size": 11,
    "axes.labelsize": 11,
    "axes.titlesize": 11,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.fontsize": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": FAINT,
    "grid.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "image.interpolation": "nearest",
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """The book's look, for figures that a notebook draws itself."""
    with mpl.rc_context(_RC), sns.color_palette("colorblind"):
        yield


def darker(colour) -> tuple[float, ...]:
    """Letters need more contrast on white than lines do."""
    return tuple(0.7 * channel for channel in mpl.colors.to_rgb(colour))


def _lighter(colour) -> tuple[float, ...]:
    return tuple(1 - 0.75 * (1 - channel) for channel in mpl.colors.to_rgb(colour))


# What is neutral on a white page, and what stands for it on a dark one; data keep their colours.
_ON_DARK = {
    INK: "#e8e8e8",
    "#000000": "#e8e8e8",
    "#444444": "#c4c4c4",
    "#555555": "#b8b8b8",
    MUTED: "#9a9a9a",
    FAINT: "#3c3c3c",
    "#ffffff": "#121212",
    to_hex(darker(INK)): "#e8e8e8",
    to_hex(darker(MUTED)): "#b8b8b8",
    **{to_hex(darker(colour)): to_hex(_lighter(colour)) for colour in PALETTE},
}


def make_dark(fig: Figure) -> None:
    """Give the letters, axes and grids of a figure, in place, the colours of a dark page."""
    for artist in fig.findobj():
        if isinstance(artist, (Text, Line2D)):
            artist.set_color(_on_dark(artist.get_color()))
        elif isinstance(artist, Patch):
            face, edge = artist.get_facecolor(), artist.get_edgecolor()
            artist.set_edgecolor(_on_dark(edge))
            if artist.get_fill():
                artist.set_facecolor(_on_dark(face))
        elif isinstance(artist, Collection):
            for kind in ("facecolor", "edgecolor"):
                colours = getattr(artist, f"get_{kind}")()
                if artist.get_array() is None and len(colours):
                    getattr(artist, f"set_{kind}")([_on_dark(colour) for colour in colours])


def _on_dark(colour):
    """The colour for a dark page, with the same opacity; what is transparent stays so."""
    rgba = mpl.colors.to_rgba(colour)
    found = _ON_DARK.get(to_hex(rgba))
    return rgba if found is None or rgba[3] == 0 else (*mpl.colors.to_rgb(found), rgba[3])
