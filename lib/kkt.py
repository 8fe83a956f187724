r"""The KKT conditions of margin maximisation for ReLU MLPs (paper 004, §3).

A homogeneous network trained on the logistic loss converges in direction to a point with

    θ = Σᵢ λᵢ yᵢ ∇Φ(θ; xᵢ),   λᵢ ≥ 0        (stationarity and dual feasibility, eqs 2 and 4).

For an MLP the gradient of sample i with respect to weight matrix Wₗ is the outer product
δₗᵢ aₗ₋₁ᵢᵀ of a back-signal and an activation, so neither the residual nor its Gram matrix
needs per-sample gradients. Everything here acts on `layers`, a list of (weight, bias) pairs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor, nn

from lib.predict import one_output

Layers = Sequence[tuple[Tensor, Tensor | None]]


class NoGradientPath(ValueError):
    """The output of the model does not depend on its parameters through a gradient."""


class _SmoothedReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z: Tensor, alpha: float) -> Tensor:
        ctx.save_for_backward(z)
        ctx.alpha = alpha
        return z.relu()

    @staticmethod
    def backward(ctx, grad: Tensor):
        (z,) = ctx.saved_tensors
        return grad * torch.sigmoid(ctx.alpha * z), None


def smoothed_relu(z: Tensor, alpha: float | None) -> Tensor:
    """max(z, 0) whose derivative is replaced by σ(αz) (paper 004, B.2); `None`: the true one."""
    return z.relu() if alpha is None else _SmoothedReLU.apply(z, alpha)


def _gate(z: Tensor, alpha: float | None) -> Tensor:
    return (z > 0).to(z.dtype) if alpha is None else torch.sigmoid(alpha * z)


def mlp_layers(model: nn.Module) -> list[tuple[Tensor, Tensor | None]]:
    """(weight [k', k], bias [k'] or None) of every linear layer, detached.

    Raises:
        ValueError: if the model is not a ReLU MLP with one output, checked by comparing its
            outputs on random inputs; `stationarity_autograd` works for any model.
    """
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    layers = [
        (layer.weight.detach(), None if layer.bias is None else layer.bias.detach())
        for layer in linear
    ]
    advice = "use stationarity_autograd for other models"
    owned = [p for pair in layers for p in pair if p is not None]
    other_parameters = len(owned) != len(list(model.parameters()))
    if not layers or other_parameters or layers[-1][0].shape[0] != 1:
        raise ValueError(f"the closed forms need a ReLU MLP with one output; {advice}")
    weight = layers[0][0]
    probe = torch.randn(16, weight.shape[1], generator=torch.Generator().manual_seed(0)).to(weight)
    probe[::2] *= 10
    with torch.no_grad():
        expected = model(probe).flatten()
        outputs = signals(layers, probe, None).outputs
    if expected.shape != outputs.shape or not (
        (expected - outputs).abs().max() <= 1e-4 * expected.abs().max()
    ):
        raise ValueError(f"the linear layers of this model do not form a ReLU MLP; {advice}")
    return layers


@dataclass(frozen=True)
class Signals:
    """What one forward and one backward sweep leave at each layer l = 1..L."""

    activations: list[Tensor]  # aₗ₋₁ [m, kₗ₋₁]: the input of layer l
    preactivations: list[Tensor]  # zₗ [m, kₗ]
    back_signals: list[Tensor]  # δₗ = ∂Φ/∂zₗ [m, kₗ]

    @property
    def outputs(self) -> Tensor:  # Φ(θ; xᵢ) [m]
        return self.preactivations[-1].squeeze(1)


def signals(layers: Layers, x: Tensor, alpha: float | None) -> Signals:
    """Activations and back-signals for x [m, d]; differentiable in x."""
    activations, preactivations = [x], []
    for depth, (weight, bias) in enumerate(layers):
        preactivations.append(torch.nn.functional.linear(activations[-1], weight, bias))
        if depth < len(layers) - 1:
            activations.append(smoothed_relu(preactivations[-1], alpha))
    back_signals = [torch.ones_like(preactivations[-1])]
    for (weight, _), z in zip(reversed(layers[1:]), reversed(preactivations[:-1])):
        back_signals.append((back_signals[-1] @ weight) * _gate(z, alpha))
    return Signals(activations, preactivations, back_signals[::-1])


def squared_norms(layers: Layers) -> list[Tensor]:
    """‖θₗ‖² of each layer, weight and bias together."""
    return [
        weight.square().sum() + (0 if bias is None else bias.square().sum())
        for weight, bias in layers
    ]


class _SelfProduct(torch.autograd.Function):
    """a aᵀ, whose gradient (G + Gᵀ) a is one product; autograd by itself takes two."""

    @staticmethod
    def forward(ctx, a: Tensor) -> Tensor:
        ctx.save_for_backward(a)
        return a @ a.T

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        (a,) = ctx.saved_tensors
        return (grad + grad.T) @ a


def _gram_layer(layers: Layers, s: Signals, depth: int) -> tuple[Tensor, Tensor]:
    inner = _SelfProduct.apply(s.activations[depth])
    if layers[depth][1] is not None:
        inner = inner + 1
    back = s.back_signals[depth]
    alignment = (back * s.preactivations[depth]).sum(1)
    return _SelfProduct.apply(back) * inner, alignment


def gram(
    layers: Layers, s: Signals, layer_weights: Sequence[float] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Inner products of per-sample parameter gradients, without forming them.

    Returns:
        K [m, m] with Kᵢⱼ = ⟨∇Φᵢ, ∇Φⱼ⟩, b [m] with bᵢ = ⟨θ, ∇Φᵢ⟩ and ‖θ‖², each a sum over
        layers weighted by `layer_weights` (all 1 by default). K is a sum of Hadamard products
        (δₗδₗᵀ) ∘ (aₗ₋₁aₗ₋₁ᵀ + [bias]), and bᵢ = Σₗ ⟨δₗᵢ, zₗᵢ⟩.
    """
    layer_weights = layer_weights or [1.0] * len(layers)
    kernel, alignment, norm = 0.0, 0.0, 0.0
    for depth, (weight, squared) in enumerate(zip(layer_weights, squared_norms(layers))):
        if weight:
            k, b = _gram_layer(layers, s, depth)
            kernel, alignment = kernel + weight * k, alignment + weight * b
            norm = norm + weight * squared
    return kernel, alignment, norm


