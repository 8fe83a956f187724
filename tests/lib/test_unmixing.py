"""Unmixing: the likelihood against autograd, planted sources, what starts agree on, bad input."""

import pytest
import torch
from torch import Tensor

from lib import rowspace, unmixing
from lib.matching import auroc, ncc
from lib.unmixing import (
    Sources,
    consensus,
    derivatives,
    independent,
    likelier_sign,
    rungs,
    unmix,
)

SHAPE = (1, 14, 14)


def random(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def planted(count: int, seed: int, shape: tuple[int, int, int] = SHAPE) -> Tensor:
    """Images of a few rectangles each [count, d]: flat but for their edges, without their mean."""
    generator = random(seed)
    c, h, w = shape
    images = torch.zeros(count, *shape)
    for image in images:
        for _ in range(3):
            top, left = (int(torch.randint(side - 3, (), generator=generator)) for side in (h, w))
            height, width = torch.randint(3, 7, (2,), generator=generator).tolist()
            colour = torch.randn(c, generator=generator)
            image[:, top : top + height, left : left + width] += colour[:, None, None]
    flat = images.flatten(1)
    return flat - flat.mean(1, keepdim=True)


def mixed(images: Tensor, rows: int, seed: int, noise: float = 1e-3) -> Tensor:
    """A first layer's change: random mixtures of the images, and noise [rows, d]."""
    generator = random(seed)
    change = torch.randn(rows, len(images), generator=generator) @ images
    return change + noise * torch.randn(change.shape, generator=generator)


def recovered(candidates: Tensor, images: Tensor) -> Tensor:
    return ncc(images, candidates.flatten(1)).amax(1)


@pytest.fixture(scope="module")
def twelve() -> tuple[Tensor, Tensor, unmixing.Unmixed]:
    images = planted(12, 0)
    change = mixed(images, 120, 1)
    return images, change, unmix(change, SHAPE, seed=0, rank=12)


def test_planted_images_come_back_far_nearer_than_by_fastica(twelve):
    """Their derivatives are correlated, which an orthogonal unmixing cannot undo."""
    images, change, found = twelve
    mine = recovered(found.candidates, images)
    theirs = recovered(rowspace.unmix(change, SHAPE, seed=0, rank=12), images)
    assert mine.min() > 0.99 and (1 - mine).mean() < (1 - theirs).mean() / 5


def test_candidates_come_with_both_signs_a_scale_and_falling_trust(twelve):
    _, _, found = twelve
    assert torch.equal(found.candidates[::2], -found.candidates[1::2])
    assert torch.allclose(found.candidates.flatten(1).abs().amax(1), torch.tensor(1.0))
    assert found.trust.diff().le(0).all() and found.trust.min() >= 0 and found.trust.max() <= 1
    assert found.rank == 12 and found.candidates.shape[1:] == SHAPE


def test_the_same_seed_gives_the_same_candidates(twelve):
    _, change, found = twelve
    again = unmix(change, SHAPE, seed=0, rank=12)
    assert torch.equal(again.candidates, found.candidates)


def test_mixing_the_rows_once_more_changes_no_planted_image(twelve):
    images, change, _ = twelve
    turned = torch.linalg.qr(torch.randn(120, 120, generator=random(5))).Q @ change
    assert (recovered(unmix(turned, SHAPE, seed=3, rank=12).candidates, images) > 0.9).sum() >= 11


def test_what_is_no_image_is_trusted_less():
    """Twelve images and forty directions of white noise in one row space."""
    images = planted(12, 0)
    noise = torch.randn(40, images.shape[1], generator=random(7))
    found = unmix(mixed(torch.cat([images / images.std(), noise]), 200, 2), SHAPE, seed=0, rank=52)
    best = ncc(images, found.candidates.flatten(1)).abs().amax(0)
    assert auroc(found.trust[best > 0.9], found.trust[best < 0.5]) > 0.8


def test_colours_and_a_rank_that_is_read_off():
    images = planted(8, 3, (3, 12, 12))
    found = unmix(mixed(images, 100, 4), (3, 12, 12), seed=0)
    assert found.rank == 8
    assert (recovered(found.candidates, images) > 0.9).sum() >= 7


def test_the_gradient_is_that_of_autograd():
    maps = torch.randn(5, 4, 30, generator=random(0)).double()
    problem = Sources(maps)
    w = torch.randn(5, 5, generator=random(1)).double().requires_grad_()
    unit = w / w.norm(dim=1, keepdim=True)
    sources = (unit @ problem.white).reshape(5, 4, 30)
    energy = 0.01 + sources.square().mean(1)
    expected = energy.log().mean(1).sum() / 2 - torch.linalg.slogdet(unit).logabsdet
    value, slope = problem.value_and_gradient(w.detach(), 0.01)
    assert torch.allclose(value, expected, atol=1e-12)
    assert torch.allclose(slope, torch.autograd.grad(expected, w)[0], atol=1e-12)


def test_white_features_have_power_one_and_coefficients_lead_back():
    maps = (
        torch.randn(4, 3, 50, generator=random(2)).double()
        * torch.tensor([1, 2, 3, 9])[:, None, None]
    )
    problem = Sources(maps)
    power = problem.white @ problem.white.T / problem.white.shape[1]
    assert torch.allclose(power, torch.eye(4).double(), atol=1e-9)
    assert torch.allclose(problem.root @ problem.inverse_root, torch.eye(4).double(), atol=1e-9)


def test_derivatives_of_a_plane_and_of_a_constant():
    ramp = torch.arange(6.0).expand(1, 1, 6, 6)  # brighter to the right
    columns, rows, down, back, second, other, across = derivatives(ramp)[0]
    for flat in (rows, second, other, across):
        assert torch.equal(flat, torch.zeros(16))
    assert torch.equal(columns, torch.ones(16)) and torch.equal(down, torch.ones(16))
    assert torch.equal(back, -torch.ones(16))
    grey = torch.rand(1, 1, 5, 5, generator=random(0)).expand(1, 3, 5, 5)
    brightness, *opponents = derivatives(grey)[0].reshape(3, 7, -1)
    assert brightness.abs().max() > 0.1 and max(o.abs().max() for o in opponents) < 1e-6


def test_what_starts_agree_on_comes_first_and_once():
    shared = torch.randn(3, 40, generator=random(0))
    starts = [torch.cat([shared, torch.randn(2, 40, generator=random(k))]) for k in (1, 2, 3)]
    starts[1][0] *= -5  # sign and scale do not matter
    indices, trust = consensus(starts)
    assert sorted(i % 5 for i in indices[:3].tolist()) == [0, 1, 2]
    assert torch.allclose(trust[:3], torch.ones(3)) and trust[3] < 0.8
    assert len(indices) == 3 + 3 * 2


def test_the_sign_is_read_off_the_bias():
    images = planted(6, 9)
    columns = torch.rand(50, 6, generator=random(1))  # how strongly each image moved each neuron
    signs = torch.tensor([1.0, -1, 1, 1, -1, -1])
    bias = columns.sum(1)
    found = likelier_sign(signs[:, None] * images, columns @ images, bias)
    assert torch.equal(found, signs)


def test_seeds_that_are_combinations_of_others_are_left_out():
    rows = torch.eye(4)[:3]
    given = torch.stack([rows[0], rows[1], rows[0] + 0.2 * rows[2], 2 * rows[2], rows.sum(0)])
    chosen, basis = independent(given)
    assert torch.equal(chosen, given[[0, 1, 3]])
    assert torch.allclose(basis @ basis.T, torch.eye(3))


@pytest.mark.parametrize(("rank", "expected"), [(10, [10]), (47, [9, 28, 47]), (60, [12, 36, 60])])
def test_rungs_end_at_the_rank(rank, expected):
    assert rungs(rank) == expected


def test_a_tall_ladder_has_its_most_rungs_evenly_spaced():
    ladder = rungs(300)
    assert len(ladder) == unmixing.MOST_RUNGS and (ladder[0], ladder[-1]) == (60, 300)
    assert {b - a for a, b in zip(ladder, ladder[1:])} == {30}


@pytest.mark.parametrize(
    ("change", "shape", "settings", "message"),
    [
        (torch.zeros(196), SHAPE, {}, r"is a matrix \[neurons, inputs\], not \[196\]"),
        (torch.zeros(9, 100), SHAPE, {}, "do not fit a layer of 100 inputs"),
        (torch.zeros(9, 4), (1, 2, 2), {}, "sides of at least 3"),
        (torch.full((9, 196), torch.nan), SHAPE, {}, "not finite"),
        (torch.rand(9, 196), SHAPE, {"rank": 10}, "rank 10 is not between 1 and 9"),
        (torch.rand(9, 196), SHAPE, {"starts": 1}, "agreement needs at least 2"),
        (torch.rand(9, 196), SHAPE, {"bias": torch.rand(8)}, r"a bias \[8\] does not belong"),
        (torch.randn(300, 196, generator=random(0)), SHAPE, {}, "no singular value .* stands out"),
    ],
)
def test_bad_input_is_one_sentence(change, shape, settings, message):
    with pytest.raises(ValueError, match=message):
        unmix(change, shape, seed=0, **settings)
