"""Similarity by hand, matching of planted pools, calibration that knows its null."""

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from sklearn.metrics import roc_auc_score
from torch import Tensor

from lib import data, matching
from lib.matching import Calibration, auroc, calibrate, excess_hits, match, ncc, ssim, stretch


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
    found = match(targets, pool + mean, ncc(targets - mean, pool), vote=1)
    expected_ncc = ncc(targets - mean, blurred - mean).diagonal()
    assert torch.allclose(found.ncc, expected_ncc[found.order], atol=1e-6)
    assert found.order.tolist() == levels.argsort().tolist()
    assert found.ssim.tolist() == sorted(found.ssim.tolist(), reverse=True)
    assert torch.allclose(found.ssim, ssim(targets[found.order], found.reconstructions))


def test_exact_candidates_are_shown_exactly():
    """A candidate at the scale of the images comes back as its target, in [0, 1]."""
    targets, mean = images(5, 0), images(1, 1)[0]
    pool = targets.flip(0)
    found = match(targets, pool, ncc(targets - mean, pool - mean))
    assert torch.allclose(found.reconstructions, targets[found.order], atol=1e-6)
    assert torch.allclose(found.ncc, torch.ones(5, dtype=torch.float64))
    assert torch.allclose(found.ssim, torch.ones(5, dtype=torch.float64), atol=1e-5)


@pytest.fixture
def close_pair() -> tuple[Tensor, Tensor]:
    """One target; candidates of NCC about 0.99, 0.95 and 0.8 with it."""
    target = images(1, 0)
    spread = target.std()
    levels = torch.tensor([0.14, 0.33, 0.75])[:, None, None, None]
    return target, target + levels * spread * noise(3, 4)


def test_vote_averages_all_within_nine_tenths_of_the_best(close_pair):
    target, candidates = close_pair
    similarity = ncc(target, candidates)
    assert (similarity >= 0.9 * similarity.max()).tolist() == [[True, True, False]]
    voted = match(target, candidates, similarity).reconstructions
    assert torch.allclose(voted, stretch(stretch(candidates[:2]).mean(0, keepdim=True)), atol=1e-6)
    all_three = match(target, candidates, similarity, vote=0.5).reconstructions
    assert torch.allclose(all_three, stretch(stretch(candidates).mean(0, keepdim=True)), atol=1e-6)


def test_vote_of_one_takes_the_single_best(close_pair):
    target, candidates = close_pair
    best = match(target, candidates, ncc(target, candidates), vote=1)
    assert torch.allclose(best.reconstructions, stretch(candidates[:1]), atol=1e-6)
    assert best.ncc.item() == ncc(target, candidates).max().item()


def test_without_any_positive_correlation_the_single_best_is_shown():
    target = images(1, 0)
    candidates = torch.cat([-target, -target + 0.3 * noise(1, 1)])
    found = match(target, candidates, ncc(target, candidates))
    assert found.ncc.item() < 0
    assert torch.allclose(found.reconstructions, stretch(candidates[1:]), atol=1e-6)


def test_matches_by_hand():
    """Target 0 has one near candidate, target 1 two of them: weights 1, and ½ and ½."""
    targets = images(2, 0)
    pool = torch.cat([targets[:1], images(2, 1)])
    similarity = torch.tensor([[0.5, 0.4, -0.2], [0.1, 0.9, 0.99]]).double()
    found = match(targets, pool, similarity)
    voted = {0: targets[0], 1: stretch(pool[1:].mean(0, keepdim=True))[0]}
    assert found.order.tolist() == [0, 1] and found.ncc.tolist() == similarity.amax(1).tolist()
    for place, target in enumerate(found.order.tolist()):
        assert torch.allclose(found.reconstructions[place], voted[target], atol=1e-6)


def test_the_similarity_of_another_pool_is_refused():
    targets, pool = images(4, 0), images(5, 1)
    with pytest.raises(ValueError, match=r"similarity \[4, 6\] is not of 4 targets and 5 cand"):
        match(targets, pool, torch.zeros(4, 6))


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


