"""Planted planes, dictionaries and clusters are found; rates and scores match values by hand."""

import math

import pytest
import torch
import torch.nn.functional as F

from lib import features
from lib.features import Plane, SparseAutoencoder


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def orthonormal(rows: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.linalg.qr(normal(d, rows, seed=seed))[0].T


def flat_features(n: int = 40, d: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    """Features in a plane off the origin, and the two directions that span it."""
    axes = orthonormal(2, d)
    coordinates = normal(n, 2, seed=1) * torch.tensor([5.0, 1.0])
    return coordinates @ axes + 3 * normal(d, seed=2), axes


UPRIGHT = Plane(torch.zeros(2), torch.eye(2), torch.tensor([0.5, 0.5]))


# --- the plane --------------------------------------------------------------------------------


def test_a_planted_plane_is_recovered():
    x, axes = flat_features()
    plane = features.principal_plane(x)
    assert torch.allclose(plane.components @ plane.components.T, torch.eye(2).double())
    assert torch.allclose(plane.components.T @ plane.components, axes.T @ axes)
    assert torch.allclose(plane.mean, x.mean(0))
    assert torch.allclose(plane.lift(plane.project(x)), x)
    assert math.isclose(plane.explained.sum().item(), 1.0)


def test_components_in_order_and_explained_by_hand():
    x = torch.tensor([[0.0, 3, 0], [0, -3, 0], [1, 0, 0], [-1, 0, 0], [0, 0, 0]])
    plane = features.principal_plane(x)
    assert torch.allclose(plane.components, torch.tensor([[0.0, 1, 0], [1, 0, 0]]), atol=1e-6)
    assert torch.allclose(plane.explained, torch.tensor([0.9, 0.1]))
    assert plane.components.dtype == plane.mean.dtype == torch.float32


@pytest.mark.parametrize("seed", range(5))
def test_the_largest_entry_of_a_component_is_positive(seed):
    x = normal(30, 6, seed=seed)
    for row in features.principal_plane(x).components:
        assert row[row.abs().argmax()] > 0
    mirrored = features.principal_plane(-x)
    assert torch.allclose(mirrored.components, features.principal_plane(x).components)


def test_project_undoes_lift():
    plane = features.principal_plane(normal(50, 9))
    points = normal(20, 2, seed=1)
    assert torch.allclose(plane.project(plane.lift(points)), points)


def test_a_plane_needs_three_different_rows():
    with pytest.raises(ValueError, match="at least 3"):
        features.principal_plane(normal(2, 5))
    with pytest.raises(ValueError, match="equal"):
        features.principal_plane(torch.full((8, 5), 0.1))


# --- decision regions -------------------------------------------------------------------------


def test_regions_of_a_known_head_and_their_orientation():
    # class 2 above y = 1; below it, class 1 right of x = 0 and class 0 left of it
    def head(z):
        return torch.stack([-z[:, 0], z[:, 0], 1000 * (z[:, 1] - 1)], dim=1)

    points = torch.tensor([[-4.0, 0], [6, 2]])
    xs, ys, labels = features.decision_regions(UPRIGHT, head, points, resolution=8, margin=0.1)
    assert labels.dtype == torch.int64 and labels.shape == (8, 8)
    assert torch.allclose(xs[[0, -1]], torch.tensor([-5.0, 7]))
    assert torch.allclose(ys[[0, -1]], torch.tensor([-0.2, 2.2]))
    for i, y in enumerate(ys.tolist()):
        for j, x in enumerate(xs.tolist()):
            assert labels[i, j] == (2 if y > 1 else int(x > 0))


def test_regions_are_those_of_the_lifted_features():
    x, _ = flat_features()
    plane = features.principal_plane(x)
    weight = normal(4, 7, seed=3)
    points = plane.project(x)

    def head(z):
        return z @ weight.T

    xs, ys, labels = features.decision_regions(plane, head, points, resolution=9)
    at = plane.mean + xs[7] * plane.components[0] + ys[2] * plane.components[1]
    assert labels[2, 7] == (weight @ at).argmax()
    assert len(labels.unique()) > 1


def test_regions_of_points_on_a_line():
    points = torch.tensor([[0.0, 2], [1, 2]])
    _, ys, _ = features.decision_regions(UPRIGHT, lambda z: z, points, resolution=3, margin=0.5)
    assert torch.allclose(ys, torch.tensor([1.5, 2, 2.5]))


def test_agreement_is_one_for_features_in_the_plane():
    x, axes = flat_features()
    plane = features.principal_plane(x)

    def head(z):
        return (z - x.mean(0)) @ normal(3, 7, seed=3).T

    predicted = head(x).argmax(1)
    assert len(predicted.unique()) > 1
    assert features.region_agreement(plane, head, x, predicted) == 1.0
    assert features.region_agreement(plane, head, x, predicted + 1) == 0.0


def test_agreement_counts_samples_that_change_side():
    plane = Plane(torch.zeros(3), torch.eye(3)[:2], torch.tensor([0.5, 0.5]))
    x = torch.tensor([[1.0, 0, 0], [1, 0, 5], [-1, 0, 0], [-1, 0, 0.5]])

    def head(z):
        return torch.stack([z[:, 0] + z[:, 2], -z[:, 0] - z[:, 2]], dim=1)

    x[1, 0] = -1  # on side 0 only by its third entry, which the plane drops
    assert features.region_agreement(plane, head, x, head(x).argmax(1)) == 0.75


# --- the sparse autoencoder -------------------------------------------------------------------


def planted_sums(n: int = 600, d: int = 32, atoms: int = 24) -> torch.Tensor:
    """Float32 sums of two random atoms each, weights in [1, 2], off the origin."""
    dictionary = F.normalize(normal(atoms, d), dim=1)
    which = torch.rand(n, atoms, generator=seeded(1)).argsort(1)[:, :2]
    weights = 1 + torch.rand(n, 2, generator=seeded(2)).double()
    codes = torch.zeros(n, atoms).double().scatter(1, which, weights)
    return (codes @ dictionary + normal(d, seed=3)).float()


def test_codes_are_the_largest_positive_pre_activations():
    model = SparseAutoencoder(3, 3, 2)
    with torch.no_grad():
        model.encoder.copy_(torch.eye(3))
        model.dictionary.copy_(torch.eye(3))
        model.mean.copy_(torch.tensor([1.0, 1, 1]))
        model.scale.fill_(2.0)
        model.bias.copy_(torch.tensor([0.0, 0, 1]))
    x = torch.tensor([[5.0, 3, 1.5], [-9, 2, -9], [0, 0, -9]])
    codes = torch.tensor([[2.0, 0, 1.25], [0, 0.5, 0], [0, 0, 0]])
    assert torch.equal(model.encode(x), codes)
    assert torch.equal(model.decode(codes), 1 + 2 * codes)
    assert torch.equal(model(x), 1 + 2 * codes)


@pytest.mark.parametrize("active", [1, 3, 16])
def test_at_most_active_codes(active):
    model = SparseAutoencoder(12, 16, active, generator=seeded(0))
    codes = model.encode(normal(50, 12).float())
    assert codes.shape == (50, 16) and codes.min() == 0
    assert (codes > 0).sum(1).max() <= active
    assert torch.allclose(model.dictionary.norm(dim=1), torch.ones(16))


@pytest.mark.parametrize("active", [0, 5])
def test_active_lies_between_one_and_all(active):
    with pytest.raises(ValueError, match="between"):
        SparseAutoencoder(3, 4, active)


def test_a_planted_dictionary_is_recovered():
    x = planted_sums()
    model, losses = features.fit_sparse_autoencoder(x, units=48, active=4, steps=300, lr=1e-2)
    unexplained = (model(x) - x).square().mean() / (x - x.mean(0)).square().mean()
    assert len(losses) == 300
    assert losses[-1] < 0.05 * losses[0]
    assert unexplained < 0.05
    assert math.isclose(unexplained.item(), losses[-1], rel_tol=0.5)
    assert (model.encode(x) > 0).sum(1).max() <= 4
    assert torch.allclose(model.dictionary.norm(dim=1), torch.ones(48), atol=1e-5)


def test_standardised_features_have_mean_squared_norm_d():
    x = planted_sums()
    model, _ = features.fit_sparse_autoencoder(x, units=8, active=2, steps=0)
    standardised = (x - model.mean) / model.scale
    assert torch.allclose(standardised.mean(0), torch.zeros(32), atol=1e-5)
    assert math.isclose(standardised.square().sum(1).mean().item(), 32, rel_tol=1e-5)


def test_the_dictionary_starts_from_features_and_the_encoder_from_it():
    x = planted_sums(n=20)
    model, _ = features.fit_sparse_autoencoder(x, units=30, active=2, steps=0)
    assert torch.equal(model.encoder, model.dictionary)
    cosine = model.dictionary @ F.normalize(x - x.mean(0), dim=1).T
    assert cosine.amax(1).min() > 0.95
    assert len(cosine.argmax(1).unique()) == 20


def test_the_scale_of_the_features_does_not_matter():
    x = planted_sums(n=100).double()
    short = {"units": 16, "active": 2, "steps": 20}
    _, losses = features.fit_sparse_autoencoder(x, **short)
    _, scaled = features.fit_sparse_autoencoder(1000 * x + 7, **short)
    assert losses == pytest.approx(scaled, rel=1e-6)


def test_same_seed_same_fit_and_the_global_state_stays():
    x = planted_sums(n=100)
    before = torch.get_rng_state()
    short = {"units": 16, "active": 2, "steps": 5}
    first, losses = features.fit_sparse_autoencoder(x, **short, seed=3)
    again, same = features.fit_sparse_autoencoder(x, **short, seed=3)
    _, other = features.fit_sparse_autoencoder(x, **short, seed=4)
    SparseAutoencoder(4, 4, 1)
    assert losses == same and losses != other
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters()))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_loss_that_is_not_finite_says_where():
    x = planted_sums(n=50)
    with pytest.raises(ArithmeticError, match="step [1-9]"):
        features.fit_sparse_autoencoder(x, units=8, active=2, steps=50, lr=1e30)
    x[3] = math.nan
    with pytest.raises(ArithmeticError, match="step 0 of 9"):
        features.fit_sparse_autoencoder(x, units=8, active=2, steps=9)


