"""What chapter 8 starts its attacks from, whom they attack, and how their outputs are judged.

Shared by the bilevel and the KKT attack, so that both have the same victims, starts and measures.
"""

from __future__ import annotations

from dataclasses import dataclass

import safetensors.torch
import torch
from torch import Tensor, nn

from chapters import two_classes
from harness.scratch import kept
from lib import data, lower_level, margin, matching, models, naturalness, rowspace

NETWORKS = ("affine", "hidden", "smooth", "three-layer")
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of both mixing weights (paper 003, §4.5)
SHOWN = 10
LARGEST_PSNR = 100.0  # in dB, of equal images
MOST_ROWS = 500  # of a first layer, in the null that scores them as candidates

# Chosen on seed 0. The paper names neither its loss nor a regulariser; without one the optimum of
# a separable set lies at infinity, and the Hessian has no inverse.
DECAY = {"affine": 1e-2, "hidden": 1e-2, "smooth": 1e-2}
TOLERANCE = {"affine": 1e-8, "hidden": 1e-6, "smooth": 1e-6}  # of the gradient norm
SHARPNESS = {"smooth": 10.0}  # of the smooth ReLU; the others have the true one
EPOCHS = 3000  # of the three-layer network, by chapter 7's loss-scaled steps


# --- the images ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pools:
    """Images of three kinds, in [0, 1], whose i-th ones share a label; and others to compare."""

    training: data.DataSet  # n images: the truth
    partition: data.DataSet  # n images that no network was trained on
    held_out: data.DataSet  # others that no network was trained on and no attack starts from
    noise: Tensor  # U(0, 1) [n, c, h, w]
    centred: bool  # whether the network sees images without the mean of the training images

    @property
    def signs(self) -> Tensor:
        """Labels of all three kinds, -1 or +1 [n]."""
        return 2.0 * self.training.labels - 1

    @property
    def mean(self) -> Tensor:
        """Of the training images [c, h, w]."""
        return self.training.images.mean(0)

    @property
    def offset(self) -> Tensor:
        """What an image has and the network's input lacks [c, h, w]."""
        return self.mean if self.centred else torch.zeros_like(self.mean)


def pools(
    dataset: str,
    n: int,
    seed: int,
    labels: str | dict[str, list[str]] | None = None,
    held_out: int = 1000,
    device: str = "cpu",
    centred: bool = False,
) -> Pools:
    """Training images, a disjoint partition of n held-out images, the other held-out ones, noise.

    labels, held_out: as for `two_classes.task`. Raises ValueError when less than n held-out
    images are left to compare with.
    """
    training, others = two_classes.task(dataset, n, seed, labels, held_out, device)
    if len(others.images) < 2 * n:
        raise ValueError(
            f"{len(others.images)} held-out images are not enough for a partition of {n} and as "
            "many others to compare with"
        )
    partition, taken = data.balanced_subset(others, n, seed=seed)
    left = torch.ones(len(others.images), dtype=torch.bool)
    left[taken] = False
    noise = torch.rand(training.images.shape, generator=torch.Generator().manual_seed(seed))
    return Pools(
        training,
        partition,
        others.take(left.nonzero()[:, 0].to(others.labels.device)),
        noise.to(training.images),
        centred,
    )


def start(
    pools: Pools, truth_share: float, image_share: float, *, sigma: float = 0.0, seed: int = 0
) -> Tensor:
    """Equation 10 of paper 003, as the network's inputs [n, c, h, w].

    image_share · (truth_share · truth + (1 − truth_share) · partition) + (1 − image_share) · noise.
    sigma: above 0, noise N(0, σ²) instead of all that. Raises ValueError for a share that is not
    in [0, 1].
    """
    for name, share in (("truth_share", truth_share), ("image_share", image_share)):
        if not 0 <= share <= 1:
            raise ValueError(f"{name} is {share}, not between 0 and 1")
    if sigma:
        generator = torch.Generator().manual_seed(seed)
        return sigma * torch.randn(pools.noise.shape, generator=generator).to(pools.noise)
    images = truth_share * pools.training.images + (1 - truth_share) * pools.partition.images
    return image_share * images + (1 - image_share) * pools.noise - pools.offset


# --- the networks ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Victim:
    """A trained network. With an L2 term, decay/2 ‖θ − θ⁰‖², the attacker knows θ⁰ and decay."""

    layers: list[tuple[Tensor, Tensor | None]]  # θ*: (weight [k', k], bias [k'] or None)
    smallest_margin: float
    decay: float = 0.0
    origin: list[tuple[Tensor, Tensor]] | None = None  # θ⁰: zeros for "affine", that is, decay
    change: lower_level.Change | None = None  # θ* − θ⁰ as a product, float64
    sharpness: float | None = None  # of its ReLU; None: the true one