def test_hits_of_a_matrix_by_hand():
    """A candidate hits where the second distance is above e^0.2 = 1.22 times the first."""
    train = torch.tensor([[0.9, 0.5, 0.2, 0.7], [0.1, 0.45, 0.3, 0.2]]).double()
    held_out = torch.tensor([[0.3, 0.1, 0.8, 0.1], [0.2, 0.2, 0.1, 0.72]]).double()
    assert excess_hits(train, held_out) == (1, 1)  # candidates 0 and 2; 1 and 3 are undecided
    assert excess_hits(train, held_out, log_ratio=0.05) == (1, 2)  # 1 and 3 decide, too


def test_planted_copies_hit_their_set_and_no_other():
    train, held_out = images(12, 0), images(12, 1)
    copies = train + 0.05 * noise(12, 2)

    def hits(pool: Tensor) -> tuple[int, int]:
        return excess_hits(ncc(train, pool), ncc(held_out, pool))

    assert hits(copies) == (12, 0)
    assert excess_hits(ncc(held_out, copies), ncc(train, copies)) == (0, 12)
    assert hits(torch.cat([copies, copies, copies[:3]])) == (12, 0)
    assert hits(copies[:5]) == (5, 0)


def test_undecided_candidates_hit_nothing():
    train, held_out = images(12, 0), images(12, 1)

    def standardised(x: Tensor) -> Tensor:
        return (x - x.mean((1, 2, 3), keepdim=True)) / x.std((1, 2, 3), keepdim=True)

    between, pool = standardised(train) + standardised(held_out), noise(50, 3)
    assert excess_hits(ncc(train, between), ncc(held_out, between)) == (0, 0)
    assert excess_hits(ncc(train, pool), ncc(held_out, pool), log_ratio=10.0) == (0, 0)


def test_random_candidates_hit_both_sets_equally():
    def excess(seed: int) -> int:
        train, held_out, pool = noise(80, seed, side=3).split([30, 30, 20])
        mine, others = excess_hits(ncc(train, pool), ncc(held_out, pool))
        assert mine + others > 0  # there is something to compare
        return mine - others

    found = np.array([excess(seed) for seed in range(100)])
    assert found.std() > 1
    assert abs(found.mean()) < 3 * found.std() / 10


def test_exchanging_the_sets_exchanges_the_counts():
    pool = noise(40, 2, side=3)
    train, held_out = ncc(noise(30, 0, side=3), pool), ncc(noise(30, 1, side=3), pool)
    assert excess_hits(train, held_out) == excess_hits(held_out, train)[::-1]


def test_sets_of_unequal_size_are_refused():
    with pytest.raises(ValueError, match="4 training and 5 held-out images: not equal"):
        excess_hits(torch.zeros(4, 3), torch.zeros(5, 3))
    with pytest.raises(ValueError, match="3 held-out images are fewer than 4 targets"):
        calibrate(torch.zeros(4, 3), torch.zeros(3, 3))


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor, data.DataSet]:
    """100 training and 300 held-out digits, and the test split for pools that are neither."""
    train, held_out = data.split_held_out(data.load("digits"), 100, 300, seed=0)
    return train.images, held_out.images, data.load("digits", split="test")


def test_pools_of_never_trained_images_score_half(digits):
    train, held_out, others = digits
    mean = train.mean(0)

    def scored(pool: Tensor) -> Calibration:
        return calibrate(ncc(train - mean, pool), ncc(held_out - mean, pool))

    reals = scored(others.images - mean)
    means = torch.stack([others.images[others.labels == k].mean(0) for k in range(10)]) - mean
    averages = scored(means)
    for result in (reals, averages):
        assert result.auroc == pytest.approx(0.5, abs=0.08)
        assert result.tpr_at_1_percent <= 0.05
        assert abs(result.excess) <= 0.08 * len(train)


