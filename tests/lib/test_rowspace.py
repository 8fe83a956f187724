"""Signal and noise in the first layer; unmixing images from their span."""

import math

import pytest
import torch
from torch import Tensor

from lib.margin import fit_margin
from lib.matching import ncc
from lib.models import MLP
from lib.rowspace import (
    agreement,
    image_derivatives,
    noise_edge,
    random_mixtures,
    row_space,
    unmix,
    whitening,
)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def planted(rows: int, columns: int, rank: int, *, noise: float) -> tuple[Tensor, Tensor]:
    """A matrix of the given rank plus noise, and the span of its rows [rank, columns]."""
    span = torch.linalg.qr(torch.randn(columns, rank, generator=seeded(0))).Q.T
    mixing = torch.randn(rows, rank, generator=seeded(1))
    return mixing @ span + noise * torch.randn(rows, columns, generator=seeded(2)), span


# --- the noise's edge ----------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "columns"), [(300, 300), (500, 100), (100, 500), (400, 300)])
@pytest.mark.parametrize("level", [1.0, 1e-4])
def test_noise_edge_is_the_largest_singular_value_of_noise(rows, columns, level):
    noise = level * torch.randn(rows, columns, generator=seeded(rows + columns))
    values = torch.linalg.svdvals(noise)
    assert noise_edge(values, rows, columns) == pytest.approx(values[0].item(), rel=0.03)
    asymptotic = level * (math.sqrt(rows) + math.sqrt(columns))
    assert noise_edge(values, rows, columns) == pytest.approx(asymptotic, rel=0.02)


def test_noise_edge_ignores_a_few_large_values():
    noise = torch.randn(300, 200, generator=seeded(0))
    edge = noise_edge(torch.linalg.svdvals(noise), 300, 200)
    matrix = noise + planted(300, 200, 10, noise=0)[0] * 100
    assert noise_edge(torch.linalg.svdvals(matrix), 300, 200) == pytest.approx(edge, rel=0.06)


# --- the row space -------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [1, 5, 20])
def test_row_space_recovers_a_planted_span(rank):
    matrix, span = planted(200, 120, rank, noise=1e-3)
    basis = row_space(matrix)
    assert basis.shape == (rank, 120)
    assert torch.allclose(basis @ basis.T, torch.eye(rank), atol=1e-5)
    cosines = torch.linalg.svdvals(basis @ span.T)  # of the principal angles
    assert cosines.min() > 0.999


def test_a_given_rank_is_kept():
    matrix, _ = planted(200, 120, 5, noise=1e-3)
    assert torch.equal(row_space(matrix, 3), row_space(matrix, 5)[:3])


def test_the_full_row_space_loses_nothing():
    matrix = torch.randn(20, 50, generator=seeded(0))
    basis = row_space(matrix, 20)
    assert torch.allclose(matrix @ basis.T @ basis, matrix, atol=1e-5)


@pytest.mark.parametrize("rank", [0, -1, 21])
def test_impossible_ranks_are_refused(rank):
    with pytest.raises(ValueError, match=f"rank {rank} is not between 1 and 20"):
        row_space(torch.randn(20, 50, generator=seeded(0)), rank)


def test_nothing_learnt_is_said():
    untrained = MLP(60, (100,), generator=seeded(0)).layers[0].weight.detach()
    with pytest.raises(ValueError, match="no singular value of the first layer stands out"):
        row_space(untrained)
    with pytest.raises(ValueError, match="no singular value of the first layer stands out"):
        unmix(untrained, (1, 6, 10), seed=0)


@pytest.mark.parametrize("protocol", ["constant", "loss-scaled"])
def test_training_moves_the_first_layer_only_within_the_span_of_the_inputs(protocol):
    model = MLP(30, (40, 20), generator=seeded(0), dtype=torch.float64)
    before = model.layers[0].weight.detach().clone()
    x = torch.randn(6, 30, generator=seeded(1), dtype=torch.float64)
    signs = torch.tensor([1.0, -1, 1, -1, 1, -1], dtype=torch.float64)
    fit_margin(model, x, signs, epochs=300, protocol=protocol, lr=0.05)
    moved = model.layers[0].weight.detach() - before
    span = torch.linalg.qr(x.T).Q.T
    assert moved.norm() > 0.01
    assert (moved - moved @ span.T @ span).norm() < 1e-12 * moved.norm()


def test_a_trained_networks_row_space_is_the_span_of_its_inputs():
    model = MLP(60, (100, 50), generator=seeded(0), dtype=torch.float64)
    x = torch.randn(6, 60, generator=seeded(1), dtype=torch.float64)
    signs = torch.tensor([1.0, -1, 1, -1, 1, -1], dtype=torch.float64)
    fit_margin(model, x, signs, epochs=400)
    basis = row_space(model.layers[0].weight.detach())
    span = torch.linalg.qr(x.T).Q.T
    assert len(basis) == 6
    assert torch.linalg.svdvals(basis @ span.T).min() > 0.999


# --- unmixing ------------------------------------------------------------------------------------


