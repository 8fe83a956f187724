"""Attacks that solve for training images in a trained network's weights (paper 004, §3.2).

No attack takes a training image, a held-out image or a score against them: the arguments are
the weights, the number and shape of the candidates, and a seed. Candidates live in the
network's input space, that is, after the mean of the training set was subtracted.
"""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lib.kkt import NoGradientPath, gram, mlp_layers, signals, stationarity
from lib.losses import NonFiniteLoss
from lib.rowspace import row_space


@dataclass(frozen=True)
class Reconstruction:
    """Candidates of one attack and the multipliers that go with them."""

    candidates: Tensor  # [m, *shape]
    signs: Tensor  # yᵢ in {−1, +1} [m]
    multipliers: Tensor  # λᵢ ≥ 0 [m]
    shares: Tensor  # λᵢyᵢ⟨θ, ∇Φᵢ⟩ / ‖θ‖² [m]: how much of the weights candidate i explains
    residuals: list[float]  # relative stationarity residual ‖θ − Σ…‖² / ‖θ‖² by iteration


def half_signs(m: int, like: Tensor) -> Tensor:
    """+1 for the first half of the candidates, −1 for the other (paper 004, §3.2) -> [m]."""
    if m < 2:
        raise ValueError(f"m = {m}: an attack needs at least one candidate of each label")
    signs = torch.ones(m, dtype=like.dtype, device=like.device)
    signs[(m + 1) // 2 :] = -1
    return signs


def _checked(loss: Tensor, step: int, attack: str) -> float:
    value = loss.item()
    if not math.isfinite(value):
        raise NonFiniteLoss(f"{attack}: the loss is {value} at step {step}: lower lr or sigma")
    return value


def _noise(m: int, d: int, sigma: float, seed: int, like: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (sigma * torch.randn(m, d, generator=generator)).to(like)


def _shares(layers, x: Tensor, signs: Tensor, lam: Tensor, layer_weights=None) -> Tensor:
    with torch.no_grad():
        _, alignment, norm = gram(layers, signals(layers, x, None), layer_weights)
    return lam * signs * alignment / norm


def pixel_prior(x: Tensor) -> Tensor:
    """Σ relu(|x| − 1)²: the released code's prior for images centred on the training mean.

    The paper's text has the mean over pixels of max(z − 1, 0) + max(−z, 0) for z in [0, 1]
    (004, §5.2); after the mean is subtracted, pixels lie in [−1, 1].
    """
    return (x.abs() - 1).clamp(min=0).square().sum()


def dual_feasibility(lam: Tensor, lambda_min: float) -> Tensor:
    """Σ relu(λ_min − λᵢ)², as in the released code (paper 004, eq 7 and B.2).

    B.2 prints Σ max(−λᵢ, λ_min), which has zero gradient for every λᵢ > −λ_min.
    """
    return (lambda_min - lam).clamp(min=0).square().sum()


def kkt_attack(
    model: nn.Module,
    m: int,
    shape: tuple[int, ...],
    *,
    iterations: int,
    lr: float,
    lr_multipliers: float,
    sigma: float,
    alpha: float,
    lambda_min: float,
    gradient_scale: float = 1.0,
    prior_weight: float = 1.0,
    dual_weight: float = 5.0,
    momentum: float = 0.9,
    observe: Callable[[int, Tensor, float], None] | None = None,
    observe_at: Collection[int] = (),
    seed: int,
) -> Reconstruction:
    """The paper's attack: SGD with momentum on candidates and multipliers (004, eq 8, B.2).

    Args:
        m: number of candidates, half of each label; the paper takes m ≥ 2n.
        shape: of one candidate, (c, h, w) or (d,).
        sigma: standard deviation of the initial candidates; λ starts uniform in [0, 1].
        alpha: slope of the smoothed ReLU derivative.
        gradient_scale: factor on Σ λᵢyᵢ∇Φᵢ. The paper has 1, the released code 1/m, and the
            released settings go with the latter.
        prior_weight: α₃; 0 leaves the pixel prior out, as in the 2-D experiment.
        observe: called as observe(step, candidates [m, *shape], residual) after the steps in
            `observe_at`; the residual is that of before the step.

    Raises:
        NonFiniteLoss: when the loss is not finite; the message names the step.
    """
    layers = mlp_layers(model)
    weight = layers[0][0]
    signs = half_signs(m, weight)
    x = _noise(m, math.prod(shape), sigma, seed, weight).requires_grad_()
    generator = torch.Generator().manual_seed(seed + 1)
    lam = torch.rand(m, generator=generator).to(weight).requires_grad_()
    norm = sum(w.square().sum() + (0 if b is None else b.square().sum()) for w, b in layers)
    optimizer = torch.optim.SGD(
        [{"params": [x], "lr": lr}, {"params": [lam], "lr": lr_multipliers}], momentum=momentum
    )
    residuals = []
    for step in range(iterations):
        fit = stationarity(layers, x, gradient_scale * lam * signs, alpha)
        loss = fit + dual_weight * dual_feasibility(lam, lambda_min)
        if prior_weight:
            loss = loss + prior_weight * pixel_prior(x)
        _checked(loss, step, "kkt_attack")
        residuals.append(fit.item() / norm.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if observe is not None and step + 1 in observe_at:
            observe(step + 1, x.detach().reshape(m, *shape), residuals[-1])
    x, lam = x.detach(), lam.detach()
    shares = _shares(layers, x, signs, gradient_scale * lam)
    return Reconstruction(x.reshape(m, *shape), signs, lam, shares, residuals)


def projected_steps(kernel: Tensor, alignment: Tensor, lam: Tensor, steps: int) -> Tensor:
    """Accelerated projected gradient steps on λᵀKλ − 2bᵀλ over λ ≥ 0 -> [m].

    FISTA (Beck & Teboulle 2009) with step 1/L, L bounded by the largest absolute row sum.
    """
    rate = 1 / kernel.abs().sum(1).max().clamp(min=torch.finfo(kernel.dtype).tiny)
    ahead, t = lam, 1.0
    for _ in range(steps):
        new = (ahead - rate * (kernel @ ahead - alignment)).clamp(min=0)
        t_new = (1 + math.sqrt(1 + 4 * t * t)) / 2
        ahead, lam, t = new + (t - 1) / t_new * (new - lam), new, t_new
    return lam


def eliminated_attack(
    model: nn.Module,
    m: int,
    shape: tuple[int, ...],
    *,
    iterations: int,
    lr: float,
    sigma: float = 1.0,
    alpha: tuple[float, float] = (20.0, 1000.0),
    layer_weights: tuple[float, ...] | None = None,
    rank: int | None = None,
    start: Tensor | None = None,
    lambda_steps: int = 5,
    seed: int,
) -> Reconstruction:
    """Stationarity with the multipliers eliminated, inside the first layer's row space.

    For given candidates the best λ ≥ 0 is a convex problem on the m × m Gram matrix (`gram`);
    a few projected steps keep it solved while Adam moves the candidates (variable projection,
    Golub & Pereyra 1973). Candidates are kept in the row space of W₁: every other direction
    could only add to the residual.

    Args:
        sigma: standard deviation of the initial candidates' coordinates in the row space.
        alpha: slope of the smoothed ReLU derivative, first and last, raised geometrically.
        layer_weights: weight of each layer's share of the residual. Later layers keep much of
            their initial value, which no candidate explains.
        rank: dimension of the row space; `None` reads it off the singular values.
        start: candidates [m, *shape] to start from instead of noise. Their labels are then the
            signs of Φ, as all training images are classified correctly (004, eq 3).
        lambda_steps: projected steps on λ for each step on the candidates.

    Raises:
        NonFiniteLoss: when the loss is not finite; the message names the step.
    """
    layers = mlp_layers(model)
    basis = row_space(layers[0][0], rank)
    layers = [(layers[0][0] @ basis.T, layers[0][1]), *layers[1:]]
    if start is None:
        signs = half_signs(m, basis)
        u = _noise(m, len(basis), sigma, seed, basis)
    else:
        if len(start) != m:
            raise ValueError(f"start holds {len(start)} candidates, m is {m}")
        u = start.flatten(1).to(basis) @ basis.T
        signs = torch.where(signals(layers, u, None).outputs < 0, -1.0, 1.0).to(basis)
    u.requires_grad_()
    optimizer = torch.optim.Adam([u], lr=lr)
    lam = torch.zeros_like(signs)
    residuals = []
    for step in range(iterations):
        progress = step / iterations
        optimizer.param_groups[0]["lr"] = lr * (1 - progress)
        slope = alpha[0] * (alpha[1] / alpha[0]) ** progress
        kernel, alignment, norm = gram(layers, signals(layers, u, slope), layer_weights)
        kernel, alignment = kernel * signs[:, None] * signs / norm, alignment * signs / norm
        if step == 0 and kernel.diagonal().max() <= 0:
            raise NoGradientPath("every per-sample gradient is zero: no candidate moves the output")
        more = 20 if step == 0 else 1
        lam = projected_steps(kernel.detach(), alignment.detach(), lam, more * lambda_steps)
        loss = 1 - 2 * lam @ alignment + lam @ kernel @ lam
        residuals.append(_checked(loss, step, "eliminated_attack"))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    u = u.detach()
    shares = _shares(layers, u, signs, lam, layer_weights)
    return Reconstruction((u @ basis).reshape(m, *shape), signs, lam, shares, residuals)
