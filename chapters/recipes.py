"""Networks of two classes as people train them, one recipe a row, and as they might defend them."""

import copy
import functools
import itertools
import json
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chapters import two_classes
from lib import data, models, predict, private
from lib.losses import NonFiniteLoss

VALIDATED = 200  # images that early stopping looks at, or half of the held-out ones
LOOKS = 10  # it looks after so many steps


@dataclass(frozen=True)
class Recipe:
    """How a network is built, trained and published; the defaults are the plain recipe.

    batch: None takes all images in each step.  decay: weight decay, added to the gradient.
    first_std: of the first layer's initial weights; None is PyTorch's default.
    biases: in every hidden layer, not in the first alone.  flipped_labels: share of labels that
    are wrong.  convolution: strided, before the hidden layers.  public: start from a network that
    was trained on the other classes of the same data set.  privacy: noise multiplier of DP-SGD.
    bits, noise: what the weights are rounded to, and the norm of what is added to those of the
    first layer, as a share of theirs, before they are published.
    layer: the one that is attacked, counted from the image.
    """

    steps: int = 1500
    batch: int | None = 10
    optimiser: str = "sgd"
    lr: float = 0.01
    momentum: float = 0.9
    decay: float = 0.0
    first_std: float | None = 1e-4
    biases: bool = False
    batch_norm: bool = False
    convolution: bool = False
    augment: bool = False
    flipped_labels: float = 0.0
    public: bool = False
    stop_early: bool = False
    privacy: float = 0.0
    bits: int = 0
    noise: float = 0.0
    layer: int = 0

    @property
    def trained(self) -> "Recipe":
        """The same without what is done after training and what is attacked."""
        return replace(self, bits=0, noise=0.0, layer=0)


ADAM = {"optimiser": "adam", "lr": 1e-3, "steps": 500}
PUBLIC = {"public": True, "first_std": None}

# What people do.
RECIPES: dict[str, Recipe] = {
    "plain": Recipe(),
    "full batch": Recipe(batch=None, momentum=0.0, lr=0.1),
    "default initialisation": Recipe(first_std=None),
    "Adam": Recipe(**ADAM),
    "weight decay": Recipe(decay=1e-3),
    "biases everywhere": Recipe(biases=True),
    "augmentation": Recipe(augment=True),
    "batch norm": Recipe(batch_norm=True),
    "convolution": Recipe(convolution=True),
    "behind a convolution": Recipe(convolution=True, layer=1),
    "label noise": Recipe(flipped_labels=0.2),
    "fine-tuned": Recipe(**PUBLIC),
}
# What one might do against it; the plain recipe otherwise.
DEFENCES: dict[str, Recipe] = {
    "first layer at 0.001": Recipe(first_std=1e-3),
    "first layer at 0.01": Recipe(first_std=1e-2),
    "strong weight decay": Recipe(decay=1e-2),
    "early stopping": Recipe(stop_early=True),
    "8 bits": Recipe(bits=8),
    "4 bits": Recipe(bits=4),
    "noise of a tenth": Recipe(noise=0.1),
    "noise as strong": Recipe(noise=1.0),
    "DP-SGD, noise 0.5": Recipe(privacy=0.5, lr=0.1, momentum=0.0, steps=150),
    "DP-SGD, noise 2": Recipe(privacy=2.0, lr=0.1, momentum=0.0, steps=150),
}
KNOWN = RECIPES | DEFENCES


@dataclass(frozen=True)
class Victim:
    """A trained network, what it was trained on, and what is known of it from outside.

    training: the n images, as they are, with their true labels.  mean: theirs, which is taken off
    before anything enters the network.  held_out: never seen in training.  start: of the weights
    and the bias (or None) of each layer that can be attacked, before training.
    signs: labels in {-1, +1} that it was trained with.  epsilon: of DP-SGD, infinite without.
    """

    network: nn.Module
    training: data.DataSet
    held_out: data.DataSet
    mean: Tensor
    start: tuple[tuple[Tensor, Tensor | None], ...]
    signs: Tensor
    epsilon: float


def named(recipe: str) -> Recipe:
    """The recipe of this name.  Raises ValueError for an unknown one."""
    if recipe not in KNOWN:
        raise ValueError(f"unknown recipe {recipe!r}, known: {', '.join(KNOWN)}")
    return KNOWN[recipe]