def stationarity_gram(
    layers: Layers, s: Signals, c: Tensor, layer_weights: Sequence[float] | None = None
) -> Tensor:
    """‖θ − Σ cᵢ ∇Φᵢ‖² = ‖θ‖² − 2cᵀb + cᵀKc with cᵢ = λᵢyᵢ [m] -> scalar (paper 004, eq 6)."""
    kernel, alignment, norm = gram(layers, s, layer_weights)
    return norm - 2 * c @ alignment + c @ kernel @ c


def _parameter_layer(layers: Layers, s: Signals, c: Tensor, depth: int) -> Tensor:
    weight, bias = layers[depth]
    back = c[:, None] * s.back_signals[depth]
    residual = (weight - back.T @ s.activations[depth]).square().sum()
    return residual if bias is None else residual + (bias - back.sum(0)).square().sum()


def stationarity_parameters(
    layers: Layers, s: Signals, c: Tensor, layer_weights: Sequence[float] | None = None
) -> Tensor:
    """The same loss in parameter space: Σₗ ‖Wₗ − Σᵢ cᵢ δₗᵢ aₗ₋₁ᵢᵀ‖² -> scalar."""
    layer_weights = layer_weights or [1.0] * len(layers)
    return sum(
        weight * _parameter_layer(layers, s, c, depth)
        for depth, weight in enumerate(layer_weights)
        if weight
    )


def gram_is_cheaper(m: int, fan_in: int, fan_out: int) -> bool:
    """Multiply-adds of value and gradient of one layer's term, in either form.

    Parameter form: three products of size m·fan_in·fan_out. Gram form: m² products of both
    widths, forward and backward.
    """
    return 2 * m * (fan_in + fan_out) < 3 * fan_in * fan_out


