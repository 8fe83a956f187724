"""The general KKT attack: two routes to its terms, planted solutions, and descent from a start."""

import math

import pytest
import torch
from torch import Tensor, nn

from lib import general_kkt, kkt, margin, models
from lib.losses import NonFiniteLoss

WAYS = {
    "eliminated": lambda system, signs, start, steps: general_kkt.descend_eliminated(
        system, signs, start, steps=steps
    ),
    "released": lambda system, signs, start, steps: general_kkt.descend_released(
        system, signs, start, steps=steps, lr=0.01, lr_multipliers=1e-3, lambda_min=0, seed=0
    ),
}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network(homogeneous: bool = False) -> models.MLP:
    return models.MLP(
        6, (5, 4), first_std=0.5, homogeneous=homogeneous, dtype=torch.float64,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip


def planted() -> tuple[list, Tensor, Tensor, Tensor]:
    """(affine layers, x [4, 6], signs, λ): weights that are Σ λᵢ yᵢ (xᵢ, 1) exactly."""
    x, signs = drawn(4, 6), torch.tensor([1.0, 1, -1, -1], dtype=torch.float64)
    lam = torch.tensor([0.5, 2.0, 1.0, 3.0], dtype=torch.float64)
    c = lam * signs
    return [((c @ x)[None], c.sum()[None])], x, signs, lam


def test_layers_and_any_model_give_the_same_terms():
    model, x = network(), drawn(3, 6, seed=1)
    c = drawn(3, seed=2)
    origin = [torch.full_like(p, 0.1) for p in model.parameters()]
    layers = kkt.mlp_layers(model)
    before = [(torch.full_like(w, 0.1), None if b is None else b * 0 + 0.1) for w, b in layers]
    for start_layers, start in ((None, None), (before, origin)):
        one = general_kkt.of_layers(layers, start_layers)(x)
        other = general_kkt.of_model(model, start)(x)
        for name in ("kernel", "alignment", "norm", "outputs"):
            assert torch.allclose(getattr(one, name), getattr(other, name), atol=1e-12)
        assert torch.allclose(one.residual(c), other.residual(c), atol=1e-12)
    assert torch.allclose(one.outputs, model(x))


def test_the_residual_is_that_of_chapter_seven_without_an_origin():
    layers, x, c = kkt.mlp_layers(network(True)), drawn(3, 6, seed=1), drawn(3, seed=2)
    for weights, alpha in ((None, None), ((1.0, 0.1, 0.1), 20.0)):
        terms = general_kkt.of_layers(layers, alpha=alpha, layer_weights=weights)(x)
        expected = kkt.stationarity(layers, x, c, alpha, weights)
        assert torch.allclose(terms.norm * terms.residual(c), expected)
    rho, lam = kkt.kkt_residual(layers, x, torch.tensor([1.0, -1.0, 1.0]))
    signs = torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)
    terms = general_kkt.of_layers(layers)(x)
    best = terms.best_multipliers(signs)
    assert torch.allclose(best, lam) and terms.residual(best * signs).item() == pytest.approx(rho)


def test_multipliers_of_the_loss_make_the_residual_its_gradient():
    model, decay = network(), 0.3
    x, signs = drawn(3, 6, seed=1), torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)
    loss = nn.functional.softplus(-margin.margins(model, x, signs)).mean()
    loss = loss + decay / 2 * sum(p.square().sum() for p in model.parameters())
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    terms = general_kkt.of_layers(kkt.mlp_layers(model))(x)
    c = signs * general_kkt.loss_multipliers(signs * terms.outputs, decay)
    expected = sum(g.square().sum() for g in gradients)
    assert torch.allclose(decay**2 * terms.norm * terms.residual(c), expected)


def test_a_planted_solution_has_no_residual_and_stays():
    layers, x, signs, lam = planted()
    found = general_kkt.descend_eliminated(general_kkt.of_layers(layers), signs, x, steps=5)
    assert max(found.residuals) < 1e-12 and len(found.residuals) == 6
    assert (found.images - x).abs().max() < 1e-6
    assert torch.allclose(found.multipliers, lam)
    assert found.shares.sum().item() == pytest.approx(1)