def uniform_weights(
    network: str, inputs: int, seed: int, width: int | None = None
) -> list[tuple[Tensor, Tensor]]:
    """Layers where training starts, every weight from U(0, 1) as in the paper, float64.

    Those of "hidden" are divided by √inputs: at U(0, 1) its outputs lie in the millions, from
    where no line search finds a way down. Those of "smooth" are from U(−1, 1) / √inputs, PyTorch's
    default for the first layer: with positive weights and images all units are active, and what
    training changes in W₁ is a single mixture of images. width: of the hidden layer, twice the
    inputs in the paper.
    """
    widths = [] if network == "affine" else [width or 2 * inputs]
    largest = 1.0 if network == "affine" else inputs**-0.5
    generator = torch.Generator().manual_seed(seed)
    sizes = [inputs, *widths, 1]

    def drawn(*shape: int) -> Tensor:
        uniform = torch.rand(*shape, generator=generator).double()
        return largest * (2 * uniform - 1 if network == "smooth" else uniform)

    return [(drawn(after, before), drawn(after)) for before, after in zip(sizes, sizes[1:])]


def origin_of(
    network: str, inputs: int, seed: int, width: int | None = None
) -> list[tuple[Tensor, Tensor]]:
    """θ⁰, the centre of the L2 term: 0 for "affine", where training starts for the others.

    With plain weight decay all units of a ReLU layer collapse onto a few directions, at the kinks
    of the ReLU, and the Hessian has no inverse; around its start the optimum is one point.
    """
    layers = uniform_weights(network, inputs, seed, width)
    if network == "affine":
        return [(torch.zeros_like(weight), torch.zeros_like(bias)) for weight, bias in layers]
    return layers


def victim(
    network: str, pools: Pools, seed: int, *, width: int | None = None, epochs: int = EPOCHS
) -> Victim:
    """The network trained on the pools' training images; kept in a scratch folder.

    network: one of `NETWORKS`; "smooth" is "hidden" with a smooth ReLU and signed starting
    weights.  width: of the hidden layer of both.  epochs: of the three-layer one, which has no L2
    term.
    """
    if network not in NETWORKS:
        raise ValueError(f"network is {network!r}, known: {', '.join(NETWORKS)}")
    if network == "three-layer":
        return _three_layer(pools, seed, epochs)
    return _regularised(network, pools, seed, width)


def _regularised(network: str, pools: Pools, seed: int, width: int | None) -> Victim:
    x, signs = inputs(pools, pools.training.images), pools.signs.double()
    decay, tolerance = DECAY[network], TOLERANCE[network] / 10
    origin = [
        (weight.to(x), bias.to(x)) for weight, bias in origin_of(network, x.shape[1], seed, width)
    ]

    def fit() -> lower_level.Change:
        problem = lower_level.lower_level(
            x, signs, origin, decay=decay, sharpness=SHARPNESS.get(network)
        )
        return lower_level.solve(problem, tolerance=tolerance).change()

    change = kept(
        [x, signs, network, seed, width, tolerance, decay, SHARPNESS.get(network), *_CODE],
        fit,
        save=lambda found: safetensors.torch.save(
            {str(i): p.contiguous() for i, p in enumerate((found.left, found.right, *found.rest))}
        ),
        load=_unpacked,
    ).to(x)
    layers, sharpness = change.layers(origin), SHARPNESS.get(network)
    smallest = _smallest_margin(layers, x, signs, sharpness)
    return Victim(layers, smallest, decay, origin, change, sharpness)


_CODE = (lower_level.solve, lower_level.lower_level, uniform_weights)


def _unpacked(content: bytes) -> lower_level.Change:
    parts = safetensors.torch.load(content)
    left, right, *rest = (parts[str(index)] for index in range(len(parts)))
    return lower_level.Change(left, right, tuple(rest))