def stationarity(
    layers: Layers,
    x: Tensor,
    c: Tensor,
    alpha: float | None = None,
    layer_weights: Sequence[float] | None = None,
) -> Tensor:
    """‖θ − Σ cᵢ ∇Φ(θ; xᵢ)‖² (paper 004, eq 6), each layer in its cheaper form -> scalar.

    Args:
        x: candidates [m, d].
        c: λᵢyᵢ [m].
        alpha: slope of the smoothed ReLU derivative; `None` for the true one.
        layer_weights: weight of each layer's share of the squared norm; all 1 in the paper.
    """
    s = signals(layers, x, alpha)
    layer_weights = layer_weights or [1.0] * len(layers)
    loss = torch.zeros((), dtype=x.dtype, device=x.device)
    for depth, (weight, squared) in enumerate(zip(layer_weights, squared_norms(layers))):
        fan_out, fan_in = layers[depth][0].shape
        if weight and gram_is_cheaper(len(x), fan_in, fan_out):
            kernel, alignment = _gram_layer(layers, s, depth)
            loss = loss + weight * (squared - 2 * c @ alignment + c @ kernel @ c)
        elif weight:
            loss = loss + weight * _parameter_layer(layers, s, c, depth)
    return loss


def stationarity_autograd(
    forward: Callable[[Tensor], Tensor], parameters: Sequence[Tensor], x: Tensor, c: Tensor
) -> Tensor:
    """The same loss for any model, by differentiating twice -> scalar.

    Args:
        forward: x [m, ...] -> Φ(θ; x), [m] or [m, 1], a function of `parameters`.
        parameters: the tensors θ, each requiring a gradient.

    Raises:
        NoGradientPath: if Φ does not depend on a parameter through a gradient.
        ValueError: for more than one output.
    """
    outputs = one_output(forward(x))
    if not outputs.requires_grad:
        raise NoGradientPath("the model's output carries no gradient: is it under no_grad?")
    gradients = torch.autograd.grad(
        c @ outputs, list(parameters), create_graph=True, allow_unused=True
    )
    for index, gradient in enumerate(gradients):
        if gradient is None:
            shape = tuple(parameters[index].shape)
            raise NoGradientPath(f"parameter {index} {shape} has no gradient path to the output")
    return sum((p - g).square().sum() for p, g in zip(parameters, gradients))


def multipliers(kernel: Tensor, alignment: Tensor) -> Tensor:
    """The exact λ ≥ 0 that minimise λᵀKλ − 2bᵀλ -> [m] (nonnegative least squares).

    K must be positive semidefinite and already carry the labels, yᵢKᵢⱼyⱼ and yᵢbᵢ. Solved in
    float64 by an active-set method on a square root of K; eigenvalues below 1e-12 of the
    largest are numerically zero and are cut.
    """
    values, vectors = torch.linalg.eigh(kernel.detach().double().cpu())
    keep = values > 1e-12 * values[-1]
    if values[-1] <= 0 or not keep.any():
        raise NoGradientPath("every per-sample gradient is zero: there is nothing to explain θ by")
    root = values[keep].sqrt()[:, None] * vectors[:, keep].T
    target = (vectors[:, keep].T @ alignment.detach().double().cpu()) / values[keep].sqrt()
    solution, _ = nnls(root.numpy(), target.numpy(), maxiter=100 * len(kernel))
    return torch.from_numpy(np.ascontiguousarray(solution)).to(kernel)


def kkt_residual(
    layers: Layers, x: Tensor, signs: Tensor, layer_weights: Sequence[float] | None = None
) -> tuple[float, Tensor]:
    """ρ = min over λ ≥ 0 of ‖θ − Σ λᵢyᵢ∇Φ(xᵢ)‖² / ‖θ‖² and its λ [m].

    Args:
        x: samples [m, d]; signs: yᵢ in {−1, +1} [m].

    The true ReLU derivative and float64 arithmetic are used. 0: the samples explain the
    weights; 1: they explain nothing.
    """
    layers = [(w.double(), None if b is None else b.double()) for w, b in layers]
    signs = signs.double()
    with torch.no_grad():
        s = signals(layers, x.flatten(1).double(), None)
        kernel, alignment, norm = gram(layers, s, layer_weights)
    kernel, alignment = kernel * signs[:, None] * signs, alignment * signs
    lam = multipliers(kernel, alignment)
    rho = (norm - 2 * lam @ alignment + lam @ kernel @ lam) / norm
    return rho.item(), lam
