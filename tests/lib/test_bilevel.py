"""The lower level and the bilevel attack against full Hessians, differences and unrolled steps."""

import functools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lib import lower_level as lower
from lib.bilevel import (
    INVERSES,
    Bilevel,
    bilevel_attack,
    conjugate_gradients,
    difference,
    exact,
    hypergradient,
    quasi_newton,
)
from lib.losses import NonFiniteLoss

N, D, K = 4, 7, 3
DECAY = 0.05
KINDS = ("affine", "relu", "smooth", "deep")
SHARPNESS = {"smooth": 5.0, "deep": 5.0}


def drawn(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def signs() -> Tensor:
    return torch.tensor([-1.0, -1.0, 1.0, 1.0], dtype=torch.float64)


@functools.cache
def origin_of(kind: str) -> lower.Layers:
    """θ⁰: zeros for the affine classifier; biases that keep a true ReLU away from its kink."""
    if kind == "affine":
        return [(torch.zeros(1, D).double(), torch.zeros(1).double())]
    sizes = [D, K, 2, 1] if kind == "deep" else [D, K, 1]
    layers = [
        (drawn(after, before, seed=i) / 3, drawn(after, seed=10 + i) / 10)
        for i, (before, after) in enumerate(zip(sizes, sizes[1:]))
    ]
    biases = torch.tensor([6.0, 6.0, -6.0], dtype=torch.float64)  # two units on, one off
    return [(layers[0][0], biases), *layers[1:]]


def solved(kind: str, x: Tensor, tolerance: float = 1e-13, **how) -> lower.LowerLevel:
    problem = lower.lower_level(
        x, signs(), origin_of(kind), decay=DECAY, sharpness=SHARPNESS.get(kind)
    )
    try:
        return lower.solve(problem, tolerance=tolerance, **how)
    except lower.LowerLevelStopped:  # rounding may end it some 10 times above such a tolerance
        assert problem.gradient_norm < 1e-11
        return problem


def images(seed: int = 0) -> Tensor:
    return drawn(N, D, seed=seed)


@functools.cache
def given_by(kind: str) -> lower.Change:
    """θ* − θ⁰ of other images."""
    return solved(kind, images(seed=5)).change()


# --- everything again in the full space, without spans ---------------------------------------------


def flat(layers: lower.Layers) -> Tensor:
    return torch.cat([part.flatten() for layer in layers for part in layer])


def full_energy(kind: str, x: Tensor, change: Tensor) -> Tensor:
    """E of θ⁰ + change, all parameters in one vector."""
    value, position, layers = x, 0, origin_of(kind)
    for depth, (weight, bias) in enumerate(layers):
        size = weight.numel()
        w = weight + change[position : position + size].reshape(weight.shape)
        b = bias + change[position + size : position + size + len(bias)]
        position += size + len(bias)
        value = F.linear(value, w, b)
        if depth < len(layers) - 1:
            sharp = SHARPNESS.get(kind)
            value = value.relu() if sharp is None else F.softplus(value, beta=sharp, threshold=700)
    loss = F.softplus(-signs() * value[:, 0]).mean()
    return loss + DECAY / 2 * change.square().sum()


def full_hypergradient(kind: str, x: Tensor, optimum: Tensor, given: Tensor) -> Tensor:
    """−∇ₓ ⟨∇_θ E, H⁻¹ v⟩ with the whole Hessian."""
    hessian = torch.func.hessian(lambda t: full_energy(kind, x, t))(optimum)
    p = torch.linalg.solve(hessian, 2 * (optimum - given))
    x = x.clone().requires_grad_()
    theta = optimum.clone().requires_grad_()
    energy = full_energy(kind, x, theta)
    gradient = torch.autograd.grad(energy, theta, create_graph=True)[0]
    return -torch.autograd.grad(gradient @ p, x)[0]


def relative(a: Tensor, b: Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


# --- the lower level -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_optimum_in_the_span_is_one_of_the_full_space(kind):
    x = images()
    change = flat(solved(kind, x).change().layers()).requires_grad_()
    gradient = torch.autograd.grad(full_energy(kind, x, change), change)[0]
    assert gradient.norm() < 1e-11


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("by_lbfgs", [False, True])
def test_a_solved_problem_meets_its_tolerance_and_says_how(kind, by_lbfgs):
    problem = solved(kind, images(), tolerance=1e-6, by_lbfgs=by_lbfgs)
    assert problem.gradient(problem.z).norm() == pytest.approx(problem.gradient_norm, rel=1e-3)
    assert problem.gradient_norm <= 1e-6
    assert problem.steps > 0 and problem.seconds > 0
    assert bool(problem.memory) == by_lbfgs


def test_an_affine_optimum_is_as_near_as_its_tolerance_says():
    fine, coarse = (solved("affine", images(), tolerance=t) for t in (1e-12, 1e-3))
    assert 1e-12 < (fine.z - coarse.z).norm() <= 1e-3 / DECAY


def test_started_at_the_optimum_nothing_is_left_to_do():
    first = solved("relu", images(), tolerance=1e-8)
    again = lower.lower_level(images(), signs(), origin_of("relu"), decay=DECAY)
    assert lower.solve(again, first.change(), tolerance=1e-8).steps == 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_hessian_is_decay_outside_of_the_span(kind):
    x = images()
    problem = solved(kind, x)
    optimum = flat(problem.change().layers())
    hessian = torch.func.hessian(lambda t: full_energy(kind, x, t))(optimum)
    across = drawn(D, seed=3)
    across = across - problem.basis.T @ (problem.basis @ across)
    vector = torch.zeros_like(optimum)
    vector[:D] = across  # a change of the first row of W₁
    torch.testing.assert_close(hessian @ vector, DECAY * vector, atol=1e-10, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_products_with_the_hessian(kind):
    problem = solved(kind, images())
    hessian = torch.func.hessian(problem.energy)(problem.z)
    vector = drawn(len(problem.z), seed=4)
    torch.testing.assert_close(problem.hessian_product(vector), hessian @ vector)


def test_a_change_is_the_layers_that_it_was_made_of():
    layers = origin_of("relu")
    change = lower.as_change(layers)
    for (weight, bias), (w, b) in zip(layers, change.layers()):
        assert torch.equal(weight, w) and torch.equal(bias, b)
    assert change.squared_norm() == pytest.approx(flat(layers).square().sum().item())
    doubled = flat(change.layers(layers))
    torch.testing.assert_close(doubled, 2 * flat(layers))


def test_conjugate_gradients_solve_and_stop_where_there_is_no_curvature():
    a = drawn(6, 6, seed=1)
    a, b = a @ a.T + torch.eye(6).double(), drawn(6, seed=2)
    found = lower.solve_by_products(lambda v: a @ v, b, 1e-12, 100)
    torch.testing.assert_close(found, torch.linalg.solve(a, b))
    assert torch.equal(lower.solve_by_products(lambda v: -v, b, 1e-12, 100), b)


# --- the gradient ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_distance_is_that_of_all_weights(kind):
    problem, given = solved(kind, images()), given_by(kind)
    apart = flat(problem.change().layers()) - flat(given.layers())
    found = difference(problem, given).squared()
    assert found.item() == pytest.approx(apart.square().sum().item(), rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("inverse", [exact, conjugate_gradients])
def test_the_hypergradient_is_that_of_the_full_hessian(kind, inverse):
    x, given = images(), given_by(kind)
    problem = solved(kind, x)
    _, gradient = hypergradient(problem, x, given, inverse)
    optimum = flat(problem.change().layers())
    assert relative(gradient, full_hypergradient(kind, x, optimum, flat(given.layers()))) < 1e-8


@pytest.mark.parametrize("kind", KINDS)
def test_the_hypergradient_is_that_of_finite_differences(kind):
    x, given, h = images(), given_by(kind), 1e-4
    _, gradient = hypergradient(solved(kind, x), x, given, exact)
    direction = drawn(N, D, seed=20)

    def distance(step: float) -> float:
        return difference(solved(kind, x + step * direction), given).squared().item()

    # fourth order, so that h need not be so small that rounding has the word
    slope = (8 * (distance(h) - distance(-h)) - distance(2 * h) + distance(-2 * h)) / (12 * h)
    assert (gradient * direction).sum().item() == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("kind", ["affine", "smooth"])
def test_the_hypergradient_is_that_of_unrolled_steps(kind):
    x, given = images(), given_by(kind)
    _, gradient = hypergradient(solved(kind, x), x, given, conjugate_gradients)
    leaf = x.clone().requires_grad_()
    theta = torch.zeros(len(flat(origin_of(kind)))).double().requires_grad_()
    for _ in range(1500):
        energy = full_energy(kind, leaf, theta)
        theta = theta - 0.3 * torch.autograd.grad(energy, theta, create_graph=True)[0]
    distance = (theta - flat(given.layers())).square().sum()
    assert relative(gradient, torch.autograd.grad(distance, leaf)[0]) < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_without_the_minus_sign_that_equation_7_lacks_a_step_goes_uphill(kind):
    x, given = images(), given_by(kind)
    value, gradient = hypergradient(solved(kind, x), x, given, exact)
    step = 1e-3 / gradient.norm() * gradient
    down, as_printed = (
        difference(solved(kind, moved), given).squared() for moved in (x - step, x + step)
    )
    assert down < value < as_printed


def test_a_full_memory_gives_the_inverse():
    problem = solved("affine", images())
    vector = drawn(len(problem.z), seed=6)
    hessian = torch.func.hessian(problem.energy)(problem.z)
    _, axes = torch.linalg.eigh(hessian)  # conjugate to each other
    problem.memory = [(axis, hessian @ axis) for axis in axes.T]
    torch.testing.assert_close(quasi_newton(problem, vector), exact(problem, vector))


def test_without_a_memory_quasi_newton_sees_the_decay_alone():
    problem = solved("affine", images())
    vector = drawn(len(problem.z), seed=6)
    torch.testing.assert_close(quasi_newton(problem, vector), vector / DECAY)


@pytest.mark.parametrize("kind", KINDS)
def test_quasi_newton_from_lbfgs_points_downhill(kind):
    x, given = images(), given_by(kind)
    problem = solved(kind, x, tolerance=1e-8, by_lbfgs=True)
    _, rough = hypergradient(problem, x, given, quasi_newton)
    _, fine = hypergradient(problem, x, given, exact)
    assert F.cosine_similarity(rough.flatten(), fine.flatten(), dim=0) > 0.7


# --- the attack ------------------------------------------------------------------------------------


def attacked(kind: str, start: Tensor, steps: int, inverse: str = "exact", **how) -> Bilevel:
    return bilevel_attack(
        given_by(kind),
        origin_of(kind),
        signs(),
        start,
        steps=steps,
        decay=DECAY,
        inverse=inverse,
        sharpness=SHARPNESS.get(kind),
        **{"tolerance": 1e-8, **how},
    )


@pytest.mark.parametrize(
    ("kind", "inverse"),
    [*(("affine", inverse) for inverse in INVERSES), *((kind, "exact") for kind in KINDS[1:])],
)
def test_the_attack_brings_the_weights_nearer_and_never_farther(kind, inverse):
    found = attacked(kind, images(), 12, inverse)
    assert len(found.distances) == 13
    assert all(after <= before for before, after in zip(found.distances, found.distances[1:]))
    assert found.distances[-1] < 0.5 * found.distances[0]
    assert all(norm <= 1e-8 for norm, kept in zip(found.gradient_norms, found.kept) if kept)
    assert len(found.kept) == len(found.gradient_norms) == 13


@pytest.mark.parametrize("kind", KINDS)
def test_started_at_the_truth_the_attack_stays_there(kind):
    truth = images(seed=5)
    found = attacked(kind, truth, 5, tolerance=1e-11)
    assert found.distances[0] < 1e-18
    assert relative(found.images, truth) < 1e-6


def test_the_end_depends_on_the_start_though_the_weights_agree():
    one, other = (attacked("affine", images(seed=s), 30) for s in (0, 1))
    assert max(one.distances[-1], other.distances[-1]) < 0.01 * one.distances[0]
    assert relative(one.images, other.images) > 0.5


def test_the_change_returned_is_that_of_the_images_returned():
    found = attacked("relu", images(), 3)
    again = solved("relu", found.images, tolerance=1e-11)
    apart = flat(found.change.layers()) - flat(again.change().layers())
    assert apart.norm() < 1e-6


def test_no_step_gives_the_start_back():
    found = attacked("affine", images(), 0)
    assert torch.equal(found.images, images()) and len(found.distances) == 1


# --- what is not possible --------------------------------------------------------------------------


def problem_of(**changed) -> lower.LowerLevel:
    how = {"x": images(), "signs": signs(), "origin": origin_of("affine"), "decay": DECAY}
    return lower.lower_level(**(how | changed))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"decay": 0.0}, "decay is 0: without it .* is singular"),
        ({"decay": math.nan}, "decay is nan"),
        ({"signs": signs().clamp(min=0)}, "labels are one of -1 and"),
        ({"signs": signs()[:2]}, "each of the 4 images"),
        ({"x": images()[:, :3]}, r"images \[4, 3\] do not fit a network of 7 inputs"),
        ({"origin": [(torch.zeros(1, D), None)]}, "needs a bias in every layer"),
    ],
)
def test_problems_that_do_not_exist(changed, message):
    with pytest.raises(ValueError, match=message):
        problem_of(**changed)


