"""The terms of the inversion loss: by hand, by the papers' double sums, their bounds (I01)."""

import math

import pytest
import torch
from torch import Tensor

from lib.losses import cosine_similarity, cross_entropy, kl_divergence, orthogonality, unit

SHAPES = [(5, 3), (4, 4), (3, 7)]  # fewer columns than rows, as many, more


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(n: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=seeded(seed), dtype=torch.float64)


def distributions(n: int, classes: int, seed: int = 0) -> Tensor:
    return noise(n, classes, seed).softmax(1)


def exact(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def cosines(features: Tensor) -> list[list[float]]:
    """cos θᵢⱼ of all pairs, one at a time."""
    rows = features.tolist()

    def dot(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b))

    return [[dot(a, b) / math.sqrt(dot(a, a) * dot(b, b)) for b in rows] for a in rows]


def simplex(n: int) -> Tensor:
    """n vectors whose cosines are all −1/(n − 1)."""
    return torch.eye(n, dtype=torch.float64) - 1 / n


def harmonic_frame(n: int, d: int) -> Tensor:
    """n unit vectors in an even d < n whose coordinates are orthogonal: a tight frame."""
    angles = 2 * math.pi * torch.arange(n, dtype=torch.float64)[:, None] / n
    angles = angles * torch.arange(1, d // 2 + 1)
    return torch.cat([angles.cos(), angles.sin()], 1) * (2 / d) ** 0.5


# --- Kullback-Leibler divergence and cross-entropy -----------------------------------------------


def test_the_divergence_by_hand():
    """Σ P log(P / Q), the conditioning first: the other way round is another number."""
    p, q = exact([0.5, 0.5]), exact([0.25, 0.75])
    expected = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    backwards = 0.25 * math.log(1 / 2) + 0.75 * math.log(3 / 2)
    assert kl_divergence(p, q.log()).item() == pytest.approx(expected, rel=1e-12)
    assert kl_divergence(q, p.log()).item() == pytest.approx(backwards, rel=1e-12)


def test_the_divergence_is_the_papers_sum_averaged_over_images():
    p, logits = distributions(6, 4), noise(6, 4, 1)
    q = logits.softmax(1).tolist()
    total = sum(a * math.log(a / b) for x, y in zip(p.tolist(), q) for a, b in zip(x, y))
    assert kl_divergence(p, logits).item() == pytest.approx(total / 6, rel=1e-12)


def test_the_divergence_is_zero_for_equal_distributions_and_positive_for_others():
    p = distributions(7, 5)
    assert kl_divergence(p, p.log() + 3).item() == pytest.approx(0, abs=1e-14)
    for seed in range(1, 20):
        assert kl_divergence(p, noise(7, 5, seed)).item() > 0.01
    near = p.log()
    near[0, 0] += 1e-3
    assert 0 < kl_divergence(p, near).item() < 1e-6


def test_the_divergence_from_one_hot_vectors_is_the_cross_entropy():
    logits, labels = noise(6, 4, 1), torch.tensor([0, 3, 1, 1, 2, 0])
    hot = torch.nn.functional.one_hot(labels, 4).double()
    assert torch.allclose(kl_divergence(hot, logits), cross_entropy(logits, labels), rtol=1e-12)


def test_zeros_in_the_conditioning_give_a_finite_value_and_gradient():
    p, logits = exact([1.0, 0.0, 0.0], [0.5, 0.5, 0.0]), exact([0.0, 0.0, 0.0], [0.0, 0.0, 0.0])
    logits.requires_grad_()
    value = kl_divergence(p, logits)
    assert value.item() == pytest.approx((math.log(3) + math.log(1.5)) / 2, rel=1e-12)
    value.backward()  # (Q − P) / n
    assert torch.allclose(logits.grad, (1 / 3 - p) / 2, rtol=1e-12)


def test_the_cross_entropy_by_hand():
    logits = exact([0.0, 0.0], [math.log(3), 0.0])
    by_hand = (math.log(2) + math.log(4 / 3)) / 2
    assert cross_entropy(logits, torch.tensor([1, 0])).item() == pytest.approx(by_hand, rel=1e-12)
    other = (math.log(2) + math.log(4)) / 2
    assert cross_entropy(logits, torch.tensor([1, 1])).item() == pytest.approx(other, rel=1e-12)


def test_the_cross_entropy_is_the_papers_sum_averaged_over_images():
    logits, labels = noise(6, 4), [0, 3, 1, 1, 2, 0]
    predicted = logits.softmax(1).tolist()
    total = -sum(math.log(row[label]) for row, label in zip(predicted, labels))
    found = cross_entropy(logits, torch.tensor(labels)).item()
    assert found == pytest.approx(total / 6, rel=1e-12)


def test_both_are_finite_for_logits_of_any_size():
    logits = torch.tensor([[3e4, -3e4], [-3e4, 3e4]], requires_grad=True)
    p = torch.tensor([[0.0, 1.0], [0.5, 0.5]])
    value = kl_divergence(p, logits) + cross_entropy(logits, torch.tensor([1, 0]))
    value.backward()
    assert value.item() == pytest.approx((6e4 + 3e4 - math.log(2) + 6e4 + 6e4) / 2, rel=1e-6)
    assert torch.isfinite(logits.grad).all()


def test_both_ignore_an_offset_and_the_order_of_images_and_classes():
    p, logits, labels = distributions(6, 4), noise(6, 4, 1), torch.tensor([0, 3, 1, 1, 2, 0])
    images, classes = torch.tensor([3, 1, 0, 5, 4, 2]), torch.tensor([2, 0, 3, 1])
    moved = (logits + noise(6, 1, 2))[images][:, classes]
    expected = kl_divergence(p, logits)
    assert torch.allclose(kl_divergence(p[images][:, classes], moved), expected, rtol=1e-12)
    renamed = classes.argsort()[labels[images]]
    expected = cross_entropy(logits, labels)
    assert torch.allclose(cross_entropy(moved, renamed), expected, rtol=1e-12)


# --- cosine similarity ---------------------------------------------------------------------------


def test_the_cosine_similarity_by_hand():
    features = exact([2.0, 0.0], [0.0, 5.0], [3.0, 3.0])  # 0, 1/√2 and 1/√2
    assert cosine_similarity(features).item() == pytest.approx(2 / 3 / 2**0.5, rel=1e-12)
    assert cosine_similarity(exact([1.0, 1.0], [-2.0, -2.0])).item() == pytest.approx(-1)


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_the_cosine_similarity_is_the_papers_double_sum(n, d):
    features = noise(n, d)
    table = cosines(features)
    total = sum(table[i][j] for i in range(n) for j in range(n) if i != j)
    found = cosine_similarity(features).item()
    assert found == pytest.approx(total / (n * (n - 1)), rel=1e-12)


@pytest.mark.parametrize("n", [2, 3, 10, 64])
def test_the_cosine_similarity_is_least_for_a_simplex_and_1_for_copies(n):
    assert cosine_similarity(simplex(n)).item() == pytest.approx(-1 / (n - 1), rel=1e-12)
    assert cosine_similarity(noise(1, 5).repeat(n, 1)).item() == pytest.approx(1, rel=1e-12)
    for seed in range(5):
        assert -1 / (n - 1) - 1e-12 <= cosine_similarity(noise(n, 4, seed)).item() < 1


# --- orthogonality -------------------------------------------------------------------------------


def test_orthogonality_by_hand():
    features = exact([2.0, 0.0], [0.0, 5.0], [3.0, 3.0])  # four entries of 1/2 off the diagonal
    assert orthogonality(features).item() == pytest.approx(4 * 0.5 / 9, rel=1e-12)
    assert orthogonality(exact([1.0], [-3.0])).item() == pytest.approx(2 / 4, rel=1e-12)


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_orthogonality_is_the_papers_double_sum(n, d):
    features = noise(n, d)
    table = cosines(features)
    total = sum((table[i][j] - (i == j)) ** 2 for i in range(n) for j in range(n))
    assert orthogonality(features).item() == pytest.approx(total / n**2, rel=1e-12)


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_both_products_of_features_give_the_same_orthogonality_and_gradient(n, d):
    values, gradients = [], []
    for columns in (0, 2 * n):  # zeros that change nothing but which product is smaller
        features = noise(n, d).requires_grad_()
        padded = torch.cat([features, features.new_zeros(n, columns)], 1)
        value = orthogonality(padded)
        value.backward()
        values.append(value.item())
        gradients.append(features.grad)
    assert values[0] == pytest.approx(values[1], rel=1e-12)
    assert torch.allclose(*gradients, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(
    ("n", "d", "floor"), [(64, 10, 0.084375), (64, 32, 1 / 64), (9, 4, 5 / 36)]
)
def test_orthogonality_is_least_for_a_tight_frame(n, d, floor):  # I01
    assert floor == pytest.approx(1 / d - 1 / n)
    assert orthogonality(harmonic_frame(n, d)).item() == pytest.approx(floor, rel=1e-12)
    for seed in range(5):
        assert floor < orthogonality(noise(n, d, seed)).item() < 1


def test_bases_that_are_repeated_form_a_tight_frame():
    bases = [torch.linalg.qr(noise(10, 10, seed)).Q for seed in range(6)]
    found = orthogonality(torch.cat(bases)).item()
    assert found == pytest.approx(1 / 10 - 1 / 60, rel=1e-12)


@pytest.mark.parametrize(("n", "d"), [(64, 128), (10, 10), (2, 3)])
def test_orthonormal_rows_have_none_and_copies_the_most(n, d):
    rows = torch.linalg.qr(noise(d, n)).Q.T
    assert orthogonality(rows).item() == pytest.approx(0, abs=1e-14)
    assert orthogonality(7 * rows).item() == pytest.approx(0, abs=1e-14)
    assert orthogonality(rows[:1].repeat(n, 1)).item() == pytest.approx(1 - 1 / n, rel=1e-12)


# --- both terms of features ----------------------------------------------------------------------


@pytest.mark.parametrize("term", [cosine_similarity, orthogonality])
@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_terms_of_features_ignore_norms_order_and_rotation(term, n, d):
    features = noise(n, d)
    expected = term(features).item()
    scaled = features * torch.rand(n, 1, generator=seeded(1)).add(0.1)
    assert term(scaled).item() == pytest.approx(expected, rel=1e-10)
    assert term(features.flip(0)).item() == pytest.approx(expected, rel=1e-10)
    rotated = features @ torch.linalg.qr(noise(d, d, 2)).Q
    assert term(rotated).item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("signs", [(1, -1, 1, 1, -1)])
def test_signs_matter_to_the_cosine_similarity_alone(signs):
    features = noise(5, 3)
    turned = features * torch.tensor(signs)[:, None]
    assert orthogonality(turned).item() == pytest.approx(orthogonality(features).item())
    assert cosine_similarity(turned).item() != pytest.approx(cosine_similarity(features).item())


@pytest.mark.parametrize("term", [cosine_similarity, orthogonality])
@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_a_row_of_zeros_gives_a_finite_value_and_gradient(term, n, d):
    features = torch.randn(n, d, generator=seeded(0))
    features[1] = 0
    features.requires_grad_()
    value = term(features)
    value.backward()
    assert math.isfinite(value.item()) and torch.isfinite(features.grad).all()


def test_a_row_of_zeros_has_a_cosine_of_0_with_every_other():
    assert cosine_similarity(torch.zeros(4, 3)).item() == 0
    features = exact([1.0, 0.0], [0.0, 0.0], [1.0, 1.0])
    assert cosine_similarity(features).item() == pytest.approx(1 / 3 / 2**0.5, rel=1e-12)


def test_the_gradient_at_a_row_of_zeros_is_moderate():
    features = torch.zeros(3, 2, dtype=torch.float64)
    features[0] = torch.tensor([1.0, 2.0])
    features.requires_grad_(True)
    (cosine_similarity(features) + orthogonality(features)).backward()
    assert features.grad.abs().max() < 10


def test_unit_rows():
    rows = unit(exact([3.0, 4.0], [0.0, 0.0], [-1e-6, 0.0]))
    assert torch.allclose(rows, exact([0.6, 0.8], [0.0, 0.0], [-1.0, 0.0]), rtol=1e-12)


# --- gradients and shapes ------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_gradients_are_those_of_finite_differences(n, d):
    values, labels = noise(n, d).requires_grad_(), torch.arange(n) % d
    terms = {
        "kl": lambda x: kl_divergence(distributions(n, d, 1), x),
        "ce": lambda x: cross_entropy(x, labels),
        "cosine": cosine_similarity,
        "orthogonality": orthogonality,
    }
    for name, term in terms.items():
        assert torch.autograd.gradcheck(term, values), name


@pytest.mark.parametrize("term", [cosine_similarity, orthogonality])
@pytest.mark.parametrize("shape", [(1, 4), (0, 4), (4,), (4, 2, 2)])
def test_terms_of_features_need_two_rows(term, shape):
    with pytest.raises(ValueError, match="n of at least 2, not") as error:
        term(torch.zeros(shape))
    assert str(list(shape)) in str(error.value)


def test_a_conditioning_of_another_shape_is_refused():
    for shape in [(3, 5), (4, 4), (1, 4), (4,)]:  # some would broadcast
        with pytest.raises(ValueError, match="conditioning .* and logits .* differ"):
            kl_divergence(torch.ones(shape), torch.zeros(3, 4))


def test_labels_of_another_length_are_refused():
    with pytest.raises(ValueError, match="batch_size"):
        cross_entropy(torch.zeros(3, 4), torch.tensor([0, 1]))