def test_equal_features_cannot_be_encoded():
    with pytest.raises(ValueError, match="equal"):
        features.fit_sparse_autoencoder(torch.full((20, 4), 0.1), units=4, active=1)


# --- which units fire -------------------------------------------------------------------------


def test_firing_rates_by_hand():
    codes = torch.tensor([[1.0, 0, 0], [0.2, 3, 0], [0, 0, 9]])
    rates = features.firing_rates(codes, torch.tensor([0, 0, 2]), 3)
    assert torch.equal(rates[0], torch.tensor([1.0, 0.5, 0]))
    assert rates[1].isnan().all()
    assert torch.equal(rates[2], torch.tensor([0.0, 0, 1]))


def test_strongest_units_with_ties_by_index():
    rates = torch.tensor([[0.1, 0.9, 0.5, 0.9], [0.2, 0.2, 0.2, 0.3]])
    assert features.strongest_units(rates, 3).tolist() == [[1, 3, 2], [3, 0, 1]]
    wide = torch.zeros(1, 300)
    assert features.strongest_units(wide, 5).tolist() == [[0, 1, 2, 3, 4]]


def test_strongest_units_errors():
    with pytest.raises(ValueError, match="only 2"):
        features.strongest_units(torch.zeros(1, 2), 3)
    with pytest.raises(ValueError, match="without samples"):
        features.strongest_units(torch.tensor([[0.5, 0.1], [math.nan, math.nan]]), 1)


