"""Steer a generator to images like the training images: the reconstruction loss of paper 002.

    loss = likeness.ReconstructionLoss(classifier)
    inversion.invert(classifier, generator, steps=300, weights=weights, objective=loss)

L_Recon = α L_KL + α′ L_KL^pert + β L_CE + β′ L_CE^pert + γ L_Cos + δ L_Ortho + η₁ L_Var + η₂ L_Pix
+ η₃ L_Grad (paper 002, §3.4; paper 001, §5.3). Its signals are that a classifier is surer of its
training images, less sensitive to changes of them, and has smaller gradients there (§1). A tenth
term, the direction in which gradient descent has left the weights, is added by this book.

Like every attack this module sees a classifier and nothing that it was trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from lib import losses
from lib.inversion import LOSS_TERMS, Batch

PERTURBATIONS = ("random", "adversarial")
GRADIENTS = ("single images", "batch")
TERMS = (*LOSS_TERMS, "perturbed_kl", "perturbed_ce", "variation", "pixels", "gradient")
STATIONARITY = "stationarity"  # this book's tenth term


# --- image priors -----------------------------------------------------------------------------


def variation(images: Tensor) -> Tensor:
    """L_Var, squared differences of neighbouring pixels, mean over images (paper 002, §3.4).

    images [n, c, h, w] -> scalar ≥ 0: the sum over rows, columns and channels, not their mean.
    """
    down, right = images.diff(dim=2), images.diff(dim=3)
    return (down.square().sum() + right.square().sum()) / len(images)


def outside_range(images: Tensor) -> Tensor:
    """L_Pix = Σ max(0, −I) + Σ max(0, I − 1), mean over images (paper 002, §3.4).

    images [n, c, h, w] -> scalar ≥ 0, and 0 where every pixel lies in [0, 1].
    """
    return (F.relu(-images).sum() + F.relu(images - 1).sum()) / len(images)


# --- robustness ---------------------------------------------------------------------------------


def perturbed(
    images: Tensor, radius: float, *, uphill: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """Images moved by ± radius at every pixel, and back into [−1, 1] (paper 002, §3.4).

    images: [n, c, h, w] in [−1, 1].  radius: of the L∞ ball, in units of these pixels.  uphill:
    a loss [n] of images, whose gradient gives the signs (one step of Goodfellow et al. 2015);
    without it they are drawn. The paper leaves open which. Gradients pass to `images`.
    """
    if uphill is None:
        signs = torch.randint(2, images.shape, device=images.device).to(images) * 2 - 1
    else:
        with torch.enable_grad():
            here = images.detach().requires_grad_()
            (slope,) = torch.autograd.grad(uphill(here).sum(), here)
        signs = slope.sign()
    return (images + radius * signs).clamp(-1, 1)


# --- gradients ------------------------------------------------------------------------------------


def input_gradient_norms(
    classifier: nn.Module, images: Tensor, labels: Tensor, *, of: str
) -> Tensor:
    """‖∂f/∂x‖ for each image [n, ...] -> [n] (paper 002, §1, eq. 2).

    The paper leaves open what f is.  of: "output", the label's logit; "probability", its softmax;
    "loss", the cross-entropy.  classifier: in evaluation mode.
    """
    read = {
        "output": lambda logits: logits.gather(1, labels[:, None]),
        "probability": lambda logits: logits.softmax(1).gather(1, labels[:, None]),
        "loss": lambda logits: F.cross_entropy(logits, labels, reduction="none"),
    }
    if of not in read:
        raise ValueError(f"gradients of {of!r}; known: {', '.join(map(repr, read))}")
    with torch.enable_grad():
        here = images.detach().requires_grad_()
        (slope,) = torch.autograd.grad(read[of](classifier(here)).sum(), here)
    return slope.flatten(1).norm(dim=1)


def weight_gradient_norms(classifier: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """‖∇θ L(f_θ(xᵢ), yᵢ)‖ of the cross-entropy, over all weights, for each image -> [n].

    Paper 002, §1, eq. 3 and §3.4. Gradients pass to `images`, so that a generator can be trained
    on it. For linear, convolutional and batch-norm layers the norm is read from what enters a
    layer and what comes back to it, without the gradient of any single image as a tensor
    (Goodfellow 2015, arXiv 1510.01799); other networks are asked image by image, because the
    batched gradient of `torch.func` cannot itself be differentiated through a layer norm
    (pytorch/functorch#534).

    classifier: in evaluation mode; images [n, ...]; labels int64 [n].
    """
    layers = [
        m for m in classifier.modules() if next(m.parameters(recurse=False), None) is not None
    ]
    calls: list[tuple[nn.Module, Tensor, Tensor]] = []
    hooks = [
        layer.register_forward_hook(lambda module, x, y: calls.append((module, x[0], y)))
        for layer in layers
    ]
    try:
        with torch.enable_grad():
            logits = classifier(images if images.requires_grad else images.clone().requires_grad_())
    finally:
        for hook in hooks:
            hook.remove()
    if len(calls) != len(layers) or not all(_has_closed_form(layer) for layer in layers):
        return _norms_one_by_one(classifier, images, labels)
    loss = F.cross_entropy(logits.float(), labels, reduction="sum")
    signals = torch.autograd.grad(
        loss, [output for _, _, output in calls], create_graph=images.requires_grad
    )
    squares = sum(
        _SQUARES[type(module)](module, entered, signal)
        for (module, entered, _), signal in zip(calls, signals)
    )
    return _root(squares)


def batch_gradient_norm(classifier: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """‖∇θ mean L‖, of the whole batch -> scalar.

    Gradients of different images cancel, so it is smaller than the mean of
    `weight_gradient_norms`, and can be 0 where none of them is.
    """
    return _root(sum(g.square().sum() for g in _batch_gradient(classifier, images, labels)[1]))


def misalignment(classifier: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """1 − cos(θ, −∇θ mean L), in [0, 2] -> scalar; 0 if the images explain the weights' direction.

    Gradient descent with weight decay ends where θ is a positive multiple of −∇θ L over the
    training set, and without it moves there in direction (Lyu and Li 2020; paper 004, eq. 2). The
    weights of the images are those that the cross-entropy itself gives them.
    """
    parameters, gradient = _batch_gradient(classifier, images, labels)
    inner = -sum((p.detach() * g).sum() for p, g in zip(parameters, gradient))
    size = torch.stack([p.detach().square().sum() for p in parameters]).sum().sqrt()
    return 1 - inner / (size * _root(sum(g.square().sum() for g in gradient)))


def _batch_gradient(
    classifier: nn.Module, images: Tensor, labels: Tensor
) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    parameters = {name: p.detach().requires_grad_() for name, p in classifier.named_parameters()}
    loss = F.cross_entropy(functional_call(classifier, parameters, (images,)).float(), labels)
    values = list(parameters.values())
    return values, torch.autograd.grad(loss, values, create_graph=images.requires_grad)


def _norms_one_by_one(classifier: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return torch.stack(
        [batch_gradient_norm(classifier, x[None], y[None]) for x, y in zip(images, labels)]
    )


def _root(squares: Tensor) -> Tensor:
    """The square root; its gradient stays finite at 0."""
    return squares.clamp(min=1e-24).sqrt()


def _linear_squares(layer: nn.Linear, entered: Tensor, signal: Tensor) -> Tensor:
    """Of inputs [n, d] or tokens [n, t, d]."""
    entered, signal = entered.float(), signal.float()
    if entered.ndim == 2:
        of_weight = entered.square().sum(1) * signal.square().sum(1)
        of_bias = signal.square().sum(1)
    else:
        of_weight = (signal.transpose(1, 2) @ entered).square().sum((1, 2))
        of_bias = signal.sum(1).square().sum(1)
    return of_weight if layer.bias is None else of_weight + of_bias


def _convolution_squares(layer: nn.Conv2d, entered: Tensor, signal: Tensor) -> Tensor:
    patches = F.unfold(entered, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
    own = torch.bmm(signal.flatten(2), patches.to(signal.dtype).transpose(1, 2)).float()
    squares = own.square().sum((1, 2))
    if layer.bias is not None:
        squares = squares + signal.float().sum((2, 3)).square().sum(1)
    return squares


def _batch_norm_squares(layer: nn.BatchNorm2d, entered: Tensor, signal: Tensor) -> Tensor:
    entered, signal = entered.float(), signal.float()
    scale = (layer.running_var + layer.eps).rsqrt()[:, None, None]
    normal = (entered - layer.running_mean[:, None, None]) * scale
    return (signal * normal).sum((2, 3)).square().sum(1) + signal.sum((2, 3)).square().sum(1)


def _has_closed_form(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv2d) and (layer.groups > 1 or layer.padding_mode != "zeros"):
        return False
    return type(layer) in _SQUARES


_SQUARES: dict[type[nn.Module], Callable[..., Tensor]] = {
    nn.Linear: _linear_squares,
    nn.Conv2d: _convolution_squares,
    nn.BatchNorm2d: _batch_norm_squares,
}


# --- the loss -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReconstructionLoss:
    """The nine terms of L_Recon, and `stationarity`, for `inversion.invert`.

    radius: of the perturbation, for pixels in [0, 1].  perturbation: one of `PERTURBATIONS`.
    gradient: the mean norm over "single images", as the formula for an image I says, or the norm
    for the "batch".  gradient_images: L_Grad and `stationarity` are read from so many images of a
    batch, the first, which are as random as any others.

    Images of the generator are in [−1, 1]; the priors see them as (x + 1)/2.

    Raises ValueError for an unknown name or a radius that is not in (0, 1].
    """

    classifier: nn.Module
    radius: float = 0.05
    perturbation: str = "random"
    gradient: str = "single images"
    gradient_images: int = 16
    names: Sequence[str] = (*TERMS, STATIONARITY)

    def __post_init__(self) -> None:
        for value, known in ((self.perturbation, PERTURBATIONS), (self.gradient, GRADIENTS)):
            if value not in known:
                raise ValueError(f"{value!r} is not one of {', '.join(map(repr, known))}")
        if not 0 < self.radius <= 1:
            raise ValueError(f"the radius is a share of the pixels' range, not {self.radius}")

    def __call__(self, batch: Batch, weights: Mapping[str, float]) -> Tensor:
        labels, vectors = batch.conditions.labels, batch.conditions.vectors
        found = {
            "kl": lambda: losses.kl_divergence(vectors, batch.logits),
            "ce": lambda: losses.cross_entropy(batch.logits, labels),
            "cosine": lambda: losses.cosine_similarity(batch.features),
            "orthogonality": lambda: losses.orthogonality(batch.features),
            "variation": lambda: variation(self._pixels(batch)),
            "pixels": lambda: outside_range(self._pixels(batch)),
            "gradient": lambda: self._gradient(batch),
            "stationarity": lambda: misalignment(self.classifier, *self._some(batch)),
        }
        if weights.get("perturbed_kl") or weights.get("perturbed_ce"):
            logits = self._perturbed_logits(batch)
            found["perturbed_kl"] = lambda: losses.kl_divergence(vectors, logits)
            found["perturbed_ce"] = lambda: losses.cross_entropy(logits, labels)
        zero = batch.logits.new_zeros(())
        return torch.stack([found[name]() if weights.get(name) else zero for name in self.names])

    @staticmethod
    def _pixels(batch: Batch) -> Tensor:
        return (batch.images.float() + 1) / 2

    def _some(self, batch: Batch) -> tuple[Tensor, Tensor]:
        count = self.gradient_images
        return batch.images[:count].float(), batch.conditions.labels[:count]

    def _gradient(self, batch: Batch) -> Tensor:
        if self.gradient == "batch":
            return batch_gradient_norm(self.classifier, *self._some(batch))
        return weight_gradient_norms(self.classifier, *self._some(batch)).mean()

    def _perturbed_logits(self, batch: Batch) -> Tensor:
        def loss(images: Tensor) -> Tensor:
            return F.cross_entropy(batch.look(images)[0], batch.conditions.labels, reduction="none")

        uphill = loss if self.perturbation == "adversarial" else None
        return batch.look(perturbed(batch.images, 2 * self.radius, uphill=uphill))[0]