# --- images ---------------------------------------------------------------------------------------


def private_task(
    dataset: str, n: int, seed: int, labels: str | dict | None, held_out: int, device: str
) -> tuple[data.DataSet, data.DataSet, data.DataSet]:
    """(n images of one class of each group, held-out ones of these, all of the other classes).

    The class is the last of each group of the scheme `labels`, or of that of the data set.
    Raises ValueError when a data set has no other classes.
    """
    whole = data.load(dataset, device=device)
    groups = data.two_classes(whole, dataset, labels)
    if len(whole.classes) < 4:
        raise ValueError(
            f"{whole.name} has {len(whole.classes)} classes: a public network needs two others"
        )
    chosen = [int(whole.labels[groups.labels == k].max()) for k in (0, 1)]
    mine = sum(whole.labels == k for k in chosen).bool()
    two = replace(
        whole.take(mine.nonzero()[:, 0]),
        labels=groups.labels[mine],
        classes=tuple(whole.classes[k] for k in chosen),
    )
    rest = [k for k in range(len(whole.classes)) if k not in chosen]
    others = whole.take((~mine).nonzero()[:, 0])
    renamed = torch.tensor([rest.index(int(k)) for k in others.labels], device=others.labels.device)
    others = replace(others, labels=renamed, classes=tuple(whole.classes[k] for k in rest))
    return *data.split_held_out(two, n, held_out, seed=seed), others


