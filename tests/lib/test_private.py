"""DP-SGD against what is known of it: one step by hand, its noise, its clipping, its ε."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lib.losses import NonFiniteLoss
from lib.private import fit_private

X = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
SIGNS = torch.tensor([1.0, -1, 1, -1, 1, -1])


class Line(nn.Module):
    """x -> w·x, [n]"""

    def __init__(self, inputs: int = 3, value: float = 0.1):
        super().__init__()
        self.layer = nn.Linear(inputs, 1, bias=False)
        nn.init.constant_(self.layer.weight, value)

    def forward(self, x):
        return self.layer(x).squeeze(1)


def settings(**changed):
    plain = {"steps": 1, "batch": 6, "lr": 0.5, "noise": 1e-9, "clip": 100.0, "delta": 1e-2}
    return {**plain, "seed": 0, **changed}


def step_of(x=X, signs=SIGNS, **changed) -> torch.Tensor:
    """What one call moves the weights of a line by [3]."""
    model = Line(x.shape[1])
    before = model.layer.weight.detach().clone()
    fit_private(model, x, signs, **settings(**changed))
    return (model.layer.weight.detach() - before)[0]


def test_without_noise_and_clipping_a_step_is_one_of_gradient_descent():
    model = Line()
    F.softplus(-SIGNS * model(X)).mean().backward()
    assert torch.allclose(step_of(), -0.5 * model.layer.weight.grad[0], atol=1e-6)


def test_each_image_is_clipped_by_itself():
    x, signs = torch.tensor([[1000.0, 0, 0], [0, 0.1, 0]]), torch.tensor([-1.0, 1.0])
    gradient = -0.1 * torch.sigmoid(torch.tensor(-0.01))  # of the second, which is short
    moved = step_of(x, signs, batch=2, clip=1.0)
    assert moved[0] == pytest.approx(-0.5 / 2, rel=1e-4)  # the first is cut to length 1
    assert moved[1] == pytest.approx(-0.5 * gradient.item() / 2, rel=1e-4)


@pytest.mark.parametrize(("noise", "clip"), [(2.0, 1.0), (1.0, 3.0)])
def test_the_noise_has_the_deviation_that_was_asked_for(noise, clip):
    """Black images have no gradient, so the step is noise alone."""
    black = torch.zeros(4, 5000)
    moved = step_of(black, SIGNS[:4], batch=4, noise=noise, clip=clip)
    assert moved.std().item() == pytest.approx(0.5 * noise * clip / 4, rel=0.05)


def test_a_step_in_which_nothing_is_drawn_is_noise_alone():
    seed = next(
        s for s in range(100)
        if not (torch.rand(6, generator=torch.Generator().manual_seed(s)) < 1 / 6).any()
    )  # fmt: skip
    moved = [step_of(x, batch=1, noise=1.0, clip=1.0, seed=seed) for x in (X, X + 5)]
    assert torch.equal(*moved) and moved[0].abs().min() > 0


@pytest.mark.parametrize("steps", [1, 20])
def test_epsilon_of_full_batches_is_below_the_classical_bound_and_near_it(steps):
    """RDP of the Gaussian mechanism is α/(2σ²) a step (Mironov 2017, corollary 3)."""
    noise, delta = 4.0, 1e-3
    found = fit_private(Line(), X, SIGNS, **settings(steps=steps, noise=noise, delta=delta))
    orders = [1 + k / 10 for k in range(1, 1000)]
    bound = min(steps * a / (2 * noise**2) + math.log(1 / delta) / (a - 1) for a in orders)
    assert 0.6 * bound < found < bound


def test_more_noise_and_fewer_steps_spend_less():
    spent = [
        fit_private(Line(), X, SIGNS, **settings(batch=2, noise=noise, steps=steps))
        for noise, steps in ((2.0, 2), (1.0, 2), (1.0, 8))
    ]
    assert spent[0] < spent[1] < spent[2]


def test_a_seed_gives_the_same_weights_and_the_model_is_left_as_it_was():
    model = Line()
    fit_private(model, X, SIGNS, **settings(steps=3, batch=3, noise=1.0))
    again = Line()
    fit_private(again, X, SIGNS, **settings(steps=3, batch=3, noise=1.0))
    assert torch.equal(model.layer.weight, again.layer.weight)
    other = copy.deepcopy(model)  # no hook and no per-image gradient is left behind
    other(X).sum().backward()
    assert (
        not other.layer._forward_hooks and getattr(model.layer.weight, "grad_sample", None) is None
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"steps": 0}, "nothing to train: 0 steps"),
        ({"batch": 7}, "batches of 7 of 6 images"),
        ({"noise": 0.0}, "noise 0.0"),
        ({"clip": -1.0}, "clip -1.0"),
        ({"delta": 1.0}, "delta 1.0"),
    ],
)
def test_settings_out_of_range_are_said(changed, said):
    with pytest.raises(ValueError, match=said):
        fit_private(Line(), X, SIGNS, **settings(**changed))


def test_a_loss_that_is_not_finite_is_said_with_its_step():
    with pytest.raises(NonFiniteLoss, match="step 1"):
        fit_private(Line(value=math.nan), X, SIGNS, **settings())
