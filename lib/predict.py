"""What a classifier says of images: its logits, and the features that it reads them from."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

Look = Callable[[Tensor], tuple[Tensor, Tensor]]


@contextlib.contextmanager
def watched(classifier: nn.Module, layer: str | None = None) -> Iterator[Look]:
    """Freeze a classifier, in evaluation mode, and read its features along with its logits.

    layer: the name of a submodule, as in `named_modules()`, whose output is the features; `None`
    takes what enters the linear layer that is called last, the "features across the last fully
    connected layers" of papers 001 and 002. Afterwards the classifier is as it was.

    Yields look(images [n, ...]) -> (logits [n, classes], features [n, d]).

    Raises LookupError, with the layers that exist, if there is no such layer.
    """
    tapped, take = _tapped(classifier, layer)
    seen: list[Tensor] = []
    trained = [p for p in classifier.parameters() if p.requires_grad]
    hooks = [
        module.register_forward_hook(lambda _, x, y: seen.append(take(x, y))) for module in tapped
    ]

    def look(images: Tensor) -> tuple[Tensor, Tensor]:
        seen.clear()
        logits = classifier(images)
        if not seen:
            unused = f"its layer {layer!r}" if layer else "a linear layer"
            raise LookupError(f"the classifier does not call {unused}")
        return logits, seen[-1].flatten(1)

    try:
        with modes_kept(classifier):
            classifier.eval()
            for parameter in trained:
                parameter.requires_grad_(False)
            yield look
    finally:
        for hook in hooks:
            hook.remove()
        for parameter in trained:
            parameter.requires_grad_(True)


@contextlib.contextmanager
def modes_kept(network: nn.Module) -> Iterator[None]:
    """Afterwards every layer is in training or evaluation mode as it was before."""
    modes = [(module, module.training) for module in network.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _tapped(classifier: nn.Module, layer: str | None) -> tuple[list[nn.Module], Callable]:
    """The layers to listen to, and what to take of (inputs, output); the last call counts."""
    modules = {name: module for name, module in classifier.named_modules() if name}
    if layer is None:
        linear = [module for module in classifier.modules() if isinstance(module, nn.Linear)]
        if linear:
            return linear, lambda x, y: x[0]
        wanted = "linear layer, so its feature layer must be named"
    elif layer in modules:
        return [modules[layer]], lambda x, y: y
    else:
        wanted = f"layer {layer!r}"
    raise LookupError(f"the classifier has no {wanted}; its layers: {', '.join(modules)}")


@torch.no_grad()
def logits(model: nn.Module, images: Tensor, *, batch: int = 500) -> Tensor:
    """Output of the model in evaluation mode, [n, classes] float32."""
    training = model.training
    model.eval()
    found = torch.cat([model(part).float() for part in images.split(batch)])
    model.train(training)
    return found


@torch.no_grad()
def logits_and_features(network: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits [n, classes] and penultimate features [n, d] of images, in evaluation mode."""
    with watched(network) as look:
        parts = [look(some) for some in images.split(500)]
    return tuple(torch.cat(part) for part in zip(*parts))


def one_output(outputs: Tensor) -> Tensor:
    """Φ of a network of two classes, [n] or [n, 1] -> [n].

    Raises ValueError for [n, k] with k > 1, which has no sign that would be the label.
    """
    if outputs.ndim == 2 and outputs.shape[1] == 1:
        return outputs[:, 0]
    if outputs.ndim != 1:
        raise ValueError(
            f"the network's output is {list(outputs.shape[1:])} an image; margins and the KKT "
            "conditions are those of one output, whose sign is the label"
        )
    return outputs
