"""Pictures as text, to stand inside a page: PNG and SVG, data addresses, sheets of small images."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from harness.style import make_dark, style

PNG_DPI = 260


def light_and_dark(fig: Figure) -> tuple[str, str, str]:
    """(MIME type, for light pages, for dark pages), and the figure is closed.

    A diagram is an SVG, a figure with photographs a PNG of twice the pixels in base64.
    """
    kind = "image/png" if any(ax.images for ax in fig.axes) else "image/svg+xml"
    light = _drawn(fig, kind)
    make_dark(fig)
    dark = _drawn(fig, kind)
    _close(fig)
    return kind, light, dark


def _drawn(fig: Figure, kind: str) -> str:
    """The figure as text: SVG, or PNG in base64."""
    buffer = io.BytesIO()
    png = kind == "image/png"
    with style():
        fig.savefig(
            buffer,
            format="png" if png else "svg",
            dpi=PNG_DPI if png else 100,
            bbox_inches="tight",
            metadata={"Software": None} if png else {"Date": None, "Creator": None},
        )
    data = buffer.getvalue()
    return base64.b64encode(data).decode() if png else data.decode()


def _close(fig: Figure) -> None:
    """Forget the figure, also if pyplot made it, so that Jupyter does not show it again."""
    from matplotlib import pyplot

    pyplot.close(fig)
    fig.clear()


def inches(kind: str, content: str) -> float:
    """The width of a picture that `light_and_dark` drew."""
    if kind == "image/svg+xml":
        return float(re.search(r'<svg\b[^>]*?\bwidth="([0-9.]+)pt"', content)[1]) / 72
    return Image.open(io.BytesIO(base64.b64decode(content))).width / PNG_DPI


def address(kind: str, content: str) -> str:
    """The data: address of a picture: SVG as text, anything else in base64 already."""
    if kind == "image/svg+xml":
        content = base64.b64encode(content.encode()).decode()
    return f"data:{kind};base64,{content}"


def png_address(image: np.ndarray) -> str:
    """The data: address of one image, [c, h, w] in [0, 1]; c = 1 or 3, and 2 or 4 with opacity."""
    pixels = np.round(np.asarray(image) * 255).astype(np.uint8).transpose(1, 2, 0)
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(
        buffer, format="PNG", optimize=True
    )
    return address("image/png", base64.b64encode(buffer.getvalue()).decode())


def sheet(images: Sequence[np.ndarray], columns: int, gap: int = 2) -> np.ndarray:
    """Images, each [c, h, w] in [0, 1], in lines of `columns`: [c + 1, H, W], last the opacity.

    gap: pixels between them, through which the page shows.
    """
    channels, high, wide = images[0].shape
    lines = math.ceil(len(images) / columns)
    shape = (lines * (high + gap) - gap, min(columns, len(images)) * (wide + gap) - gap)
    whole = np.zeros((channels + 1, *shape))
    for i, image in enumerate(images):
        y, x = i // columns * (high + gap), i % columns * (wide + gap)
        whole[:channels, y : y + high, x : x + wide] = image
        whole[channels, y : y + high, x : x + wide] = 1
    return whole
