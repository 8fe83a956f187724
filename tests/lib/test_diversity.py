"""Variety and likeness of features: by hand, on planted spectra, against double loops."""

import numpy as np
import pytest
import torch
from torch import Tensor

from lib.diversity import (
    diversity,
    effective_number,
    effective_rank,
    kid,
    nearest_distance,
    pairwise_cosine,
    unit_rows,
    vendi_score,
)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int, seed: int, channels: int = 1, side: int = 8) -> Tensor:
    return torch.rand(n, channels, side, side, generator=seeded(seed))


# --- variety ------------------------------------------------------------------------------------


def rows(n: int, d: int, seed: int) -> Tensor:
    return torch.randn(n, d, generator=seeded(seed))


def orthonormal(n: int, d: int, seed: int = 0) -> Tensor:
    """n orthonormal rows, or d orthonormal columns if n > d."""
    q, _ = torch.linalg.qr(rows(max(n, d), min(n, d), seed).double())
    return q if n > d else q.T


def cosines(features: Tensor) -> np.ndarray:
    x = features.double().numpy()
    return np.array([[u @ v / np.linalg.norm(u) / np.linalg.norm(v) for v in x] for u in x])


def test_unit_rows_have_length_one_at_any_scale():
    features = torch.tensor([[3.0, 4.0], [0.0, 0.0], [-3e-30, 0.0]])
    assert unit_rows(features).flatten().tolist() == pytest.approx([0.6, 0.8, 0, 0, -1, 0])
    assert unit_rows(features.half()).dtype == torch.float64


def test_effective_number_by_hand():
    assert effective_number(torch.full((5,), 0.3).double()) == pytest.approx(5)
    assert effective_number(torch.tensor([7.0, 0.0])) == 1.0
    three = torch.tensor([2.0, 1.0, 1.0]).double()  # entropy ½ ln 2 + ½ ln 4
    assert effective_number(three) == pytest.approx(2**1.5)
    assert effective_number(torch.tensor([1.0, 1.0, -1e-9])) == pytest.approx(2)
    assert effective_number(torch.tensor([0.0, -1e-9])) == 1.0


@pytest.mark.parametrize("n, d", [(1, 1), (1, 4), (5, 5), (5, 9)])
def test_vendi_score_of_orthonormal_rows_is_their_number(n, d):
    assert vendi_score(orthonormal(n, d)) == pytest.approx(n)


@pytest.mark.parametrize("d", [3, 20])
def test_vendi_score_counts_groups(d):
    """On both sides of n = 8: identical rows, two orthogonal groups, and unequal ones."""
    p, q = orthonormal(2, d)
    assert vendi_score(p.expand(8, d)) == pytest.approx(1, abs=1e-12)
    assert vendi_score(torch.stack([p, q] * 4)) == pytest.approx(2)
    assert vendi_score(torch.stack([p, -p] * 4)) == pytest.approx(1, abs=1e-12)
    unequal = 8 / (2**2 * 6**6) ** (1 / 8)  # exp(−¼ ln ¼ − ¾ ln ¾)
    assert vendi_score(torch.stack([p] * 2 + [q] * 6)) == pytest.approx(unequal)


@pytest.mark.parametrize("n, d", [(6, 15), (15, 6), (8, 8)])
def test_vendi_score_is_that_of_the_kernel_at_any_shape(n, d):
    features = rows(n, d, 0)
    eigenvalues = np.linalg.eigvalsh(cosines(features) / n)
    eigenvalues = eigenvalues[eigenvalues > 1e-12]
    expected = np.exp(-(eigenvalues * np.log(eigenvalues)).sum())
    assert vendi_score(features) == pytest.approx(expected, rel=1e-10)
    assert 1 < vendi_score(features) < min(n, d)
    padded = torch.cat([features, torch.zeros(n, 20)], 1)  # more columns than rows
    assert vendi_score(padded) == pytest.approx(expected, rel=1e-10)


def test_vendi_score_ignores_the_scale_of_every_row_and_their_order():
    features = rows(7, 4, 0).double()
    scales = torch.rand(7, 1, generator=seeded(1)).double() * 100 + 0.01
    assert vendi_score(scales * features) == pytest.approx(vendi_score(features), rel=1e-12)
    assert vendi_score(features.flip(0)) == pytest.approx(vendi_score(features), rel=1e-12)


@pytest.mark.parametrize("d", [3, 20])
def test_rows_of_zeros_are_left_out_of_the_vendi_score(d):
    features, zeros = rows(5, d, 0), torch.zeros(4, d)
    with_zeros = vendi_score(torch.cat([features, zeros]))
    assert with_zeros == pytest.approx(vendi_score(features), rel=1e-10)
    assert vendi_score(zeros) == 1.0


