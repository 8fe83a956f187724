"""The attacks lower their loss, keep to the row space, and never see a training image."""

import inspect
import math

import numpy as np
import pytest
import torch
from scipy.optimize import nnls
from torch import Tensor

from lib import reconstruction
from lib.kkt import NoGradientPath, kkt_residual, mlp_layers
from lib.losses import NonFiniteLoss
from lib.margin import fit_margin
from lib.models import MLP
from lib.reconstruction import (
    dual_feasibility,
    eliminated_attack,
    half_signs,
    kkt_attack,
    pixel_prior,
    projected_steps,
)
from lib.rowspace import row_space

GENTLE = {"lr": 1e-3, "lr_multipliers": 1e-3, "sigma": 0.3, "alpha": 50.0, "lambda_min": 0.0}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def trained() -> MLP:
    """A 20-30-20-1 network that has learnt six points."""
    model = MLP(20, (30, 20), first_std=1e-3, generator=seeded(0))
    x = torch.randn(6, 20, generator=seeded(1))
    fit_margin(model, x, torch.tensor([1.0, -1, 1, -1, 1, -1]), epochs=300, grow=1.0)
    return model


# --- parts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("m", "expected"), [(2, [1, -1]), (4, [1, 1, -1, -1]), (3, [1, 1, -1])])
def test_half_of_the_candidates_have_each_label(m, expected):
    assert half_signs(m, torch.zeros(1)).tolist() == expected


def test_pixel_prior_by_hand():
    x = torch.tensor([[0.0, 1.0, -1.0, 1.5], [-3.0, 0.9, -0.2, 1.1]])
    assert pixel_prior(x).item() == pytest.approx(0.5**2 + 2**2 + 0.1**2, rel=1e-5)


def test_dual_feasibility_by_hand():
    lam = torch.tensor([-1.0, 0.0, 0.5, 2.0], requires_grad=True)
    loss = dual_feasibility(lam, 0.5)
    assert loss.item() == pytest.approx(1.5**2 + 0.5**2)
    (gradient,) = torch.autograd.grad(loss, lam)
    assert gradient.tolist() == [-3.0, -1.0, 0.0, 0.0]  # also between 0 and λ_min


@pytest.mark.parametrize("columns", [5, 15])
def test_projected_steps_converge_to_nonnegative_least_squares(columns):
    a = torch.randn(20, columns, generator=seeded(columns), dtype=torch.float64)
    target = torch.randn(20, generator=seeded(1), dtype=torch.float64)
    start = torch.ones(columns, dtype=torch.float64)
    lam = projected_steps(a.T @ a, a.T @ target, start, 3000)
    expected, _ = nnls(a.numpy(), target.numpy())
    assert 0 < np.count_nonzero(expected) < columns
    np.testing.assert_allclose(lam.numpy(), expected, atol=1e-8)


def test_few_projected_steps_come_nearer_and_stay_nonnegative():
    a = torch.randn(20, 15, generator=seeded(0), dtype=torch.float64)
    target = torch.randn(20, generator=seeded(1), dtype=torch.float64)
    exact = torch.from_numpy(nnls(a.numpy(), target.numpy())[0])
    found = [projected_steps(a.T @ a, a.T @ target, 0 * exact, k) for k in (0, 5, 25, 125)]
    distances = [(lam - exact).norm().item() for lam in found]
    assert all(lam.min() >= 0 for lam in found)
    assert distances == sorted(distances, reverse=True) and distances[-1] < 0.1 * distances[0]


def test_projected_steps_are_faster_than_plain_ones():
    """On an ill-conditioned kernel the accelerated steps leave far less of the objective."""
    a = torch.randn(30, 20, generator=seeded(0), dtype=torch.float64)
    a = a * torch.logspace(0, -1.5, 20, dtype=torch.float64)
    kernel, b = a.T @ a, a.T @ torch.randn(30, generator=seeded(1), dtype=torch.float64)

    def objective(lam: Tensor) -> float:
        return (lam @ kernel @ lam - 2 * b @ lam).item()

    start = torch.zeros(20, dtype=torch.float64)
    plain = start
    for _ in range(300):
        plain = projected_steps(kernel, b, plain, 1)
    best = objective(projected_steps(kernel, b, start, 20_000))
    accelerated = objective(projected_steps(kernel, b, start, 300))
    assert accelerated - best < 0.1 * (objective(plain) - best)


# --- what the attacks are told -------------------------------------------------------------------


@pytest.mark.parametrize("attack", [kkt_attack, eliminated_attack])
def test_no_argument_can_carry_a_training_image_but_the_start(attack):
    parameters = inspect.signature(attack).parameters
    forbidden = ("train", "image", "target", "truth", "held", "data", "label", "sign", "mean", "x")
    assert not [n for n in parameters if n == "x" or any(f in n for f in forbidden[:-1])]
    tensors = [  # `observe` is told candidates and tells nothing
        n for n, p in parameters.items() if "Tensor" in str(p.annotation) and n != "observe"
    ]
    assert tensors == (["start"] if attack is eliminated_attack else [])
    assert [n for n, p in parameters.items() if p.annotation is inspect.Parameter.empty] == []


