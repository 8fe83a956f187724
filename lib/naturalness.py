r"""How much an image looks like a natural one, judged without any image to compare with.

Two public findings about photographs make a likelihood. Their power spectrum falls as 1/f²
(Field 1987; Ruderman 1994), which fixes how large differences of neighbouring pixels are beside
the contrast of the whole image. And those differences have heavier tails than a Gaussian, fitted
by a generalised Gaussian exp(−|t/s|^α) with α between 0.5 and 0.8 (Mallat 1989; Huang & Mumford
1999; Krishnan & Fergus 2009); α = 2/3 here. Nothing is fitted to any set of images.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

SHAPE = 2 / 3  # α


def naturalness(images: Tensor) -> Tensor:
    """Mean log-likelihood of pixel differences under that law, in nats, [n, c, h, w] -> [n].

    Each channel is divided by its standard deviation first, so the score does not change with
    brightness, contrast or sign. Higher is more natural; noise scores low, for its neighbours
    differ too much, and so do mixtures of images, for their differences are too much alike. Images
    smoother than natural ones are not punished. Zero is what a typical draw of the law scores.
    A channel without contrast shows nothing and scores as white noise does.

    Raises ValueError for images that are not [n, c, h, w] with sides of at least 2 pixels.
    """
    if images.ndim != 4 or min(images.shape[-2:]) < 2:
        raise ValueError(
            f"images are [n, c, h, w] with at least 2 x 2 pixels, not {list(images.shape)}"
        )
    pixels = images.double()
    contrast = pixels.std((2, 3), correction=0, keepdim=True)
    flat = contrast[..., 0, 0] <= 1e-12 * pixels.abs().amax((2, 3))
    pixels = pixels / contrast.clamp(min=1e-300)
    scales = scale_of_differences(*images.shape[-2:])
    scores = [
        _log_density(pixels.diff(dim=dim) / scale).mean((2, 3)).where(~flat, _white_noise(scale))
        for dim, scale in zip((2, 3), scales)
    ]
    return torch.stack(scores).mean((0, 2))


def scale_of_differences(height: int, width: int) -> tuple[float, float]:
    """Standard deviation of vertical and horizontal differences in an image of variance 1.

    By Parseval Σ |2 sin(πf)|² P(f) / Σ P(f) over all frequencies but 0, with P = 1/f².
    """
    vertical, horizontal = torch.meshgrid(
        torch.fft.fftfreq(height).double(), torch.fft.fftfreq(width).double(), indexing="ij"
    )
    squared = vertical.square() + horizontal.square()
    power = torch.where(squared > 0, 1 / squared.clamp(min=1e-30), 0.0)

    def deviation(frequency: Tensor) -> float:
        passed = (2 * torch.sin(math.pi * frequency)).square() * power
        return (passed.sum() / power.sum()).sqrt().item()

    return deviation(vertical), deviation(horizontal)


def _log_density(differences: Tensor) -> Tensor:
    """log of the generalised Gaussian of variance 1 and shape α, plus its entropy.

    −|t/s|^α with s² = Γ(1/α)/Γ(3/α); the entropy's part of the exponent is 1/α.
    """
    return 1 / SHAPE - (differences.abs() / _width()).pow(SHAPE)


def _width() -> float:
    return math.sqrt(math.gamma(1 / SHAPE) / math.gamma(3 / SHAPE))


def _white_noise(scale: float) -> float:
    """What differences of white noise score on average: E|g|^α = 2^(α/2) Γ((α+1)/2) / √π."""
    moment = 2 ** (SHAPE / 2) * math.gamma((SHAPE + 1) / 2) / math.sqrt(math.pi)
    return 1 / SHAPE - moment * (math.sqrt(2) / (scale * _width())) ** SHAPE
