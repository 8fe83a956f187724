"""Similarity by hand, matching of planted pools, calibration that knows its null, variety."""

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from sklearn.metrics import roc_auc_score
from torch import Tensor

from lib import data
from lib.metrics import (
    auroc,
    best_ncc,
    calibrate,
    diversity,
    effective_number,
    effective_rank,
    excess_hits,
    kid,
    match,
    ncc,
    nearest_distance,
    pairwise_cosine,
    ssim,
    stretch,
    unit_rows,
    vendi_score,
)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(n: int, seed: int, channels: int = 1, side: int = 8) -> Tensor:
    return torch.randn(n, channels, side, side, generator=seeded(seed))


def images(n: int, seed: int, channels: int = 1, side: int = 8) -> Tensor:
    """Uniform pixels, stretched so that each image has its extremes at 0 and 1."""
    return stretch(torch.rand(n, channels, side, side, generator=seeded(seed)))


# --- normalised cross-correlation ----------------------------------------------------------------


def test_ncc_of_small_vectors_by_hand():
    a = torch.tensor([[0.0, 0.0, 3.0], [1.0, 2.0, 3.0]])
    b = torch.tensor([[0.0, 1.0, 2.0], [5.0, 5.0, 5.0]])
    root = 3**0.5 / 2  # (-1, -1, 2)·(-1, 0, 1) / √6√2
    assert torch.allclose(ncc(a, b), torch.tensor([[root, 0.0], [1.0, 0.0]], dtype=torch.float64))


def test_ncc_equals_numpys_correlation():
    a, b = noise(5, 0, channels=3), noise(7, 1, channels=3)
    expected = np.corrcoef(a.flatten(1).double(), b.flatten(1).double())[:5, 5:]
    np.testing.assert_allclose(ncc(a, b).numpy(), expected, atol=1e-12)


def test_ncc_is_bounded_and_ignores_scale_and_offset():
    a, b = noise(20, 0), noise(30, 1)
    assert ncc(a, b).abs().max() <= 1
    assert torch.allclose(ncc(a, a).diagonal(), torch.ones(20, dtype=torch.float64))
    assert torch.allclose(ncc(a, 3 * b + 7), ncc(a, b), atol=1e-5)
    assert torch.allclose(ncc(a, -b), -ncc(a, b))
    assert torch.allclose(ncc(a, b), ncc(b, a).T)


# --- scaling and SSIM ----------------------------------------------------------------------------


def test_stretch_by_hand():
    image = torch.tensor([[-1.0, 0.0], [1.0, 3.0]])[None, None]
    assert stretch(image).flatten().tolist() == [0.0, 0.25, 0.5, 1.0]
    both = torch.cat([image, 100 * image + 5])  # each by its own extremes
    assert torch.allclose(stretch(both)[0], stretch(both)[1])
    assert torch.equal(stretch(torch.full((1, 3, 2, 2), 4.0)), torch.zeros(1, 3, 2, 2))


@pytest.mark.parametrize("window", [3, 7, 11])
@pytest.mark.parametrize("channels", [1, 3])
def test_ssim_is_the_mean_over_channels_of_skimages(channels, window):
    a, b = images(3, 0, channels, 16), images(3, 1, channels, 16)
    b = 0.7 * a + 0.3 * b
    expected = [
        np.mean([
            structural_similarity(x[k], y[k], win_size=window, data_range=1.0)
            for k in range(channels)
        ])
        for x, y in zip(a.double().numpy(), b.double().numpy())
    ]  # fmt: skip
    assert ssim(a, b, window=window).tolist() == pytest.approx(expected, rel=1e-10)


def test_ssim_of_a_single_window_by_hand():
    """Images as large as the window: the formula of Wang et al. 2004, once."""
    a, b = images(1, 0, side=3).double(), images(1, 1, side=3).double()
    c1, c2 = 0.01**2, 0.03**2
    covariance = torch.cov(torch.stack([a.flatten(), b.flatten()]))
    luminance = (2 * a.mean() * b.mean() + c1) / (a.mean() ** 2 + b.mean() ** 2 + c1)
    structure = (2 * covariance[0, 1] + c2) / (covariance[0, 0] + covariance[1, 1] + c2)
    expected = (luminance * structure).item()
    assert ssim(a, b, window=3).item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("window", [3, 11])
def test_ssim_of_an_image_with_itself_is_one_and_is_symmetric(window):
    a, b = images(4, 0, 3, 12), images(4, 1, 3, 12)
    assert torch.allclose(ssim(a, a, window=window), torch.ones(4, dtype=torch.float64))
    assert torch.allclose(ssim(a, b, window=window), ssim(b, a, window=window))
    assert ssim(a, b, window=window).max() < 0.5