def test_the_gradient_at_the_best_multipliers_is_that_of_the_whole_function():
    layers, x, signs, _ = planted()
    system, x = general_kkt.of_layers(layers), x + 0.5 * drawn(4, 6, seed=3)

    def value(images: Tensor) -> Tensor:
        terms = system(images)
        return terms.residual(terms.best_multipliers(signs) * signs)

    moving = x.clone().requires_grad_()
    gradient = torch.autograd.grad(value(moving), moving)[0]
    way = drawn(4, 6, seed=4)
    slope = (value(x + 1e-6 * way) - value(x - 1e-6 * way)) / 2e-6
    assert slope.item() == pytest.approx((gradient * way).sum().item(), rel=1e-5)
    assert abs(slope.item()) > 1e-3


@pytest.mark.parametrize("way", WAYS)
def test_five_steps_from_elsewhere_lower_the_residual(way):
    layers, x, signs, _ = planted()
    found = WAYS[way](general_kkt.of_layers(layers), signs, drawn(4, 6, seed=5), 5)
    assert len(found.residuals) == 6 and found.residuals[-1] < 0.9 * found.residuals[0]
    assert (found.multipliers >= 0).all()


def test_many_steps_solve_a_small_problem_elsewhere_than_at_the_truth():
    layers, x, signs, _ = planted()
    start = drawn(4, 6, seed=5)
    found = general_kkt.descend_eliminated(general_kkt.of_layers(layers), signs, start, steps=60)
    assert found.residuals == sorted(found.residuals, reverse=True)
    assert found.residuals[-1] < 1e-10
    assert torch.cdist(found.images, x).amin(1).max() > 0.5


@pytest.mark.parametrize("way", WAYS)
def test_no_step_leaves_the_start(way):
    layers, _, signs, _ = planted()
    start = drawn(4, 6, seed=5)
    found = WAYS[way](general_kkt.of_layers(layers), signs, start, 0)
    assert torch.equal(found.images, start) and len(found.residuals) == 1


def test_the_result_of_the_released_descent_is_of_the_exact_system():
    model, signs = network(), torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)
    layers, start = kkt.mlp_layers(model), drawn(3, 6, seed=1)
    smooth, true = general_kkt.of_layers(layers, alpha=2.0), general_kkt.of_layers(layers)
    settings = dict(steps=2, lr=1e-3, lr_multipliers=1e-3, lambda_min=0.1, seed=0)
    found = general_kkt.descend_released(smooth, signs, start, exact=true, **settings)
    assert torch.equal(found.multipliers, true(found.images).best_multipliers(signs))
    plain = general_kkt.descend_released(smooth, signs, start, **settings)
    assert torch.equal(plain.images, found.images)
    assert not torch.equal(plain.multipliers, found.multipliers)


@pytest.mark.parametrize("way", WAYS)
def test_labels_and_steps_that_do_not_fit_are_told(way):
    layers, x, signs, _ = planted()
    system = general_kkt.of_layers(layers)
    for wrong in (signs[:3], 2 * signs):
        with pytest.raises(ValueError, match="-1 and \\+1 for each of the 4 images"):
            WAYS[way](system, wrong, x, 1)
    with pytest.raises(ValueError, match="steps is -1"):
        WAYS[way](system, signs, x, -1)


@pytest.mark.parametrize("way", WAYS)
def test_a_loss_that_is_not_finite_names_the_step(way):
    layers, x, signs, _ = planted()
    with pytest.raises(NonFiniteLoss, match="at step 0"):
        WAYS[way](general_kkt.of_layers(layers), signs, math.inf * x, 1)


def test_a_decay_of_zero_and_unmoved_weights_are_told():
    with pytest.raises(ValueError, match="decay is 0"):
        general_kkt.loss_multipliers(torch.ones(2), 0.0)
    layers, *_ = planted()
    with pytest.raises(ValueError, match="nothing to explain"):
        general_kkt.of_layers(layers, layers)
    model = network()
    with pytest.raises(ValueError, match="nothing to explain"):
        general_kkt.of_model(model, list(model.parameters()))
    with pytest.raises(ValueError):
        general_kkt.of_model(models.MLP(6, (5,), 2, dtype=torch.float64))(drawn(2, 6))