def _three_layer(pools: Pools, seed: int, epochs: int) -> Victim:
    """Biases in all hidden layers, a small first layer, trained far beyond separation."""
    x = pools.training.images - pools.offset
    network = models.MLP(
        x[0].numel(), homogeneous=False, generator=torch.Generator().manual_seed(seed)
    ).to(x.device)

    def fit() -> nn.Module:
        margin.fit_margin_in_span(network, x, pools.signs, epochs=epochs, protocol="loss-scaled")
        return network

    def load(content: bytes) -> nn.Module:
        network.load_state_dict(safetensors.torch.load(content))
        return network

    trained = kept(
        [x, pools.training.labels, seed, epochs, margin.fit_margin_in_span, models.MLP],
        fit,
        save=lambda found: safetensors.torch.save(found.state_dict()),
        load=load,
    )
    layers = [
        (layer.weight.detach(), None if layer.bias is None else layer.bias.detach())
        for layer in trained.layers
    ]
    return Victim(layers, _smallest_margin(layers, x.flatten(1), pools.signs))


def _smallest_margin(
    layers: list, x: Tensor, signs: Tensor, sharpness: float | None = None
) -> float:
    return (signs * outputs_of(layers, x, sharpness)).min().item()


def outputs_of(
    layers: list[tuple[Tensor, Tensor | None]], x: Tensor, sharpness: float | None = None
) -> Tensor:
    """Φ(x; θ) of a network given by its layers, x [n, d] -> [n].  sharpness: of its ReLU."""
    for weight, bias in layers[:-1]:
        x = lower_level.activation(nn.functional.linear(x, weight, bias), sharpness)
    return nn.functional.linear(x, *layers[-1])[:, 0]


def as_module(trained: Victim) -> nn.Module:
    """The network as a module, images [n, d] -> [n, 1]."""
    stages: list[nn.Module] = []
    for weight, bias in trained.layers:
        layer = nn.Linear(weight.shape[1], len(weight), bias=bias is not None, dtype=weight.dtype)
        layer.weight = nn.Parameter(weight)
        if bias is not None:
            layer.bias = nn.Parameter(bias)
        smooth = trained.sharpness
        stages += [layer, nn.ReLU() if smooth is None else nn.Softplus(smooth, threshold=700)]
    return nn.Sequential(*stages[:-1])


def inputs(pools: Pools, images: Tensor) -> Tensor:
    """Images in [0, 1] as the network's inputs, flattened and in float64 [n, d]."""
    return (images - pools.offset).flatten(1).double()


# --- what came out -----------------------------------------------------------------------------------


def judged(
    outputs: Tensor,
    begin: Tensor,
    pools: Pools,
    *,
    attacked: Victim | None = None,
    pictures: bool = False,
    seed: int = 0,
) -> dict:
    """Everything that compares outputs with the truth, the partition, the noise and their start.

    Args:
        outputs, begin: at the end and at the start, as the network's inputs [n, c, h, w].
        attacked: the network whose row space and rows are scored as nulls; None: no nulls. A
            first layer of a single row has none.
        pictures: whether pictures of outputs, nearest training images and starts come along.
        seed: of the span null's draws.
    """
    outputs, begin = (one.to(pools.noise) for one in (outputs, begin))
    at_start = _compared(begin, begin, pools)
    found = {
        **_compared(outputs, begin, pools),
        **{f"{name}_at_start": at_start[name] for name in _AT_START},
        "relative_drift": ((outputs - begin).norm() / begin.norm()).item(),
        "moved": _distances(outputs, begin).diagonal().mean().item(),
        **_per_output(outputs, begin, pools),
    }
    if attacked is not None and len(attacked.layers[0][0]) > 1:
        found |= nulls(attacked, pools, len(outputs), seed)
    return found | (_pictures(outputs, begin, pools) if pictures else {})


_AT_START = (
    "to_truth", "to_partition", "to_noise", "high_frequencies", "auroc", "tpr_at_1_percent",
    "hits", "excess", "close", "median_ncc", "own_image_nearest", "median_psnr",
)  # fmt: skip


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """L2 distance of every pair of images [n, m]; exact where images are equal."""
    exact = "donot_use_mm_for_euclid_dist"
    return torch.cdist(a.flatten(1).double(), b.flatten(1).double(), compute_mode=exact)


def _similarity(images: Tensor, outputs: Tensor, pools: Pools) -> Tensor:
    """NCC of images in [0, 1] and of outputs, both without the training mean [images, outputs]."""
    return matching.ncc(images - pools.mean, outputs + pools.offset - pools.mean)