def augmented(x: Tensor, generator: torch.Generator) -> Tensor:
    """Each image [n, c, h, w] flipped or not, and shifted by up to an eighth; 0 moves in."""
    n, _, side, _ = x.shape
    most = max(1, side // 8)
    flip = torch.rand(n, generator=generator) < 0.5
    x = torch.where(flip.to(x.device)[:, None, None, None], x.flip(-1), x)
    padded = F.pad(x, (most,) * 4)
    dy, dx = torch.randint(2 * most + 1, (2, n), generator=generator).tolist()
    return torch.stack([one[:, j : j + side, i : i + side] for one, j, i in zip(padded, dy, dx)])


# --- networks -------------------------------------------------------------------------------------


class Convolved(nn.Module):
    """A strided convolution, 32 kernels of 5 x 5 pixels, ReLU, and an MLP on what it gives.

    mlp: an MLP for so many inputs.  The map is about 8 pixels wide.
    """

    def __init__(self, shape: tuple[int, int, int], mlp, generator: torch.Generator):
        super().__init__()
        stride = max(2, shape[1] // 8)
        self.convolution = nn.Conv2d(shape[0], 32, 5, stride=stride, padding=2)
        bound = self.convolution.weight[0].numel() ** -0.5
        for parameter in self.convolution.parameters():
            nn.init.uniform_(parameter, -bound, bound, generator=generator)
        high, wide = ((side - 1) // stride + 1 for side in shape[1:])
        self.mlp = mlp(32 * high * wide)

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(self.convolution(x).relu())


class Normalised(nn.Module):
    """The layers of an MLP with batch norm after each hidden one, which makes biases needless."""

    def __init__(self, mlp: models.MLP):
        super().__init__()
        self.layers = mlp.layers
        self.layers[0].bias = None
        self.norms = nn.ModuleList(nn.BatchNorm1d(layer.out_features) for layer in mlp.layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for layer, norm in zip(self.layers, self.norms):
            x = norm(layer(x)).relu()
        return self.layers[-1](x).squeeze(1)


def build(recipe: Recipe, shape: tuple[int, int, int], width: int, seed: int) -> nn.Module:
    """The untrained network of a recipe, with two hidden layers of this width and one output."""
    generator = torch.Generator().manual_seed(seed)

    def mlp(inputs: int) -> models.MLP:
        return models.MLP(
            inputs,
            (width, width),
            first_std=recipe.first_std,
            homogeneous=not recipe.biases,
            generator=generator,
        )

    if recipe.convolution:
        return Convolved(shape, mlp, generator)
    network = mlp(shape[0] * shape[1] * shape[2])
    return Normalised(network) if recipe.batch_norm else network


def layers(network: nn.Module) -> list[nn.Linear | nn.Conv2d]:
    """Layers with a weight matrix, from the image on."""
    return [m for m in network.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]


@torch.no_grad()
def entering(network: nn.Module, layer: int, x: Tensor) -> Tensor:
    """What enters a layer for images x [n, c, h, w] -> [n, parts, c', h', w'].

    One part an image, or for a convolution all the patches that a kernel meets.
    """
    first = layers(network)[0]
    if not isinstance(first, nn.Conv2d):
        return x[:, None]
    if layer:
        return first(x).relu()[:, None]
    patches = F.unfold(x, first.kernel_size, padding=first.padding, stride=first.stride)
    return patches.mT.reshape(len(x), -1, x.shape[1], *first.kernel_size)


# --- training -------------------------------------------------------------------------------------


def fit(network: nn.Module, x: Tensor, signs: Tensor, recipe: Recipe, seed: int, watch=None):
    """Train in place on the logistic loss, x [n, c, h, w], signs {-1, +1} [n].

    watch: called after every tenth step; training ends where it returns True.
    Raises NonFiniteLoss.
    """
    generator = torch.Generator().manual_seed(seed)
    order = _batches(len(x), min(recipe.batch or len(x), len(x)), generator)
    optimizer = _optimizer(network, recipe)
    network.train()
    for step in range(1, recipe.steps + 1):
        chosen = next(order).to(x.device)
        inputs = augmented(x[chosen], generator) if recipe.augment else x[chosen]
        optimizer.zero_grad(set_to_none=True)
        loss = F.softplus(-signs[chosen] * network(inputs)).mean()
        loss.backward()
        optimizer.step()
        if not torch.isfinite(loss):
            raise NonFiniteLoss(f"the loss is not finite at step {step}: lower the learning rate")
        if watch and step % LOOKS == 0 and watch():
            break
    network.eval()


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimiser == "adam":
        return torch.optim.Adam(
            network.parameters(), lr=recipe.lr, weight_decay=recipe.decay, fused=True
        )
    return torch.optim.SGD(
        network.parameters(),
        lr=recipe.lr,
        momentum=recipe.momentum,
        weight_decay=recipe.decay,
        fused=True,
    )


def _batches(n: int, batch: int, generator: torch.Generator):
    """Indices [batch], epoch after epoch, without the incomplete one of each."""
    while True:
        yield from torch.randperm(n, generator=generator)[: n - n % batch].split(batch)


def in_span(network: nn.Module, x: Tensor, train) -> None:
    """Train in the n dimensions that the inputs span: the same steps, fewer operations.

    For recipes whose steps move the first layer along gradients only: every gradient of its
    weight is a combination of the inputs.  train: called with the coordinates of x.
    """
    first = layers(network)[0]
    flat = x.flatten(1)
    basis = torch.linalg.qr(flat.T).Q.T
    initial = first.weight.detach()
    projected = initial @ basis.T
    first.weight = nn.Parameter(projected.clone())
    try:
        train(flat @ basis.T)
    finally:
        first.weight = nn.Parameter(initial + (first.weight.detach() - projected) @ basis)


def stays_in_span(recipe: Recipe) -> bool:
    """Whether the first layer only ever moves along its gradients at the training images."""
    other = (recipe.decay, recipe.augment, recipe.convolution, recipe.stop_early, recipe.privacy)
    return recipe.optimiser == "sgd" and not any(other)


class Patience:
    """Keeps the weights of the lowest validation loss; True after thirty looks without a lower."""

    def __init__(self, network: nn.Module, x: Tensor, signs: Tensor):
        self.network, self.x, self.signs = network, x, signs
        self.best, self.kept, self.since = float("inf"), network.state_dict(), 0

    @torch.no_grad()
    def __call__(self) -> bool:
        loss = F.softplus(-self.signs * self.network(self.x)).mean().item()
        self.since += 1
        if loss < self.best:
            self.best, self.since = loss, 0
            self.kept = copy.deepcopy(self.network.state_dict())
        return self.since >= 30


def public_network(others: data.DataSet, shape, width: int, seed: int) -> models.MLP:
    """An MLP trained on images of other classes, its last layer new, with one output."""
    generator = torch.Generator().manual_seed(seed + 1000)
    x = others.images - others.images.mean(0)
    network = models.MLP(
        x[0].numel(), (width, width), len(others.classes), first_std=None, generator=generator
    ).to(x.device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, fused=True)
    for chosen in itertools.islice(_batches(len(x), min(50, len(x)), generator), 1000):
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(network(x[chosen]), others.labels[chosen]).backward()
        optimizer.step()
    head = nn.Linear(width, 1, bias=False)
    nn.init.uniform_(head.weight, -(width**-0.5), width**-0.5, generator=generator)
    network.layers[-1] = head.to(x.device)
    return network


def victim(
    dataset: str,
    n: int,
    seed: int,
    recipe: Recipe,
    *,
    width: int = 1000,
    labels: str | dict | None = None,
    held_out: int = 1000,
    device: str = "cpu",
) -> Victim:
    """Train a network by a recipe on n images; the last one is kept in memory for the next attack.

    dataset, n, labels, held_out: as for `two_classes.task`.  width: of two hidden layers.
    """
    where = (dataset, n, seed, json.dumps(labels), held_out, device)
    return _victim(where, recipe.trained, width)


@functools.lru_cache(maxsize=1)
def _victim(where: tuple, recipe: Recipe, width: int) -> Victim:
    dataset, n, seed, labels, held_out, device = where
    task = (dataset, n, seed, json.loads(labels), held_out, device)
    if recipe.public:
        training, strangers, others = private_task(*task)
    else:
        training, strangers = two_classes.task(*task)
    x, signs, mean = two_classes.centred(training)
    shape = tuple(x.shape[1:])
    if recipe.public:
        network = public_network(others, shape, width, seed)
    else:
        network = build(recipe, shape, width, seed).to(x.device)
    wrong = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    signs[wrong[: round(recipe.flipped_labels * n)].to(signs.device)] *= -1
    start = tuple(map(_parameters, layers(network)[:2]))
    epsilon = float("inf")
    if recipe.privacy:
        epsilon = private.fit_private(
            network, x, signs, steps=recipe.steps, batch=min(recipe.batch, n), lr=recipe.lr,
            noise=recipe.privacy, delta=0.1 / n, seed=seed,
        )  # fmt: skip
        network.eval()
    elif recipe.stop_early:
        few = min(VALIDATED, held_out // 2)
        validation, strangers = data.split_held_out(strangers, few, held_out - few, seed=seed)
        watch = Patience(network, validation.images - mean, 2.0 * validation.labels - 1)
        fit(network, x, signs, recipe, seed, watch)
        network.load_state_dict(watch.kept)
    elif stays_in_span(recipe):
        in_span(network, x, lambda coordinates: fit(network, coordinates, signs, recipe, seed))
    else:
        fit(network, x, signs, recipe, seed)
    return Victim(network, training, strangers, mean, start, signs, epsilon)


def _parameters(layer: nn.Module) -> tuple[Tensor, Tensor | None]:
    bias = None if layer.bias is None else layer.bias.detach().clone()
    return layer.weight.detach().clone(), bias


@torch.no_grad()
def publish(network: nn.Module, recipe: Recipe, seed: int) -> nn.Module:
    """What is handed out: a copy with weights rounded to `bits` and noise on the first layer.

    Rounded are all weight matrices, each to 2^bits - 1 values evenly spaced up to its largest.
    """
    network = copy.deepcopy(network)
    if recipe.bits:
        for layer in layers(network):
            step = layer.weight.abs().max() / (2 ** (recipe.bits - 1) - 1)
            layer.weight.copy_((layer.weight / step).round() * step)
    if recipe.noise:
        weight = layers(network)[0].weight
        random = torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed))
        weight += recipe.noise * weight.norm() / random.norm() * random.to(weight)
    return network


@torch.no_grad()
def accuracy(network: nn.Module, x: Tensor, signs: Tensor) -> float:
    """Share of inputs x [n, ...] whose output has the right sign, in {-1, +1} [n]."""
    right = [
        predict.one_output(network(part)) * own > 0
        for part, own in zip(x.split(500), signs.split(500))
    ]
    return torch.cat(right).double().mean().item()