def test_every_attack_of_the_module_is_checked():
    attacks = {name for name in vars(reconstruction) if name.endswith("_attack")}
    assert attacks == {"kkt_attack", "eliminated_attack"}


# --- five steps ----------------------------------------------------------------------------------


def test_kkt_attack_lowers_its_loss_in_five_steps(trained):
    result = kkt_attack(
        trained, 12, (20,), iterations=6, seed=0, prior_weight=0.0, dual_weight=0.0,
        **GENTLE,
    )  # fmt: skip
    assert len(result.residuals) == 6
    assert all(b < a for a, b in zip(result.residuals[:-1], result.residuals[1:]))


def test_kkt_attack_can_be_watched_without_changing_it(trained):
    seen = []

    def observe(step, candidates, residual):
        seen.append((step, candidates.clone(), residual))

    def attack(iterations, **watch):
        return kkt_attack(trained, 12, (20,), iterations=iterations, seed=0, **watch, **GENTLE)

    watched, alone = attack(5, observe=observe, observe_at=[2, 5]), attack(5)
    assert [step for step, *_ in seen] == [2, 5]
    assert torch.equal(seen[-1][1], watched.candidates)
    assert torch.equal(watched.candidates, alone.candidates)
    assert seen[0][2] == alone.residuals[1] and seen[1][2] == alone.residuals[4]
    assert torch.equal(seen[0][1], attack(2).candidates)


def test_eliminated_attack_lowers_its_loss_in_five_steps(trained):
    result = eliminated_attack(
        trained, 12, (20,), iterations=6, lr=0.01, alpha=(100.0, 100.0), seed=0, rank=6
    )
    assert result.residuals[0] < 1  # λ is solved for before the first step
    assert all(b < a for a, b in zip(result.residuals[:-1], result.residuals[1:]))


def test_pixel_prior_keeps_candidates_within_the_range(trained):
    def largest(weight: float) -> float:
        settings = GENTLE | {"sigma": 2.0, "lr_multipliers": 0.0}
        result = kkt_attack(
            trained, 4, (20,), iterations=50, seed=0, prior_weight=weight, **settings
        )
        return result.candidates.abs().max().item()

    assert largest(30.0) < 1.1 < largest(0.0)


def test_lambda_min_pushes_multipliers_up(trained):
    def smallest(lambda_min: float) -> float:
        settings = GENTLE | {"lambda_min": lambda_min}
        result = kkt_attack(trained, 12, (20,), iterations=200, seed=0, dual_weight=5.0, **settings)
        return result.multipliers.min().item()

    assert smallest(0.0) < 0.1 < 0.3 < smallest(0.5)


@pytest.mark.parametrize("attack", ["kkt", "eliminated"])
def test_what_comes_back(trained, attack):
    if attack == "kkt":
        result = kkt_attack(trained, 6, (1, 4, 5), iterations=3, seed=0, **GENTLE)
    else:
        result = eliminated_attack(trained, 6, (1, 4, 5), iterations=3, lr=0.01, seed=0, rank=6)
        assert result.multipliers.min() >= 0
    assert result.candidates.shape == (6, 1, 4, 5)
    assert result.signs.tolist() == [1, 1, 1, -1, -1, -1]
    assert result.multipliers.shape == result.shares.shape == (6,)
    assert len(result.residuals) == 3
    assert not result.candidates.requires_grad and not result.multipliers.requires_grad


def test_shares_are_what_each_candidate_explains(trained):
    """With the exact multipliers the shares sum to 1 − ρ, as λ ≥ 0 solves a least squares."""
    result = eliminated_attack(
        trained, 8, (20,), iterations=1, lr=0.0, seed=0, rank=20, lambda_steps=1000
    )
    smooth = result.residuals[-1]
    layers = mlp_layers(trained)
    rho, _ = kkt_residual(layers, result.candidates, result.signs)
    assert 0 < rho < 1 and 0 < smooth < 1
    exact = reconstruction._shares(
        layers, result.candidates, result.signs,
        kkt_residual(layers, result.candidates, result.signs)[1].float(),
    )  # fmt: skip
    assert exact.sum().item() == pytest.approx(1 - rho, abs=1e-4)


# --- the row space -------------------------------------------------------------------------------


def test_candidates_lie_in_the_row_space(trained):
    basis = row_space(trained.layers[0].weight.detach(), 6)
    result = eliminated_attack(trained, 8, (20,), iterations=5, lr=0.05, seed=0, rank=6)
    x = result.candidates
    assert torch.allclose(x @ basis.T @ basis, x, atol=1e-5)


