"""The book's classifiers, bottom-up."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
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


def _initialise(model: nn.Module, generator: torch.Generator | None) -> None:
    """PyTorch's default for linear and convolutional layers, uniform in ±1/√fan_in, seeded."""
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            bound = module.weight[0].numel() ** -0.5
            for parameter in module.parameters():
                nn.init.uniform_(parameter, -bound, bound, generator=generator)


class CNN(nn.Module):
    """Stages of 3 x 3 convolution, ReLU and 2 x 2 max pooling, a hidden layer, a linear head.

    With `padding="circular"` and `pool="average"` the logits do not change when the image is
    shifted, wrapping around, by a multiple of 2 to the number of stages: such a network knows no
    places, only neighbourhoods.

    Args:
        channels, size: images are [n, channels, size, size].
        outputs: number of logits.
        widths: channels after each stage.  hidden: width of the hidden layer, the features.
        pool: what the hidden layer sees: "flatten": every position; "average": the mean over
            positions (global average pooling).
        padding: of the convolutions: "zeros" or "circular".
        generator: source of the initial values; the same seed gives the same network.

    Raises ValueError for an unknown switch or an image that the stages cannot halve.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        outputs: int = 10,
        *,
        widths: Sequence[int] = (16, 32),
        hidden: int = 64,
        pool: str = "flatten",
        padding: str = "zeros",
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        _require_one_of("pool", pool, ("flatten", "average"))
        _require_one_of("padding", padding, ("zeros", "circular"))
        if not widths or size % 2 ** len(widths):
            raise ValueError(f"{len(widths)} stages cannot halve an image of {size} pixels")
        stages, before = [], channels
        for width in widths:
            convolution = nn.Conv2d(before, width, 3, padding=1, padding_mode=padding)
            stages += [convolution, nn.ReLU(), nn.MaxPool2d(2)]
            before = width
        positions = (size // 2 ** len(widths)) ** 2
        reduce = nn.Flatten() if pool == "flatten" else _SpatialMean()
        seen = before * positions if pool == "flatten" else before
        self.features = nn.Sequential(*stages, reduce, nn.Linear(seen, hidden), nn.ReLU())
        self.head = nn.Linear(hidden, outputs)
        _initialise(self, generator)

    def forward(self, x: Tensor) -> Tensor:
        """x: [n, channels, size, size] -> logits [n, outputs]."""
        return self.head(self.features(x))


class RegularisedCNN(nn.Module):
    """Convolutions with batch norm, leaky ReLU and dropout, then fully connected layers.

    The classifier of papers 001 and 002 (001, §3.1 and §4), which give no sizes. Two convolutions
    of 4 x 4 pixels halve the image, one of 3 x 3 keeps it; a hidden layer gives the features.

    Args:
        channels, size: images are [n, channels, size, size].
        outputs: number of logits.
        width: channels of the first convolution; the others have twice and four times as many.
        hidden: number of features.
        dropout: after every layer but the last.
        generator: source of the initial values; the same seed gives the same network.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        outputs: int = 10,
        *,
        width: int = 32,
        hidden: int = 128,
        dropout: float = 0.2,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        if size < 4:
            raise ValueError(f"an image of {size} pixels cannot be halved twice")

        def layer(before: int, after: int, kernel: int, stride: int) -> list[nn.Module]:
            convolution = nn.Conv2d(before, after, kernel, stride, padding=1)
            return [convolution, nn.BatchNorm2d(after), nn.LeakyReLU(0.2), nn.Dropout(dropout)]

        self.features = nn.Sequential(
            *layer(channels, width, 4, 2),
            *layer(width, 2 * width, 4, 2),
            *layer(2 * width, 4 * width, 3, 1),
            nn.Flatten(),
            nn.Linear(4 * width * (size // 4) ** 2, hidden),
            nn.LeakyReLU(0.2),
            nn.Dropout(dropout),
        )
        self.head = nn.Linear(hidden, outputs)
        _initialise(self, generator)

    def forward(self, x: Tensor) -> Tensor:
        """x: [n, channels, size, size] -> logits [n, outputs]."""
        return self.head(self.features(x))


class _SpatialMean(nn.Module):
    """[n, c, h, w] -> [n, c], the mean over positions."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class Attention(nn.Module):
    """Multi-head self-attention over tokens [n, t, d] (Vaswani et al. 2017, eq. 1).

    The product is written out: on a CPU in bfloat16 it trains twice as fast as PyTorch's fused
    one at the token counts of small images.
    """

    def __init__(self, dim: int, heads: int):
        super().__init__()
        if dim % heads:
            raise ValueError(f"{heads} heads do not divide {dim} dimensions")
        self.heads = heads
        self.inward = nn.Linear(dim, 3 * dim)
        self.outward = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        n, t, d = x.shape
        per_head = self.inward(x).reshape(n, t, 3, self.heads, d // self.heads)
        query, key, value = per_head.permute(2, 0, 3, 1, 4)  # each [n, heads, t, d / heads]
        scores = query @ key.transpose(-1, -2) * (d // self.heads) ** -0.5
        mixed = scores.softmax(-1) @ value
        return self.outward(mixed.transpose(1, 2).reshape(n, t, d))


class Block(nn.Module):
    """Pre-norm transformer block on tokens [n, t, d]: attention, then a two-layer MLP."""

    def __init__(self, dim: int, heads: int, hidden: int):
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(dim), Attention(dim, heads))
        self.mlp = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, dim)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(x)
        return x + self.mlp(x)


class ViT(nn.Module):
    """Vision transformer (Dosovitskiy et al. 2021) for small images, mean-pooled tokens.

    With `positions="none"` the logits do not depend on the order of the tokens: such a network
    does not know where a token is.

    Args:
        channels, size: images are [n, channels, size, size].
        outputs: number of logits.
        patch: side of the square each token sees.
        dim, depth, heads: width of the tokens, number of blocks, attention heads.
        positions: "learned": a vector added to each token, initially N(0, 0.02²); or "none".
        generator: source of the initial values; the same seed gives the same network.

    Raises ValueError for an unknown switch or sizes that do not divide.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        outputs: int = 10,
        *,
        patch: int = 4,
        dim: int = 64,
        depth: int = 2,
        heads: int = 2,
        positions: str = "learned",
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        _require_one_of("positions", positions, ("learned", "none"))
        if size % patch:
            raise ValueError(f"patches of {patch} pixels do not tile an image of {size} pixels")
        self.patch = patch
        self.embed = nn.Linear(channels * patch**2, dim)
        self.blocks = nn.Sequential(*(Block(dim, heads, 2 * dim) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, outputs)
        _initialise(self, generator)
        if positions == "learned":
            self.positions = nn.Parameter(torch.empty((size // patch) ** 2, dim))
            normal_(self.positions, std=0.02, generator=generator)
        else:
            self.positions = None

    def features(self, x: Tensor) -> Tensor:
        """x: [n, channels, size, size] -> mean over tokens of the last block [n, dim]."""
        tokens = F.unfold(x, self.patch, stride=self.patch).transpose(1, 2)  # [n, t, c p²]
        tokens = self.embed(tokens)
        if self.positions is not None:
            tokens = tokens + self.positions
        return self.norm(self.blocks(tokens)).mean(1)

    def forward(self, x: Tensor) -> Tensor:
        """x: [n, channels, size, size] -> logits [n, outputs]."""
        return self.head(self.features(x))


def count_parameters(model: nn.Module) -> int:
    """Number of trained values."""
    return sum(parameter.numel() for parameter in model.parameters())


def matched_width(build: Callable[[int], nn.Module], target: int, *, within: float = 0.1) -> int:
    """The width w for which `build(w)` comes closest to `target` parameters.

    `build` must grow with w. Raises ValueError when the closest is off by more than `within`.
    """
    low, high = 1, 2
    while count_parameters(build(high)) < target:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count_parameters(build(middle)) < target else (low, middle)
    width = min(low, high, key=lambda w: abs(count_parameters(build(w)) - target))
    found = count_parameters(build(width))
    if abs(found - target) > within * target:
        raise ValueError(f"the closest to {target} parameters is {found}, at width {width}")
    return width


def _require_one_of(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ValueError(f"{name} is {value!r}, known: {', '.join(map(repr, known))}")