@pytest.mark.parametrize("spectrum", [[1.0, 1.0, 1.0], [4.0, 2.0, 1.0, 1.0], [3.0], [5.0, 1e-3]])
@pytest.mark.parametrize("d", [6, 30])
def test_effective_rank_of_a_planted_spectrum(spectrum, d):
    values = torch.tensor(spectrum).double()
    left = orthonormal(12, 6)
    left = torch.linalg.qr(left - left.mean(0))[0][:, : len(values)]  # centred columns
    features = left * values @ orthonormal(len(values), d, 1)
    share = np.array(spectrum) / sum(spectrum)
    expected = np.exp(-(share * np.log(share)).sum())
    assert effective_rank(features) == pytest.approx(expected, rel=1e-10)
    offset = 5 * rows(1, d, 2).double()
    assert effective_rank(100 * features + offset) == pytest.approx(expected, rel=1e-6)


def test_effective_rank_is_bounded_and_one_without_spread():
    assert 1 < effective_rank(rows(5, 9, 0)) <= 4
    assert 1 < effective_rank(rows(50, 9, 0)) <= 9
    assert effective_rank(torch.eye(5)) == pytest.approx(4)
    assert effective_rank(rows(1, 9, 0)) == 1.0
    assert effective_rank(torch.zeros(5, 3)) == 1.0
    tenths = torch.tensor([0.1, 0.7, 1e5], dtype=torch.float64).expand(3, 3)
    assert (tenths != tenths.mean(0)).any()  # the mean is rounded, alike for every row
    assert effective_rank(tenths) == pytest.approx(1, abs=1e-9)
    assert effective_rank(torch.outer(torch.arange(5.0), rows(1, 9, 0)[0])) == pytest.approx(1)


@pytest.mark.parametrize("n, d", [(2, 5), (9, 3), (6, 40)])
def test_pairwise_cosine_equals_the_double_loop(n, d):
    features = rows(n, d, n) + 0.5
    expected = cosines(features)[~np.eye(n, dtype=bool)].mean()
    assert pairwise_cosine(features) == pytest.approx(expected, rel=1e-10)


def test_pairwise_cosine_by_hand():
    features = torch.tensor([[2.0, 0.0], [3.0, 0.0], [0.0, 1.0]])  # 1, 0 and 0
    assert pairwise_cosine(features) == pytest.approx(1 / 3)
    assert pairwise_cosine(features[:2]) == pytest.approx(1)
    assert pairwise_cosine(torch.cat([features[:2], torch.zeros(1, 2)])) == pytest.approx(1 / 3)
    assert pairwise_cosine(torch.tensor([[1.0], [-5.0]])) == pytest.approx(-1)


def test_diversity_is_made_of_its_parts():
    """Classes of 4, 2 and 3 samples, mixed, and one of a single sample that counts nowhere."""
    labels = torch.tensor([0, 5, 0, 2, 5, 7, 0, 2, 2, 0])
    features, pixels = rows(10, 6, 0) + 0.5, images(10, 1, 3)
    found = diversity(features, labels, pixels)
    groups = [features[labels == k] for k in (0, 2, 5)]
    crossing = [
        cosines(features)[i, j]
        for i in range(10)
        for j in range(10)
        if labels[i] != labels[j] and 7 not in (labels[i], labels[j])
    ]
    stds = [pixels[labels == k].double().numpy().std(0).mean() for k in (0, 2, 5)]
    expected = {
        "intra": np.mean([1 - pairwise_cosine(group) for group in groups]),
        "inter": 1 - np.mean(crossing),
        "vendi": np.mean([vendi_score(group) for group in groups]),
        "vendi_all": vendi_score(features[labels != 7]),
        "effective_rank": np.mean([effective_rank(group) for group in groups]),
        "pixel_std": np.mean(stds),
    }
    assert found == pytest.approx(expected, rel=1e-10)
    assert all(type(value) is float for value in found.values())


def test_diversity_by_hand():
    """Two classes of copies at a right angle, and pixels of which half are 0 and 1 in turn."""
    features = torch.eye(2).repeat_interleave(2, 0)
    pixels = torch.tensor([[0, 0], [1, 0], [7, 0], [7, 0]], dtype=torch.uint8)
    found = diversity(features, torch.tensor([0, 0, 1, 1]), pixels)
    expected = {"intra": 0, "inter": 1, "vendi": 1, "vendi_all": 2, "effective_rank": 1}
    assert found == pytest.approx(expected | {"pixel_std": 0.125}, abs=1e-12)


def test_a_single_class_has_no_distance_to_another():
    found = diversity(rows(3, 4, 0), torch.tensor([1, 1, 0]), images(3, 0))
    assert np.isnan(found.pop("inter"))
    assert np.isfinite(list(found.values())).all()


