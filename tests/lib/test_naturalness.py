"""Naturalness: invariances, the law's own numbers, and the order it puts images in."""

import math

import pytest
import torch
from torch import Tensor

from lib.naturalness import SHAPE, naturalness, scale_of_differences


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def patches(count: int = 30, side: int = 32, discs: int = 40) -> Tensor:
    """Dead leaves: opaque discs of scale-free size, a model of natural images [n, 1, s, s]."""
    random = generator(1)
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    images = torch.zeros(count, 1, side, side)
    for image in images:
        for _ in range(discs):
            a, b, shade, size = torch.rand(4, generator=random)
            radius = 2 / (size * 0.9 + 0.1)
            inside = (y - a * side).square() + (x - b * side).square() < radius.square()
            image[0][inside] = shade
    return images


def test_it_does_not_change_with_brightness_contrast_or_sign():
    images = torch.rand(5, 3, 16, 16, generator=generator(), dtype=torch.float64)
    expected = naturalness(images)
    for changed in (images + 3, 0.01 * images, -images):
        torch.testing.assert_close(naturalness(changed), expected)


def test_turning_and_mirroring_change_nothing():
    images = torch.rand(5, 3, 16, 16, generator=generator())
    expected = naturalness(images)
    for changed in (images.flip(3), images.transpose(2, 3)):
        torch.testing.assert_close(naturalness(changed), expected)


def test_images_are_scored_one_by_one():
    images = torch.rand(4, 2, 8, 8, generator=generator())
    one_by_one = torch.cat([naturalness(image[None]) for image in images])
    torch.testing.assert_close(naturalness(images), one_by_one)


def test_a_draw_of_the_law_scores_zero():
    """|t/s|^α is a gamma variable of shape 1/α, so that its mean is 1/α, the entropy's part."""
    s = math.sqrt(math.gamma(1 / SHAPE) / math.gamma(3 / SHAPE))
    gamma = torch.distributions.Gamma(1 / SHAPE, 1.0)
    torch.manual_seed(0)
    t = s * gamma.sample((200_000,)).pow(1 / SHAPE)
    assert t.square().mean().item() == pytest.approx(1, rel=0.05)  # the law has variance 1
    assert 1 / SHAPE - (t / s).pow(SHAPE).mean().item() == pytest.approx(0, abs=0.02)


def test_the_scale_is_that_of_images_made_with_this_spectrum():
    side, vertical = 16, torch.fft.fftfreq(16)
    radius = (vertical[:, None].square() + vertical.square()).sqrt()
    amplitude = torch.where(radius > 0, 1 / radius.clamp(min=1e-9), 0.0)
    white = torch.randn(400, side, side, generator=generator())
    made = torch.fft.ifft2(torch.fft.fft2(white) * amplitude).real
    wrapped = made - made.roll(1, 1)
    measured = (wrapped.square().mean() / made.square().mean()).sqrt().item()
    assert scale_of_differences(side, side)[0] == pytest.approx(measured, rel=0.02)


def test_edges_look_more_natural_than_mixtures_and_mixtures_than_noise():
    images = patches()
    centred = images - images.mean(0)
    mixing = torch.randn(30, 30, generator=generator(2))
    mixtures = (mixing @ centred.flatten(1)).reshape(images.shape)
    noise = torch.rand(images.shape, generator=generator(3))
    natural, mixed, random = map(naturalness, (images, mixtures, noise))
    assert natural.median() > mixed.median() > random.median()
    assert natural.quantile(0.2) > random.max()


def test_more_noise_looks_less_natural():
    images, noise = patches(8), torch.randn(8, 1, 32, 32, generator=generator(4))
    scores = [naturalness(images + level * noise).mean() for level in (0, 0.1, 0.3, 1)]
    assert all(after < before for before, after in zip(scores, scores[1:]))


def test_a_channel_without_contrast_scores_as_white_noise():
    noise = torch.randn(50, 1, 32, 32, generator=generator())
    expected = naturalness(noise).mean().item()
    assert naturalness(torch.full((1, 1, 32, 32), 0.3)).item() == pytest.approx(expected, abs=0.02)
    image = patches(1)
    beside_nothing = naturalness(torch.cat([image, torch.zeros_like(image)], dim=1)).item()
    assert beside_nothing == pytest.approx((naturalness(image).item() + expected) / 2, abs=0.02)


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 1, 1, 8)])
def test_what_is_no_image(shape):
    with pytest.raises(ValueError, match=r"images are \[n, c, h, w\]"):
        naturalness(torch.zeros(shape))