@pytest.mark.parametrize("window", [2, 4, 9])
def test_windows_that_are_even_or_too_large_are_refused(window):
    with pytest.raises(ValueError, match=f"window {window} must be odd and at most"):
        ssim(images(1, 0), images(1, 1), window=window)


# --- matching (B.3, H32) -------------------------------------------------------------------------


def test_a_planted_permutation_is_recovered_in_order_of_ssim():
    targets, mean = images(6, 0), images(1, 1)[0]
    levels = torch.tensor([0.15, 0.0, 0.1, 0.05, 0.25, 0.2])
    blurred = targets + levels[:, None, None, None] * noise(6, 2)
    permutation = torch.tensor([4, 2, 0, 5, 1, 3])
    candidates = (blurred - mean)[permutation]
    pool = torch.cat([candidates, noise(20, 3)])
    found = match(targets, pool, mean, vote=1)
    expected_ncc = ncc(targets - mean, blurred - mean).diagonal()
    assert torch.allclose(found.ncc, expected_ncc[found.order], atol=1e-6)
    assert found.order.tolist() == levels.argsort().tolist()
    assert found.ssim.tolist() == sorted(found.ssim.tolist(), reverse=True)
    assert torch.allclose(found.ssim, ssim(targets[found.order], found.reconstructions))


def test_exact_candidates_are_shown_exactly():
    """A candidate at the scale of the images comes back as its target, in [0, 1]."""
    targets, mean = images(5, 0), images(1, 1)[0]
    found = match(targets, (targets - mean).flip(0), mean)
    assert torch.allclose(found.reconstructions, targets[found.order], atol=1e-6)
    assert torch.allclose(found.ncc, torch.ones(5, dtype=torch.float64))
    assert torch.allclose(found.ssim, torch.ones(5, dtype=torch.float64), atol=1e-5)


@pytest.fixture
def close_pair() -> tuple[Tensor, Tensor, Tensor]:
    """One target; candidates of NCC about 0.99, 0.95 and 0.8 with it, mean subtracted."""
    target, zero = images(1, 0), torch.zeros(1, 8, 8)
    spread = target.std()
    levels = torch.tensor([0.14, 0.33, 0.75])[:, None, None, None]
    return target, target + levels * spread * noise(3, 4), zero


def test_vote_averages_all_within_nine_tenths_of_the_best(close_pair):
    target, candidates, zero = close_pair
    similarity = ncc(target, candidates)[0]
    assert (similarity >= 0.9 * similarity.max()).tolist() == [True, True, False]
    voted = match(target, candidates, zero).reconstructions
    assert torch.allclose(voted, stretch(stretch(candidates[:2]).mean(0, keepdim=True)), atol=1e-6)
    all_three = match(target, candidates, zero, vote=0.5).reconstructions
    assert torch.allclose(all_three, stretch(stretch(candidates).mean(0, keepdim=True)), atol=1e-6)


def test_vote_of_one_takes_the_single_best(close_pair):
    target, candidates, zero = close_pair
    best = match(target, candidates, zero, vote=1)
    assert torch.allclose(best.reconstructions, stretch(candidates[:1]), atol=1e-6)
    assert best.ncc.item() == ncc(target, candidates).max().item()


def test_without_any_positive_correlation_the_single_best_is_shown():
    target, zero = images(1, 0), torch.zeros(1, 8, 8)
    candidates = torch.cat([-target, -target + 0.3 * noise(1, 1)])
    found = match(target, candidates, zero)
    assert found.ncc.item() < 0
    assert torch.allclose(found.reconstructions, stretch(candidates[1:]), atol=1e-6)


def test_best_ncc_is_the_maximum_over_the_pool():
    targets, mean, pool = images(4, 0), images(1, 1)[0], noise(9, 2)
    expected = torch.stack([ncc((t - mean)[None], pool).max() for t in targets])
    assert torch.allclose(best_ncc(targets, pool, mean), expected)


# --- calibration ---------------------------------------------------------------------------------


def test_auroc_by_hand_with_ties():
    assert auroc(torch.tensor([2.0, 3.0]), torch.tensor([0.0, 1.0])) == 1.0
    assert auroc(torch.tensor([0.0]), torch.tensor([1.0, 2.0])) == 0.0
    assert auroc(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 0.0])) == (0.5 + 3) / 4


@pytest.mark.parametrize("levels", [3, 10, 10**6])
def test_auroc_equals_scikit_learns(levels):
    positives = torch.randint(0, levels, (40,), generator=seeded(0)).double() + levels // 5
    negatives = torch.randint(0, levels, (70,), generator=seeded(1)).double()
    truth = [1] * 40 + [0] * 70
    expected = roc_auc_score(truth, torch.cat([positives, negatives]).numpy())
    assert auroc(positives, negatives) == pytest.approx(expected, rel=1e-12)