def _compared(outputs: Tensor, begin: Tensor, pools: Pools) -> dict:
    truth, partition, noise = (
        images - pools.offset
        for images in (pools.training.images, pools.partition.images, pools.noise)
    )
    to_truth = _distances(outputs, truth)
    to_start = _distances(outputs, begin).diagonal()
    on_train = _similarity(pools.training.images, outputs, pools)
    on_held_out = _similarity(pools.held_out.images, outputs, pools)
    own = _similarity(begin + pools.offset, outputs, pools).diagonal()
    squared = to_truth.diagonal().square() / truth[0].numel()
    psnr = (-10 * squared.clamp(min=1e-30).log10()).clamp(max=LARGEST_PSNR)
    index = torch.arange(len(outputs), device=outputs.device)
    return {
        "to_truth": to_truth.amin(1).mean().item(),
        "to_partition": _distances(outputs, partition).amin(1).mean().item(),
        "to_noise": _distances(outputs, noise).amin(1).mean().item(),
        "nearer_to_start_by_distance": _share(to_start < to_truth.amin(1)),
        "nearer_to_start_by_correlation": _share(own > on_train.amax(0)),
        "own_image_nearest": _share(to_truth.argmin(1) == index),
        "median_psnr": psnr.median().item(),
        "high_frequencies": high_frequencies(outputs + pools.offset).mean().item(),
        **two_classes.calibrated(on_train, on_held_out),
    }


def _share(which: Tensor) -> float:
    return which.double().mean().item()


def high_frequencies(images: Tensor) -> Tensor:
    """Share of the spectral energy above half of the Nyquist frequency, [n, c, h, w] -> [n].

    The frequency is the length of its vector, above 1/4 of a cycle a pixel; the mean of each
    channel is left out. An image without contrast has 0.
    """
    energy = torch.fft.fft2(images.double()).abs().square()
    energy[..., 0, 0] = 0
    vertical, horizontal = (torch.fft.fftfreq(side) for side in images.shape[-2:])
    high = (vertical[:, None].square() + horizontal.square()).sqrt() > 1 / 4
    return energy[..., high].sum((1, 2)) / energy.sum((1, 2, 3)).clamp(min=1e-30)


def _per_output(outputs: Tensor, begin: Tensor, pools: Pools) -> dict[str, Tensor]:
    return {
        "nearest_truth_ncc": _similarity(pools.training.images, outputs, pools).amax(0),
        "nearest_partition_ncc": _similarity(pools.partition.images, outputs, pools).amax(0),
        "start_ncc": _similarity(begin + pools.offset, outputs, pools).diagonal(),
        "naturalness": naturalness.naturalness(outputs + pools.offset),
    }


def nulls(attacked: Victim, pools: Pools, count: int, seed: int) -> dict[str, float]:
    """What mixtures of the training images score that nobody solved for, as `two_classes.nulls`.

    With a known θ⁰ both nulls are those of W₁ − W₁⁰. Of the rows null the `MOST_ROWS` longest rows are scored, with both signs.
    """
    shape = tuple(pools.noise.shape[1:])
    spanning, rank = _spanning(attacked)
    rows = attacked.layers[0][0] if rank is None else attacked.change.layers()[0][0]
    rows = rows.to(pools.noise)
    longest = rows[rows.norm(dim=1).argsort(descending=True)[:MOST_ROWS]]
    drawn = [
        rowspace.random_mixtures(
            spanning.to(rows), shape, count, seed=two_classes.DRAWS * seed + draw, rank=rank
        )
        for draw in range(two_classes.DRAWS)
    ]
    both = torch.cat([longest, -longest]).reshape(-1, *shape)
    *spans, found = (
        two_classes.calibrated(
            *two_classes.similarities(pools.training, pools.held_out, candidates)
        )
        for candidates in (*drawn, both)
    )
    span = {name: sum(one[name] for one in spans) / len(spans) for name in found}
    return {
        f"{null}_{name}": value
        for null, measures in (("span", span), ("rows", found))
        for name, value in measures.items()
    }


def _spanning(attacked: Victim) -> tuple[Tensor, int | None]:
    """Rows with the row space and singular values of W₁ − W₁⁰, and its rank where it is known.

    With an L2 term it is left · right, and R · right for left = Q R; else W₁ itself is taken.
    """
    if attacked.change is None:
        return attacked.layers[0][0], None
    few = torch.linalg.qr(attacked.change.left).R @ attacked.change.right
    return few, int(torch.linalg.matrix_rank(few, rtol=1e-6))


def _pictures(outputs: Tensor, begin: Tensor, pools: Pools) -> dict[str, Tensor]:
    nearest = _distances(outputs, pools.training.images - pools.offset).argmin(1)[:SHOWN]
    return {
        "shown_outputs": two_classes.as_pixels(outputs[:SHOWN] + pools.offset),
        "shown_nearest": two_classes.as_pixels(pools.training.images[nearest]),
        "shown_start": two_classes.as_pixels(begin[:SHOWN] + pools.offset),
    }