def test_noisy_copies_of_the_training_images_score_near_one(digits):
    train, held_out, _ = digits
    mean = train.mean(0)
    pool = train - mean + 0.05 * noise(100, 0)
    result = calibrate(ncc(train - mean, pool), ncc(held_out - mean, pool))
    assert result.auroc > 0.98
    assert result.tpr_at_1_percent > 0.9
    assert result.hits == round(100 * result.tpr_at_1_percent)
    assert result.excess > 80


def test_calibration_is_made_of_its_parts(digits):
    train, held_out, _ = digits
    mean = train.mean(0)
    pool = torch.cat([train[:40] - mean + 0.1 * noise(40, 0), noise(30, 1)])
    on_train, on_held_out = (ncc(images - mean, pool) for images in (train, held_out))
    result = calibrate(on_train, on_held_out)
    best_train, best_held_out = on_train.amax(1), on_held_out.amax(1)
    assert result.auroc == auroc(best_train, best_held_out)
    assert result.threshold == pytest.approx(np.quantile(best_held_out.numpy(), 0.99))
    assert result.hits == (best_train > result.threshold).sum()
    sets = [on_held_out[0::3], on_held_out[1::3], on_held_out[2::3]]
    differences = [a - b for a, b in (excess_hits(on_train, s) for s in sets)]
    assert result.excess == pytest.approx(np.mean(differences))


def test_held_out_images_beyond_a_whole_set_count_for_the_threshold_alone():
    train, held_out = torch.rand(2, 30, 9, generator=seeded(0)).double()
    whole, more = held_out[:8], held_out[:11]
    result = calibrate(train[:4], more)
    sets = [more[0::2][:4], more[1::2][:4]]
    differences = [a - b for a, b in (excess_hits(train[:4], s) for s in sets)]
    assert result.excess == np.mean(differences)
    assert result.threshold == more.amax(1).quantile(0.99).item()
    assert calibrate(train[:4], whole).auroc == auroc(train[:4].amax(1), whole.amax(1))


# --- beside the nulls ----------------------------------------------------------------------------


def test_a_candidate_counts_for_its_nearest_target_only():
    similarity = torch.tensor([[0.9, 0.8, 0.2], [0.85, 0.9, 0.1], [0.75, 0.1, 0.69]])
    assert matching.distinct(similarity) == 2
    assert matching.distinct(similarity, level=0.6) == 3
    assert matching.distinct(similarity, level=0.95) == 0


def test_one_blurred_image_does_not_find_all_its_like():
    """Ten targets that all resemble one candidate are one distinct image, not ten."""
    assert matching.distinct(torch.full((10, 1), 0.9)) == 1


@pytest.mark.parametrize("factor", [-3.0, 0.01, 1.0])
def test_a_candidate_of_any_scale_is_fitted_to_its_target(factor):
    targets = torch.randn(4, 1, 5, 5, dtype=torch.float64)
    candidates = factor * targets.flip(0)
    similarity = factor * torch.eye(4, dtype=torch.float64).flip(1)
    assert torch.allclose(
        matching.scaled_to(targets, candidates, similarity.abs()), targets, atol=1e-12
    )


def test_a_candidate_of_zeros_fits_nothing():
    targets, nothing = torch.ones(2, 1, 3, 3), torch.zeros(1, 1, 3, 3)
    assert not matching.scaled_to(targets, nothing, torch.zeros(2, 1)).any()


def test_trusted_candidates_differ_and_come_in_order_of_trust():
    images = torch.randn(3, 1, 6, 6)
    candidates = torch.cat([images, -images, images + 0.01 * torch.randn(3, 1, 6, 6)])
    trust = torch.tensor([0.1, 0.5, 0.3, 0.2, 0.0, 0.9, 0.0, 0.6, 0.0])
    assert matching.trusted(candidates, trust, 5).tolist() == [5, 7, 3]
    assert matching.trusted(candidates, trust, 2).tolist() == [5, 7]
    assert matching.trusted(candidates, trust, 0).tolist() == []