def test_planted_copies_hit_their_set_and_no_other():
    train, held_out, zero = images(12, 0), images(12, 1), torch.zeros(1, 8, 8)
    copies = train + 0.05 * noise(12, 2)
    assert excess_hits(train, held_out, copies, zero) == (12, 0)
    assert excess_hits(held_out, train, copies, zero) == (0, 12)
    assert excess_hits(train, held_out, torch.cat([copies, copies, copies[:3]]), zero) == (12, 0)
    assert excess_hits(train, held_out, copies[:5], zero) == (5, 0)


def test_undecided_candidates_hit_nothing():
    train, held_out, zero = images(12, 0), images(12, 1), torch.zeros(1, 8, 8)
    between = ((train - train.mean((1, 2, 3), keepdim=True)) / train.std((1, 2, 3), keepdim=True)) + (
        (held_out - held_out.mean((1, 2, 3), keepdim=True))
        / held_out.std((1, 2, 3), keepdim=True)
    )
    assert excess_hits(train, held_out, between, zero) == (0, 0)
    assert excess_hits(train, held_out, noise(50, 3), zero, log_ratio=10.0) == (0, 0)


def test_random_candidates_hit_both_sets_equally():
    def excess(seed: int) -> int:
        train, held_out, pool = noise(80, seed, side=3).split([30, 30, 20])
        mine, others = excess_hits(train, held_out, pool, torch.zeros(1, 3, 3))
        assert mine + others > 0  # there is something to compare
        return mine - others

    found = np.array([excess(seed) for seed in range(100)])
    assert found.std() > 1
    assert abs(found.mean()) < 3 * found.std() / 10


def test_exchanging_the_sets_exchanges_the_counts():
    train, held_out, zero = noise(30, 0, side=3), noise(30, 1, side=3), torch.zeros(1, 3, 3)
    pool = noise(40, 2, side=3)
    assert excess_hits(train, held_out, pool, zero) == excess_hits(held_out, train, pool, zero)[::-1]


def test_sets_of_unequal_size_are_refused():
    with pytest.raises(ValueError, match="4 training and 5 held-out images: not equal"):
        excess_hits(images(4, 0), images(5, 1), noise(3, 2), torch.zeros(1, 8, 8))
    with pytest.raises(ValueError, match="3 held-out images are fewer than 4 targets"):
        calibrate(images(4, 0), images(3, 1), noise(3, 2), torch.zeros(1, 8, 8))


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor, data.DataSet]:
    """100 training and 300 held-out digits, and the test split for pools that are neither."""
    train, held_out = data.split_held_out(data.load("digits"), 100, 300, seed=0)
    return train.images, held_out.images, data.load("digits", split="test")


def test_pools_of_never_trained_images_score_half(digits):
    train, held_out, others = digits
    mean = train.mean(0)
    reals = calibrate(train, held_out, others.images - mean, mean)
    means = torch.stack([others.images[others.labels == k].mean(0) for k in range(10)]) - mean
    averages = calibrate(train, held_out, means, mean)
    for result in (reals, averages):
        assert result.auroc == pytest.approx(0.5, abs=0.08)
        assert result.tpr_at_1_percent <= 0.05
        assert abs(result.excess) <= 0.08 * len(train)


def test_noisy_copies_of_the_training_images_score_near_one(digits):
    train, held_out, _ = digits
    mean = train.mean(0)
    result = calibrate(train, held_out, train - mean + 0.05 * noise(100, 0), mean)
    assert result.auroc > 0.98
    assert result.tpr_at_1_percent > 0.9
    assert result.hits == round(100 * result.tpr_at_1_percent)
    assert result.excess > 80


def test_calibration_is_made_of_its_parts(digits):
    train, held_out, _ = digits
    mean = train.mean(0)
    pool = torch.cat([train[:40] - mean + 0.1 * noise(40, 0), noise(30, 1)])
    result = calibrate(train, held_out, pool, mean)
    on_train, on_held_out = (best_ncc(s, pool, mean) for s in (train, held_out))
    assert result.auroc == auroc(on_train, on_held_out)
    assert result.threshold == pytest.approx(np.quantile(on_held_out.numpy(), 0.99))
    assert result.hits == (on_train > result.threshold).sum()
    sets = [held_out[0::3], held_out[1::3], held_out[2::3]]
    differences = [a - b for a, b in (excess_hits(train, s, pool, mean) for s in sets)]
    assert result.excess == pytest.approx(np.mean(differences))


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