def test_variety_of_too_few_rows_is_refused():
    with pytest.raises(ValueError, match="Vendi score needs at least one row"):
        vendi_score(torch.zeros(0, 3))
    with pytest.raises(ValueError, match="effective rank needs at least one row"):
        effective_rank(torch.zeros(0, 3))
    with pytest.raises(ValueError, match="1 rows form no pair"):
        pairwise_cosine(torch.ones(1, 3))
    with pytest.raises(ValueError, match="no class has two samples or more"):
        diversity(rows(3, 4, 0), torch.arange(3), images(3, 0))
    with pytest.raises(ValueError, match="3 features, 2 labels and 3 images: not equal"):
        diversity(rows(3, 4, 0), torch.zeros(2), images(3, 0))


# --- likeness -----------------------------------------------------------------------------------


def test_kid_equals_the_double_loop():
    a, b = rows(5, 3, 0), rows(7, 3, 1) + 1

    def kernel(x: Tensor, y: Tensor) -> float:
        return (x.double() @ y.double() / 3 + 1).item() ** 3

    within = [
        np.mean([kernel(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j])
        for s in (a, b)
    ]
    expected = sum(within) - 2 * np.mean([kernel(x, y) for x in a for y in b])
    assert kid(a, b) == pytest.approx(expected, rel=1e-10)
    assert kid(b, a) == pytest.approx(kid(a, b), rel=1e-10)


def test_kid_by_hand():
    a, b = torch.ones(2, 1), torch.zeros(3, 1)
    assert kid(a, b) == 8 + 1 - 2
    orthogonal = 2**0.5 * torch.eye(2)  # 1 off the diagonal, where the biased mean would be 4.5
    assert kid(orthogonal, torch.zeros(2, 2)) == 0.0


def test_kid_is_unbiased_for_one_distribution_and_large_for_another():
    same = np.array([kid(rows(30, 4, 2 * k), rows(20, 4, 2 * k + 1)) for k in range(200)])
    assert abs(same.mean()) < 3 * same.std() / 200**0.5
    assert same.min() < 0
    assert kid(rows(500, 4, 0), rows(500, 4, 1) + 1) > 20 * same.std()


def test_nearest_distance_by_hand():
    a = torch.tensor([[0.0, 0.0], [4.0, 3.0]])
    b = torch.tensor([[0.0, 5.0], [1.0, 1.0], [4.0, 3.0]])
    assert nearest_distance(a, b).tolist() == pytest.approx([2**0.5, 0])
    assert nearest_distance(b, b, exclude_self=True).tolist() == pytest.approx(
        [17**0.5, 13**0.5, 13**0.5]
    )
    assert nearest_distance(b[:0], b).shape == (0,)


@pytest.mark.parametrize("pairs_at_once", [1, 30, 50, 10**6])
def test_nearest_distance_equals_brute_force_in_chunks_of_any_size(pairs_at_once):
    a, b = rows(17, 5, 0), rows(11, 5, 1)
    every = (a[:, None].double() - b[None].double()).norm(dim=2)
    found = nearest_distance(a, b, pairs_at_once=pairs_at_once)
    assert found.tolist() == pytest.approx(every.amin(1).tolist(), rel=1e-12)
    own = (a[:, None].double() - a[None].double()).norm(dim=2).fill_diagonal_(float("inf"))
    found = nearest_distance(a, a, exclude_self=True, pairs_at_once=pairs_at_once)
    assert found.tolist() == pytest.approx(own.amin(1).tolist(), rel=1e-12)


def test_copies_are_at_distance_zero_and_near_copies_at_theirs():
    """Far from the origin, where distances taken from products have lost these digits."""
    b = 1000 + rows(60, 50, 0).double()
    assert nearest_distance(b[:40], b).tolist() == [0.0] * 40
    near = b.clone()
    near[:, 3] += 1e-5
    assert nearest_distance(near, b).tolist() == pytest.approx([1e-5] * 60, rel=1e-5)
    twice = torch.cat([b, b])
    assert nearest_distance(twice, twice, exclude_self=True).tolist() == [0.0] * 120
    assert nearest_distance(b, b, exclude_self=True).min() > 1


def test_samples_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match="1 and 5 rows: each sample needs at least two"):
        kid(rows(1, 3, 0), rows(5, 3, 1))
    with pytest.raises(ValueError, match="5 and 0 rows: each sample needs at least two"):
        kid(rows(5, 3, 0), rows(0, 3, 1))
    with pytest.raises(ValueError, match="features of 3 and 4 dimensions"):
        kid(rows(5, 3, 0), rows(5, 4, 1))
    with pytest.raises(ValueError, match="no row to be near to"):
        nearest_distance(rows(5, 3, 0), rows(0, 3, 1))
    with pytest.raises(ValueError, match="rows of 3 and 4 dimensions"):
        nearest_distance(rows(5, 3, 0), rows(5, 4, 1))
    for a, b in [(rows(1, 3, 0),) * 2, (rows(5, 3, 0), rows(5, 3, 1))]:
        with pytest.raises(ValueError, match="exclude_self needs the same two or more rows"):
            nearest_distance(a, b, exclude_self=True)