def test_what_lies_outside_the_row_space_is_ignored(trained):
    basis = row_space(trained.layers[0].weight.detach(), 6)
    start = torch.randn(8, 20, generator=seeded(2))
    outside = torch.randn(8, 20, generator=seeded(3))
    outside = outside - outside @ basis.T @ basis
    assert outside.norm() > 1

    def attacked(start: Tensor):
        return eliminated_attack(
            trained, 8, (20,), iterations=5, lr=0.01, seed=0, rank=6, start=start
        )

    one, other = attacked(start), attacked(start + outside)
    assert torch.allclose(one.candidates, other.candidates, atol=1e-4)
    assert one.residuals == pytest.approx(other.residuals, abs=1e-5)
    assert torch.equal(one.signs, other.signs)


def test_a_start_brings_its_own_labels(trained):
    start = torch.randn(8, 20, generator=seeded(2))
    result = eliminated_attack(
        trained, 8, (20,), iterations=1, lr=0.0, seed=0, rank=20, start=start
    )
    with torch.no_grad():
        assert torch.equal(result.signs, trained(start).sign())
    assert torch.allclose(result.candidates, start, atol=1e-5)


# --- seeds and errors ----------------------------------------------------------------------------


@pytest.mark.parametrize("attack", ["kkt", "eliminated"])
def test_a_seed_gives_the_same_result_and_another_seed_another(trained, attack):
    def attacked(seed: int) -> Tensor:
        if attack == "kkt":
            return kkt_attack(trained, 6, (20,), iterations=3, seed=seed, **GENTLE).candidates
        return eliminated_attack(
            trained, 6, (20,), iterations=3, lr=0.01, rank=6, seed=seed
        ).candidates

    one, again, other = attacked(3), attacked(3), attacked(4)
    assert torch.equal(one, again)
    assert (one - other).norm() > 0.1


@pytest.mark.parametrize("m", [1, 0])
def test_one_candidate_is_too_few(trained, m):
    with pytest.raises(ValueError, match=f"m = {m}: an attack needs at least one candidate of"):
        kkt_attack(trained, m, (20,), iterations=1, seed=0, **GENTLE)
    with pytest.raises(ValueError, match=f"m = {m}"):
        eliminated_attack(trained, m, (20,), iterations=1, lr=0.1, seed=0, rank=6)


def test_a_start_of_another_length_is_refused(trained):
    with pytest.raises(ValueError, match="start holds 5 candidates, m is 6"):
        eliminated_attack(
            trained, 6, (20,), iterations=1, lr=0.1, seed=0, rank=6, start=torch.zeros(5, 20)
        )


def test_non_finite_losses_name_the_attack_and_the_step(trained):
    with pytest.raises(NonFiniteLoss, match=r"kkt_attack: the loss is (inf|nan) at step [1-3]"):
        kkt_attack(trained, 6, (20,), iterations=9, seed=0, **GENTLE | {"lr": 1e30})
    with pytest.raises(NonFiniteLoss, match=r"eliminated_attack: .* at step [1-3]"):
        eliminated_attack(trained, 6, (20,), iterations=9, lr=1e30, seed=0, rank=6)
    with pytest.raises(NonFiniteLoss, match=r"eliminated_attack: the loss is nan at step 0"):
        start = torch.full((6, 20), math.nan)
        eliminated_attack(trained, 6, (20,), iterations=9, lr=0.1, seed=0, rank=6, start=start)


def test_candidates_that_move_nothing_are_noticed():
    """All neurons dead: every per-sample gradient is zero."""
    model = MLP(20, (30,), first_std=0.1, generator=seeded(0))
    with torch.no_grad():
        model.layers[0].bias.fill_(-1e6)
    with pytest.raises(NoGradientPath, match="no candidate moves the output"):
        eliminated_attack(model, 6, (20,), iterations=1, lr=0.1, seed=0, rank=20)


# --- end to end ----------------------------------------------------------------------------------


def test_two_points_on_the_circle_are_found():
    """Four blind starts, the one with the lowest residual: both points are reconstructed."""
    x = torch.tensor([[math.cos(0.3), math.sin(0.3)], [-math.cos(0.3), -math.sin(0.3)]])
    signs = torch.tensor([1.0, -1.0])
    model = MLP(2, (50,), first_std=1e-2, generator=seeded(0))
    fit_margin(model, x, signs, epochs=800, grow=1.0)
    assert kkt_residual(mlp_layers(model), x, signs)[0] < 1e-3
    runs = [
        eliminated_attack(model, 2, (2,), iterations=600, lr=0.03, rank=2, seed=seed)
        for seed in range(4)
    ]
    best = min(runs, key=lambda run: run.residuals[-1])
    assert best.residuals[-1] < 0.01
    assert (best.candidates - x).norm(dim=1).max() < 0.1
    assert best.shares.tolist() == pytest.approx([0.5, 0.5], abs=0.02)
