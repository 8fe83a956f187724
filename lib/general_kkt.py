r"""The KKT conditions of any loss, solved for images from a given start (Buzaglo et al. 2023).

Where (1/n) Σ ℓ(yᵢ Φ(xᵢ; θ)) + decay/2 ‖θ − θ⁰‖² is stationary,

    θ − θ⁰ = Σ λᵢ yᵢ ∇Φ(θ; xᵢ),   λᵢ = −ℓ′(yᵢ Φᵢ) / (n decay) ≥ 0.

With θ⁰ = 0 that is weight decay, and the same equation as that of margin maximisation (paper 004,
eq 2), with other λ. The attack leaves λ ≥ 0 free and makes the difference of both sides small,
where paper 003 (eq 3) has λ fixed by the loss: the gradient of the training loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lib import kkt
from lib.losses import NonFiniteLoss
from lib.predict import one_output
from lib.reconstruction import dual_feasibility, pixel_prior

SHORTEST = 1e-12  # share of Polyak's length below which no shorter step is tried


@dataclass(frozen=True)
class Terms:
    """What ‖t − Σ cᵢ ∇Φ(θ; xᵢ)‖² is made of, with t = θ − θ⁰."""

    kernel: Tensor  # ⟨∇Φᵢ, ∇Φⱼ⟩ [m, m]
    alignment: Tensor  # ⟨t, ∇Φᵢ⟩ [m]
    norm: Tensor  # ‖t‖²
    outputs: Tensor  # Φ(θ; xᵢ) [m]

    def residual(self, c: Tensor) -> Tensor:
        """‖t − Σ cᵢ ∇Φᵢ‖² / ‖t‖² -> scalar; 0: the images explain t, 1: as little as none."""
        return 1 - (2 * c @ self.alignment - c @ self.kernel @ c) / self.norm

    def best_multipliers(self, signs: Tensor) -> Tensor:
        """The λ ≥ 0 with the smallest residual at c = λ y, exactly -> [m]."""
        kernel = self.kernel.detach() * signs[:, None] * signs
        return kkt.multipliers(kernel, self.alignment.detach() * signs)

    def shares(self, c: Tensor) -> Tensor:
        """cᵢ ⟨t, ∇Φᵢ⟩ / ‖t‖²: how much of the weights each image explains -> [m]."""
        return (c * self.alignment / self.norm).detach()


System = Callable[[Tensor], Terms]  # images [m, d] -> Terms, differentiable


def of_layers(
    layers: kkt.Layers,
    origin: kkt.Layers | None = None,
    alpha: float | None = None,
    layer_weights: Sequence[float] | None = None,
) -> System:
    """The system of a ReLU network, without any per-sample gradient.

    Args:
        layers: θ as (weight [k', k], bias [k'] or None) of every layer, the last of one output.
        origin: θ⁰ in the same form; None: 0.
        alpha: slope of the smoothed ReLU derivative (paper 004, B.2); None: the true one.
        layer_weights: of each layer's share of all squared norms; all 1 in the papers.
    """
    origin = origin or [(None, None)] * len(layers)
    target = [
        (weight if w0 is None else weight - w0, bias if b0 is None else bias - b0)
        for (weight, bias), (w0, b0) in zip(layers, origin)
    ]
    weights = list(layer_weights or [1.0] * len(layers))
    norm = sum(a * one for a, one in zip(weights, kkt.squared_norms(target)))
    _require_change(norm)

    def system(x: Tensor) -> Terms:
        swept = kkt.signals(layers, x, alpha)
        kernel, _, _ = kkt.gram(layers, swept, weights)
        alignment = sum(
            a * (back * nn.functional.linear(entered, *part)).sum(1)
            for a, back, entered, part in zip(
                weights, swept.back_signals, swept.activations, target
            )
        )
        return Terms(kernel, alignment, norm, swept.outputs)

    return system


def of_model(model: nn.Module, origin: Sequence[Tensor] | None = None) -> System:
    """The system of any model with one output, by per-sample gradients.

    origin: θ⁰, one tensor for each parameter; None: 0.
    Raises ValueError for a model with more than one output, when it is called.
    """
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    names = list(parameters)
    before = origin or [torch.zeros_like(p) for p in parameters.values()]
    target = _flat(parameters[name] - start for name, start in zip(names, before))
    _require_change(target @ target)

    def output(weights: dict[str, Tensor], image: Tensor) -> tuple[Tensor, Tensor]:
        value = one_output(torch.func.functional_call(model, weights, (image[None],)))[0]
        return value, value

    per_sample = torch.func.vmap(torch.func.grad(output, has_aux=True), in_dims=(None, 0))

    def system(x: Tensor) -> Terms:
        gradients, outputs = per_sample(parameters, x)
        rows = torch.cat([gradients[name].flatten(1) for name in names], dim=1)
        return Terms(rows @ rows.T, rows @ target, target @ target, outputs)

    return system


def _flat(tensors) -> Tensor:
    return torch.cat([one.flatten() for one in tensors])


def _require_change(norm: Tensor) -> None:
    if not norm > 0:
        raise ValueError("the weights are where training started: there is nothing to explain")


def loss_multipliers(margins: Tensor, decay: float) -> Tensor:
    """What the mean logistic loss makes of λ at margins yᵢΦᵢ [n]: σ(−yᵢΦᵢ) / (n decay) -> [n].

    With these the squared residual ‖t − Σ …‖² is ‖∇E‖² / decay², the objective of paper 003, eq 3.
    Raises ValueError for a decay that is not positive.
    """
    if not decay > 0:
        raise ValueError(f"decay is {decay:g}: without it no finite weights are stationary")
    return torch.sigmoid(-margins) / (len(margins) * decay)


# --- two ways down ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Descent:
    """Images at the end with the best λ for them; residuals before the first and after each step."""

    images: Tensor  # [m, d]
    multipliers: Tensor  # [m]
    shares: Tensor  # [m]
    residuals: list[float]


def descend_eliminated(system: System, signs: Tensor, start: Tensor, *, steps: int) -> Descent:
    """Descend on the residual with its best λ ≥ 0, which is a function of the images alone.

    Steps as in `lib.bilevel.bilevel_attack`, so that both attacks differ in what they minimise and
    not in how: Polyak's length c f / ‖∇f‖² (the smallest value is 0), kept if f falls, and then c
    doubles; else c becomes a quarter. By the envelope theorem ∇f is that at the best λ, held fixed.

    signs: labels ±1 [m]; start: images [m, d].  steps: kept or not.
    Raises ValueError for labels or steps that do not fit, NonFiniteLoss naming the step.
    """
    _require_labels(signs, start, steps)

    def looked(x: Tensor) -> tuple[Terms, Tensor, Tensor, float]:
        x = x.detach().requires_grad_()
        terms = system(x)
        if not torch.isfinite(terms.kernel).all():
            raise NonFiniteLoss(f"descend_eliminated: the residual is not finite at step {step}")
        lam = terms.best_multipliers(signs)
        value = terms.residual(lam * signs)
        return terms, lam, torch.autograd.grad(value, x)[0], max(value.item(), 0.0)

    step, scale, x = 0, 1.0, start.detach()
    terms, lam, gradient, value = looked(x)
    residuals = [value]
    for step in range(1, steps + 1):
        squared = gradient.square().sum()
        if squared > 0 and scale > SHORTEST:
            moved = x - scale * value / squared * gradient
            found = looked(moved)
            if found[-1] < value:
                x, (terms, lam, gradient, value), scale = moved, found, 2 * scale
            else:
                scale /= 4
        residuals.append(value)
    return Descent(x, lam, terms.shares(lam * signs), residuals)


def descend_released(
    system: System,
    signs: Tensor,
    start: Tensor,
    *,
    steps: int,
    lr: float,
    lr_multipliers: float,
    lambda_min: float,
    gradient_scale: float = 1.0,
    prior: Callable[[Tensor], Tensor] = pixel_prior,
    prior_weight: float = 1.0,
    dual_weight: float = 5.0,
    momentum: float = 0.9,
    exact: System | None = None,
    seed: int,
) -> Descent:
    """SGD with momentum on images and multipliers, as `lib.reconstruction.kkt_attack`, from a start.

    Args:
        system: of the smoothed network in the paper; exact: the true one, which the residuals and
            multipliers of the result are of, None for `system`.
        signs: labels ±1 [m]; start: images [m, d]. λ starts uniform in [0, 1].
        lr, lr_multipliers, lambda_min, gradient_scale, prior_weight, dual_weight, momentum: as for
            `kkt_attack`. The residuals along the way are those of its own λ.
        prior: of images, to be kept small (paper 004, §5.2).

    Raises:
        ValueError: for labels or steps that do not fit.
        NonFiniteLoss: when the loss is not finite; the message names the step.
    """
    _require_labels(signs, start, steps)
    x = start.detach().clone().requires_grad_()
    generator = torch.Generator().manual_seed(seed + 1)
    lam = torch.rand(len(x), generator=generator).to(x).requires_grad_()
    optimiser = torch.optim.SGD(
        [{"params": [x], "lr": lr}, {"params": [lam], "lr": lr_multipliers}], momentum=momentum
    )
    residuals = []
    for step in range(steps):
        terms = system(x)
        residual = terms.residual(gradient_scale * lam * signs)
        loss = terms.norm * residual + dual_weight * dual_feasibility(lam, lambda_min)
        loss = loss + prior_weight * prior(x)
        if not math.isfinite(loss.item()):
            raise NonFiniteLoss(
                f"descend_released: the loss is {loss.item()} at step {step}: lower lr"
            )
        residuals.append(residual.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        residuals.append(system(x).residual(gradient_scale * lam * signs).item())
        terms = (exact or system)(x)
    best = terms.best_multipliers(signs)
    return Descent(x.detach(), best, terms.shares(best * signs), residuals)


def _require_labels(signs: Tensor, start: Tensor, steps: int) -> None:
    if signs.shape != (len(start),) or not torch.equal(signs.abs(), torch.ones_like(signs)):
        raise ValueError(f"labels are one of -1 and +1 for each of the {len(start)} images")
    if steps < 0:
        raise ValueError(f"steps is {steps}, at least 0 are needed")