def test_more_images_than_memory_holds(monkeypatch):
    monkeypatch.setattr(lower, "MOST_UNKNOWNS", 4)
    with pytest.raises(ValueError, match="n = 4 images give the lower level 5 unknowns"):
        problem_of()


def test_a_lower_level_that_stops_says_how_far_from_its_tolerance():
    with pytest.raises(lower.LowerLevelStopped, match=r"norm is .* after 1 steps, .* 1\.0e-09"):
        lower.solve(problem_of(), tolerance=1e-9, most_steps=1)


@pytest.mark.parametrize("by_lbfgs", [False, True])
def test_images_that_are_not_finite(by_lbfgs):
    problem = problem_of()
    problem.inputs[0, 0] = math.inf
    with pytest.raises(NonFiniteLoss, match="lower level's loss is"):
        lower.solve(problem, tolerance=1e-9, by_lbfgs=by_lbfgs)


def test_a_gradient_that_is_not_finite_names_its_step(monkeypatch):
    monkeypatch.setitem(INVERSES, "exact", lambda problem, vector: vector * math.nan)
    with pytest.raises(NonFiniteLoss, match="not finite at step 1"):
        attacked("affine", images(), 3)


def test_a_hessian_that_is_too_large_for_the_exact_inverse(monkeypatch):
    monkeypatch.setattr("lib.bilevel.LARGEST_EXACT", 4)
    with pytest.raises(ValueError, match="Hessian of 5 unknowns is too large"):
        attacked("affine", images(), 1)


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"inverse": "none"}, "known: 'exact', 'conjugate"), ({"steps": -1}, "at least 0")],
)
def test_attacks_that_cannot_be(changed, message):
    with pytest.raises(ValueError, match=message):
        attacked("affine", images(), **({"steps": 1} | changed))


def test_a_step_whose_lower_level_stops_is_not_kept(monkeypatch):
    """Only the first lower level may end: the images stay, and the run goes on."""
    solve, calls = lower.solve, []

    def stopping(problem, *args, **how):
        calls.append(problem)
        if len(calls) > 1:
            problem.z, problem.gradient_norm = torch.zeros(5).double(), 1.0
            raise lower.LowerLevelStopped("far")
        return solve(problem, *args, **how)

    given = given_by("affine")
    monkeypatch.setattr("lib.bilevel.solve", stopping)
    found = bilevel_attack(
        given, origin_of("affine"), signs(), images(), steps=3, decay=DECAY, tolerance=1e-9
    )
    assert torch.equal(found.images, images())
    assert found.kept == [True, False, False, False]