def test_jaccard():
    def of(a, b):
        return features.jaccard(torch.tensor(a), torch.tensor(b))

    assert of([1, 2, 3], [3, 1, 2]) == 1.0
    assert of([1, 2], [3, 4]) == 0.0
    assert of([1, 2, 3], [3, 4, 2]) == 0.5
    assert of([], []) == 1.0


def test_surprise_by_hand():
    rates = torch.tensor([[0.5, 0.25], [0.0, 1.0]])
    codes = torch.tensor([[2.0, 0], [0, 3], [1, 0]])
    surprise = features.firing_surprise(codes, torch.tensor([0, 1, 1]), rates, floor=0.1)
    by_hand = [-(math.log(0.5) + math.log(0.75)) / 2, -math.log(0.9), -math.log(0.1)]
    assert surprise.tolist() == pytest.approx(by_hand, rel=1e-5)


def test_other_units_surprise():
    usual = F.relu(normal(200, 20)) * (torch.arange(20) < 10)
    labels = torch.zeros(200, dtype=torch.int64)
    rates = features.firing_rates(usual, labels, 1)
    expected = features.firing_surprise(usual, labels, rates)
    others = features.firing_surprise(usual.flip(1), labels, rates)
    assert expected.max() < others.min()


def test_surprise_errors():
    codes, predicted = torch.ones(1, 2), torch.tensor([1])
    rates = torch.tensor([[0.5, 0.5], [math.nan, math.nan]])
    with pytest.raises(ValueError, match="training samples"):
        features.firing_surprise(codes, predicted, rates)
    with pytest.raises(ValueError, match="floor"):
        features.firing_surprise(codes, predicted, rates, floor=0.0)


# --- clusters ---------------------------------------------------------------------------------


def clusters(k: int, d: int = 32, each: int = 30) -> torch.Tensor:
    """Gaussians of unit variance around k orthogonal centres, 20 from the origin."""
    centres = 20 * orthonormal(k, d, seed=4)
    return (centres[:, None] + normal(k, each, d, seed=5)).flatten(0, 1)


@pytest.mark.parametrize("k", [2, 3, 4])
def test_planted_clusters_are_counted(k):
    assert features.cluster_count(clusters(k)) == k


@pytest.mark.parametrize("seed", range(3))
def test_one_gaussian_is_one_cluster(seed):
    assert features.cluster_count(normal(120, 32, seed=seed)) == 1
    assert features.cluster_count(normal(120, 2, seed=seed)) == 1


def test_an_elongated_gaussian_is_one_cluster():
    long = torch.ones(32).double()
    long[0] = 20
    rotation = orthonormal(32, 32, seed=6)
    assert features.cluster_count((normal(120, 32) * long) @ rotation) == 1


def test_constant_features_and_repeated_points():
    assert features.cluster_count(torch.full((12, 5), 0.1)) == 1
    assert features.cluster_count(torch.tensor([[0.0, 1], [3, 1]]).repeat(6, 1)) == 2


def test_rotation_shift_scale_and_empty_directions_change_nothing():
    x = clusters(3)
    padded = torch.cat([x, torch.full((90, 8), 5.0)], dim=1) @ orthonormal(40, 40, seed=7)
    assert features.cluster_count(1e-3 * padded + 1) == 3
    assert features.cluster_count(x, most=2) == 2


def test_cluster_count_errors():
    with pytest.raises(ValueError, match="9 samples"):
        features.cluster_count(normal(9, 4))
    with pytest.raises(ValueError, match="not in 2"):
        features.cluster_count(normal(20, 4), most=1)
