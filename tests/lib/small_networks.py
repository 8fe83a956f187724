"""Small classifiers and generators that several test modules watch and invert."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lib.generator import Generator
from lib.models import CNN, MLP, RegularisedCNN, ViT


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(n: int, channels: int, size: int, seed: int = 9) -> Tensor:
    return torch.randn(n, channels, size, size, generator=seeded(seed))


def made(classes: int = 3, channels: int = 1, size: int = 8, **settings) -> Generator:
    """The same narrow generator every time."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return Generator(classes, channels, size, **{"width": 8} | settings)


def easy(classes: int = 3, size: int = 8) -> nn.Module:
    """A classifier whose classes are orthogonal directions."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(size**2, classes, bias=False))
    with torch.no_grad():
        directions = torch.randn(size**2, classes, generator=seeded(0))
        net[1].weight.copy_(torch.linalg.qr(directions).Q.T)
    return net


CLASSIFIERS: dict[str, Callable[[], nn.Module]] = {
    "MLP": lambda: MLP(64, (9, 7), 3, first_std=None, generator=seeded(0)),
    "CNN": lambda: CNN(1, 8, 3, widths=(4,), hidden=7, generator=seeded(0)),
    "ViT": lambda: ViT(1, 8, 3, dim=8, depth=1, generator=seeded(0)),
    "RegularisedCNN": lambda: RegularisedCNN(1, 8, 3, width=4, hidden=7, generator=seeded(0)),
}


def mixed(classifier: nn.Module) -> nn.Module:
    """Some layers in training and some in evaluation mode, some weights frozen."""
    for i, module in enumerate(classifier.modules()):
        module.training = i % 2 == 0
    for i, parameter in enumerate(classifier.parameters()):
        parameter.requires_grad_(i % 3 > 0)
    return classifier


def condition_of(classifier: nn.Module) -> tuple:
    """Everything about a classifier that watching might change."""
    return (
        [module.training for module in classifier.modules()],
        [parameter.requires_grad for parameter in classifier.parameters()],
        [parameter.grad is None for parameter in classifier.parameters()],
        [len(module._forward_hooks) for module in classifier.modules()],
        [value.numpy().tobytes() for value in classifier.state_dict().values()],
    )


class Fussy(nn.Module):
    """A linear network of another scale in training mode, that keeps the sizes of its batches."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.dropout = nn.Dropout(0.5)
        nn.init.normal_(self.linear.weight, generator=seeded(0))
        self.sizes, self.modes = [], []

    def forward(self, x):
        self.sizes.append(len(x))
        self.modes.append(self.training)
        return self.linear(self.dropout(x.flatten(1)))