def test_image_derivatives_by_hand():
    image = torch.tensor([[1.0, 2, 4], [7, 11, 16], [0, 0, 0]])
    horizontal, vertical = [1.0, 2, 4, 5], [6.0, 9, -7, -11]
    assert image_derivatives(image[None, None]).tolist() == [horizontal + vertical]


def test_image_derivatives_of_several_channels_and_constants():
    images = torch.ones(2, 3, 5, 4)
    assert torch.equal(image_derivatives(images), torch.zeros(2, 2 * 3 * 4 * 3))
    x = torch.randn(2, 3, 5, 4, generator=seeded(0))
    assert torch.allclose(image_derivatives(x + 7), image_derivatives(x), atol=1e-5)


def test_whitening_is_symmetric_and_gives_identity_moments():
    features = torch.randn(4, 4, generator=seeded(0), dtype=torch.float64) @ torch.randn(
        4, 900, generator=seeded(1), dtype=torch.float64
    )
    matrix = whitening(features)
    white = matrix @ features
    assert torch.allclose(matrix, matrix.T, atol=1e-12)
    assert torch.allclose(white @ white.T / 900, torch.eye(4, dtype=torch.float64), atol=1e-10)


def piecewise_constant(n: int, side: int = 16) -> Tensor:
    """Images of a few overlapping rectangles of random grey -> [n, 1, s, s]."""
    generator, images = seeded(5), torch.zeros(n, 1, side, side)
    for image in images:
        for _ in range(4):
            corner = torch.randint(0, side - 4, (2,), generator=generator).tolist()
            size = torch.randint(3, 10, (2,), generator=generator).tolist()
            grey = torch.rand((), generator=generator)
            image[0, corner[0] : corner[0] + size[0], corner[1] : corner[1] + size[1]] = grey
    return images


@pytest.fixture(scope="module")
def mixed() -> tuple[Tensor, Tensor]:
    """Eight images, and 60 random combinations of them with a little noise."""
    images = piecewise_constant(8)
    mixing = torch.randn(60, 8, generator=seeded(6))
    noise = torch.randn(60, 256, generator=seeded(7))
    return images, mixing @ images.flatten(1) + 1e-3 * noise


def test_unmixing_recovers_images_with_sparse_derivatives(mixed):
    images, weight = mixed
    candidates = unmix(weight, (1, 16, 16), seed=0)
    assert candidates.shape == (16, 1, 16, 16)
    best = ncc(images, candidates).amax(1)
    assert best.min() > 0.95
    directions = row_space(weight).reshape(-1, 1, 16, 16)  # what there was before
    assert ncc(images, directions).abs().amax(1).median() < 0.8


def test_candidates_come_in_both_signs_with_the_largest_pixel_one(mixed):
    candidates = unmix(mixed[1], (1, 16, 16), seed=0)
    first, second = candidates.chunk(2)
    assert torch.equal(first, -second)
    assert torch.allclose(candidates.abs().amax((1, 2, 3)), torch.ones(len(candidates)))
    assert candidates.dtype == torch.float32


def test_candidates_lie_in_the_row_space(mixed):
    basis = row_space(mixed[1])
    candidates = unmix(mixed[1], (1, 16, 16), seed=0).flatten(1)
    assert torch.allclose(candidates @ basis.T @ basis, candidates, atol=1e-4)


def test_the_same_seed_gives_the_same_candidates(mixed):
    one, again, other = (unmix(mixed[1], (1, 16, 16), seed=s) for s in (3, 3, 4))
    assert torch.equal(one, again) and not torch.equal(one, other)


# --- what needs no attack ------------------------------------------------------------------------


def test_random_mixtures_fill_the_row_space_and_nothing_else():
    weight, span = planted(100, 48, 5, noise=1e-6)
    mixed = random_mixtures(weight, (3, 4, 4), 200, seed=0, rank=5)
    assert mixed.shape == (200, 3, 4, 4)
    flat = mixed.flatten(1)
    assert torch.allclose(flat.abs().amax(1), torch.ones(200))
    assert torch.allclose(flat @ span.T @ span, flat, atol=1e-4)
    assert torch.linalg.matrix_rank(flat, rtol=1e-3) == 5
    directions = torch.nn.functional.normalize(flat @ span.T)
    assert torch.allclose(directions.mT @ directions / 200, torch.eye(5) / 5, atol=0.06)


def test_random_mixtures_follow_their_seed():
    weight, _ = planted(100, 48, 5, noise=1e-6)
    one, same, other = (random_mixtures(weight, (48,), 3, seed=s) for s in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_agreement_by_hand():
    """The best partner counts, whatever its sign, scale and offset; the mean over the others."""
    found = torch.tensor([[1.0, 0, 0, -1], [1, -1, 1, -1]])
    same = torch.stack([5 - 2 * found[0], found[1]])
    half = found[:1]
    assert torch.allclose(agreement(found, [same]), torch.ones(2))
    across = float(found[0] @ found[1] / (found[0].norm() * found[1].norm()))
    assert torch.allclose(agreement(found, [same, half]), torch.tensor([1.0, (1 + across) / 2]))
    noise = torch.randn(2, 4000, generator=seeded(0))
    assert agreement(noise, [torch.randn(2, 4000, generator=seeded(1))]).max() < 0.1
