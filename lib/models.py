"""The book's classifiers, bottom-up."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.init import normal_


class MLP(nn.Module):
    """Fully connected ReLU network Φ(θ; x), d-widths-outputs (paper 004, §5.1).

    Args:
        inputs: input dimension d; images are flattened.
        widths: hidden widths, `(1000, 1000)` for the paper's d-1000-1000-1.
        outputs: number of logits; with 1 the forward pass returns shape [n].
        first_std: standard deviation of the first layer's weights and bias (paper: 1e-4).
            `None` keeps PyTorch's default there too. The other layers keep PyTorch's default,
            uniform in ±1/√fan_in, as the released code does; the paper's text says Kaiming He.
        homogeneous: biases in the first layer only, so that Φ(cθ; x) with the bias scaled
            along is cᴸΦ(θ; x). `False` puts a bias in every hidden layer (the paper's
            non-homogeneous variant); the output layer never has one.
        generator: source of the initial values; the same seed gives the same network.
    """

    def __init__(
        self,
        inputs: int,
        widths: Sequence[int] = (1000, 1000),
        outputs: int = 1,
        *,
        first_std: float | None = 1e-4,
        homogeneous: bool = True,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
    ):
        super().__init__()
        if not widths:
            raise ValueError("an MLP needs at least one hidden layer: widths is empty")
        sizes = [inputs, *widths, outputs]
        self.layers = nn.ModuleList(
            nn.Linear(
                fan_in,
                fan_out,
                bias=depth == 0 or (not homogeneous and depth < len(widths)),
                dtype=dtype,
            )
            for depth, (fan_in, fan_out) in enumerate(zip(sizes[:-1], sizes[1:]))
        )
        for layer in self.layers:
            bound = layer.in_features**-0.5
            for parameter in layer.parameters():
                nn.init.uniform_(parameter, -bound, bound, generator=generator)
        if first_std is not None:
            for parameter in self.layers[0].parameters():
                normal_(parameter, std=first_std, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """x: [n, ...] -> logits [n, outputs], or [n] for a single output."""
        x = x.flatten(1)
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        logits = self.layers[-1](x)
        return logits.squeeze(1) if logits.shape[1] == 1 else logits
