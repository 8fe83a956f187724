"""Checks of paper 004 that two CPU cores decide: its parts by themselves, and twins of its attack."""

import math
import statistics
import time
from collections.abc import Callable

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from chapters.two_classes import (
    DRAWS,
    RELEASED,
    calibrated,
    centred,
    first_layer,
    similarities,
    task,
)
from harness.scratch import kept
from lib import kkt, margin, matching, models, reconstruction, rowspace
from lib.data import DataSet
from lib.losses import NonFiniteLoss

LOOKED_AT = 100  # training looks at its loss after so many steps


# --- parts by themselves ----------------------------------------------------------------------


def padding(
    dataset: str,
    n: int,
    seed: int,
    width: int,
    loss: float,
    epochs: int,
    labels: str | dict[str, list[str]] | None = None,
    held_out: int = 1000,
) -> dict:
    """The stationarity loss (eq 6) of one solution, padded and duplicated, in float64 (§3.2).

    The solution: the training images with their best multipliers.  Padded: n random points with
    multiplier 0 beside them.  Duplicated: every image twice, with half its multiplier each.
    width, loss, epochs: as for `trained`; labels, held_out: as for `task`.
    """
    training, _ = task(dataset, n, seed, labels, held_out)
    x, signs, _ = centred(training)
    network, _ = trained(x, signs, seed=seed, width=width, loss=loss, epochs=epochs)
    layers = [
        (weight.double(), None if bias is None else bias.double())
        for weight, bias in kkt.mlp_layers(network)
    ]
    flat = x.flatten(1).double()
    _, multipliers = kkt.kkt_residual(layers, flat, signs)
    c = multipliers.double() * signs.double()
    noise = torch.randn(flat.shape, generator=torch.Generator().manual_seed(seed)).to(flat)

    def loss_of(points: Tensor, weights: Tensor) -> float:
        signals = kkt.signals(layers, points, None)
        return kkt.stationarity_parameters(layers, signals, weights).item()

    solution = loss_of(flat, c)
    padded = loss_of(torch.cat([flat, noise]), torch.cat([c, torch.zeros_like(c)]))
    duplicated = loss_of(torch.cat([flat, flat]), torch.cat([c, c]) / 2)
    return {
        "solution": solution,
        "squared_norm": sum(kkt.squared_norms(layers)).item(),
        "change_padded": abs(padded - solution),
        "change_duplicated": abs(duplicated - solution),
    }


def counts(inputs: int = 3072, images: int = 500) -> dict:
    """Parameters of the paper's network at two widths, and unknown pixels (§3.2)."""
    return {
        **{f"parameters_width_{width}": parameters(inputs, width) for width in (1000, 100)},
        "unknowns": images * inputs,
    }


def parameters(inputs: int, width: int) -> int:
    """Number of parameters of a network of two hidden layers, biases in the first alone."""
    return sum(p.numel() for p in models.MLP(inputs, (width, width)).parameters())


SEARCHES = ("ncc", "ncc of halves", "ssim")
WINDOWS = (3, 7, 11)
VOTES = {"mean of those within 0.9": 0.9, "nearest alone": 1.0}


def post_processing(
    dataset: str,
    n: int,
    seed: int,
    labels: str | dict[str, list[str]] | None = None,
    held_out: int = 1000,
) -> dict:
    """The paper's post-processing (B.3) on candidates made of the images, with every choice.

    The pool holds three noisy copies of each training image, of any contrast, as many held-out
    images and as much noise. A pair is found when an image's nearest candidate is a copy of it.
    Windows that do not fit the images are left out.  labels, held_out: as for `task`.
    """
    training, others = task(dataset, n, seed, labels, held_out)
    x, _, mean = centred(training)
    made, owner = made_up(x, others.images[: 3 * n] - mean, seed)
    pool = made + mean
    values: dict = {"ssim_deviation": 0.0, "search": [], "vote": [], "window": []}
    values |= {"found": [], "mean_ssim": [], "above": []}
    windows = [window for window in WINDOWS if window <= min(x.shape[-2:])]
    for search in SEARCHES:
        nearness = nearest_by(search, training.images, pool, mean)
        found = (owner[nearness.argmax(1)] == torch.arange(n)).double().mean().item()
        for vote, share in VOTES.items():
            for window in windows:
                matches = matching.match(training.images, pool, nearness, window=window, vote=share)
                again = plain_ssim(training.images[matches.order], matches.reconstructions, window)
                off = (again - matches.ssim).abs().max().item()
                values["ssim_deviation"] = max(values["ssim_deviation"], off)
                row = (search, vote, window, found, matches.ssim.mean().item())
                for name, value in zip(("search", "vote", "window", "found", "mean_ssim"), row):
                    values[name].append(value)
                values["above"].append(int((matches.ssim > 0.4).sum()))
    values["made_up_pairs_found"] = values["found"][0]  # by NCC, as B.3 has it
    return values


def made_up(x: Tensor, strangers: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """(candidates [3n + 2k, c, h, w], the image that each is a copy of, -1 for none [3n + 2k]).

    x [n, c, h, w] and strangers [k, c, h, w] are without the mean of the training images.
    """
    generator = torch.Generator().manual_seed(seed)
    copies = x.repeat(3, 1, 1, 1)
    contrast = 0.2 + 2 * torch.rand(len(copies), 1, 1, 1, generator=generator)
    noise = torch.randn(copies.shape, generator=generator)
    spread = copies.flatten(1).std(1)[:, None, None, None]
    nothing = torch.randn(strangers.shape, generator=generator)
    pool = torch.cat([contrast * (copies + 0.5 * spread * noise), strangers, x.std() * nothing])
    owner = torch.full((len(pool),), -1)
    owner[: len(copies)] = torch.arange(len(x)).repeat(3)
    return pool, owner


def nearest_by(search: str, targets: Tensor, pool: Tensor, mean: Tensor) -> Tensor:
    """How near each candidate is to each target [n, m], by a search of `SEARCHES`."""
    if search == "ncc":
        return matching.ncc(targets - mean, pool - mean)
    if search == "ncc of halves":
        return matching.ncc(*(F.avg_pool2d(images - mean, 2) for images in (targets, pool)))
    if search != "ssim":
        raise ValueError(f"unknown search {search!r}, known: {', '.join(SEARCHES)}")
    shown = matching.stretch(pool)
    return torch.stack([plain_ssim(image.expand(shown.shape), shown, 3) for image in targets])


def plain_ssim(a: Tensor, b: Tensor, window: int) -> Tensor:
    """Structural similarity of pairs [n, c, h, w] in [0, 1] by its formula -> [n], float64.

    Wang et al. 2004, eq 13, over all windows that lie inside, of equal weight, with unbiased
    variances: a second way to `matching.ssim`.
    """

    def windows(images: Tensor) -> Tensor:
        flat = images.double().reshape(-1, 1, *images.shape[-2:])
        return F.unfold(flat, window)  # [n·c, window², places]

    one, other = windows(a), windows(b)
    mean_one, mean_other = one.mean(1), other.mean(1)
    covariance = ((one - mean_one[:, None]) * (other - mean_other[:, None])).sum(1) / (
        window**2 - 1
    )
    luminance = (2 * mean_one * mean_other + 1e-4) / (mean_one**2 + mean_other**2 + 1e-4)
    structure = (2 * covariance + 9e-4) / (one.var(1) + other.var(1) + 9e-4)
    return (luminance * structure).mean(1).reshape(len(a), -1).mean(1)


def by_gram(layers: kkt.Layers, x: Tensor, c: Tensor, alpha: float) -> Tensor:
    """Eq 6 by inner products of gradients, in every layer."""
    return kkt.stationarity_gram(layers, kkt.signals(layers, x, alpha), c)


def by_autograd(layers: kkt.Layers, x: Tensor, c: Tensor, alpha: float) -> Tensor:
    """Eq 6 by differentiating the network, to be differentiated once more."""
    layers = [
        (w.clone().requires_grad_(), None if b is None else b.clone().requires_grad_())
        for w, b in layers
    ]
    weights = [p for pair in layers for p in pair if p is not None]
    return kkt.stationarity_autograd(
        lambda points: smoothed_forward(layers, points, alpha), weights, x, c
    )


FORMS = {"gram": by_gram, "mixed": kkt.stationarity, "plain": by_autograd}


def smoothed_forward(layers: kkt.Layers, x: Tensor, alpha: float) -> Tensor:
    """Φ(θ; x) [m] of an MLP with the smoothed derivative, for differentiating twice."""
    for depth, (weight, bias) in enumerate(layers):
        x = F.linear(x, weight, bias)
        x = kkt.smoothed_relu(x, alpha) if depth < len(layers) - 1 else x
    return x.squeeze(1)


def step_cost(m: int, inputs: int, width: int, steps: int, seed: int) -> dict:
    """Seconds of one step of the attack (value and gradient of eq 6) in three forms (B.1).

    gram: by inner products of gradients.  mixed: each layer's cheaper form, which the attack of
    this book uses.  plain: by differentiating twice, as the released code does. The forms take
    turns; each has the median of `steps` steps. Their values agree within `deviation`, relative.
    """
    generator = torch.Generator().manual_seed(seed)
    network = models.MLP(inputs, (width, width), first_std=None, generator=generator)
    layers = kkt.mlp_layers(network)
    x = (torch.randn(m, inputs, generator=generator) / inputs**0.5).requires_grad_()
    c = (torch.randn(m, generator=generator) / m).requires_grad_()
    seconds: dict[str, list[float]] = {form: [] for form in FORMS}
    values = {}
    for _ in range(steps + 1):  # the first is not counted
        for form, loss_of in FORMS.items():
            started = time.perf_counter()
            loss = loss_of(layers, x, c, 100.0)
            torch.autograd.grad(loss, (x, c))
            seconds[form].append(time.perf_counter() - started)
            values[form] = loss.item()
    return {
        **{f"{form}_seconds": statistics.median(times[1:]) for form, times in seconds.items()},
        "deviation": max(abs(v / values["plain"] - 1) for v in values.values()),
    }


# --- twins of the attack ----------------------------------------------------------------------

SHIFT = 0.5  # added to every pixel of what the network sees
# What a twin changes in the released settings; what the network sees is another for "shifted".
TWINS: dict[str, Callable[[dict], dict]] = {
    "released": lambda released: {},
    "true derivative": lambda released: {"alpha": None},
    "no smallest multiplier": lambda released: {"lambda_min": 0.0},
    "no prior": lambda released: {"prior_weight": 0.0},
    "ten times the noise": lambda released: {"sigma": 10 * released["sigma"]},
    "shifted": lambda released: {},
}
# Standard deviation of the first layer's initial weights, for d inputs.
FIRST: dict[str, Callable[[int], float]] = {
    "1e-4": lambda d: 1e-4,
    "1e-3": lambda d: 1e-3,
    "1e-2": lambda d: 1e-2,
    "He": lambda d: (2 / d) ** 0.5,
}


def twin(
    dataset: str,
    n: int,
    seed: int,
    loss: float,
    epochs: int,
    iterations: int,
    change: str = "released",
    first: str = "1e-4",
    width: int = 1000,
    per_image: int = 2,
    labels: str | dict[str, list[str]] | None = None,
    held_out: int = 1000,
    device: str = "cpu",
) -> dict:
    """The paper's attack with one thing changed, on a network trained to a given loss.

    Args:
        loss, epochs: the mean training loss that the paper's constant steps go down to, and the
            most steps that they may take.
        iterations: of the attack; the paper has 100,000 (B.2), its code 50,000.
        change: a key of `TWINS`; first: a key of `FIRST`.
        per_image: candidates for each training image; the paper has 2.
        labels, held_out: as for `task`.
    """
    for name, known in ((change, TWINS), (first, FIRST)):
        if name not in known:
            raise ValueError(f"unknown twin {name!r}, known: {', '.join(known)}")
    training, others = task(dataset, n, seed, labels, held_out, device)
    x, signs, _ = centred(training)
    seen = x + SHIFT if change == "shifted" else x
    std = FIRST[first](x[0].numel())
    network, taken = trained(
        seen, signs, seed=seed, width=width, loss=loss, epochs=epochs, first_std=std
    )
    released = RELEASED["cifar" if x.shape[1] == 3 else "mnist"]
    m, scale = per_image * n, 1 / (per_image * n)
    started = time.perf_counter()
    solved = reconstruction.kkt_attack(
        network,
        m,
        tuple(x.shape[1:]),
        iterations=iterations,
        lr_multipliers=1e-4,
        gradient_scale=scale,
        seed=seed,
        **released | TWINS[change](released),
    )
    seconds = time.perf_counter() - started
    layers = kkt.mlp_layers(network)
    norm = sum(kkt.squared_norms(layers))
    with torch.no_grad():
        left = kkt.stationarity(
            layers, solved.candidates.flatten(1), scale * solved.multipliers * solved.signs
        )
        q = margin.margins(network, seen, signs)
    return {
        "attack_seconds": seconds,
        "epochs_taken": taken,
        "training_loss": margin.log_logistic_loss(q).exp().item(),
        "smallest_margin": q.min().item(),
        "parameters_over_unknowns": parameters(x[0].numel(), width) / x.numel(),
        "kkt_residual": kkt.kkt_residual(layers, seen, signs)[0],
        "residual": (left / norm).item(),
        "smoothed_residual": solved.residuals[-1],
        **_judged(network, training, others, solved.candidates, seed),
    }


def _judged(network: nn.Module, training: DataSet, others: DataSet, candidates: Tensor, seed: int):
    """What calibration says of candidates, and of two nulls on the same network.

    span: as many random mixtures of the n strongest directions of the first layer, because none
    stands out of its noise after a standard initialisation; mean of `DRAWS` draws.  rows: those
    of the first layer.
    """
    weight, shape = kkt.mlp_layers(network)[0][0], tuple(candidates.shape[1:])
    rank = min(len(training), *weight.shape)
    on_train, on_held_out = similarities(training, others, candidates)
    drawn = []
    for draw in range(DRAWS):
        mixed = rowspace.random_mixtures(
            weight, shape, len(candidates), seed=DRAWS * seed + draw, rank=rank
        )
        drawn.append(calibrated(*similarities(training, others, mixed)))
    rows = first_layer(network, shape, len(training), seed).candidates
    return {
        **calibrated(on_train, on_held_out),
        **{f"span_{name}": sum(one[name] for one in drawn) / DRAWS for name in drawn[0]},
        **{
            f"rows_{name}": value
            for name, value in calibrated(*similarities(training, others, rows)).items()
        },
        "best_ncc": on_train.amax(1),
        "best_ncc_held_out": on_held_out.amax(1),
    }


def trained(
    x: Tensor,
    signs: Tensor,
    *,
    seed: int,
    width: int,
    loss: float,
    epochs: int,
    first_std: float = 1e-4,
    folder: str = "_build/networks",
) -> tuple[nn.Module, int]:
    """(network, steps taken): the paper's constant steps until the mean loss is at most `loss`.

    x [n, c, h, w], signs [n].  epochs: the most steps, looked at every `LOOKED_AT`.  Raises
    ValueError for a loss that is not above 0, or one that these steps do not reach.
    """
    if not loss > 0:
        raise ValueError(f"a training loss of {loss:g} is never reached: it must be above 0")
    generator = torch.Generator().manual_seed(seed)
    network = models.MLP(x[0].numel(), (width, width), first_std=first_std, generator=generator).to(
        x.device
    )

    def fit() -> tuple[nn.Module, int]:
        for taken in range(LOOKED_AT, epochs + 1, LOOKED_AT):
            history = margin.fit_margin_in_span(
                network, x, signs, epochs=LOOKED_AT, protocol="constant"
            )
            if history["log_loss"][-1] <= math.log(loss):
                return network, taken
        raise ValueError(f"{epochs} steps did not bring the training loss down to {loss:g}")

    def save(found: tuple[nn.Module, int]) -> bytes:
        return safetensors.torch.save({**found[0].state_dict(), "taken": torch.tensor(found[1])})

    def load(content: bytes) -> tuple[nn.Module, int]:
        state = safetensors.torch.load(content)
        taken = int(state.pop("taken"))
        network.load_state_dict(state)
        return network, taken

    code = [margin.fit_margin_in_span, models.MLP]
    key = [x, signs, seed, width, loss, epochs, first_std, LOOKED_AT, *code]
    return kept(key, fit, save=save, load=load, folder=folder)


# --- a convolutional network ------------------------------------------------------------------


class Strided(nn.Module):
    """Two 3 × 3 convolutions of stride 2, ReLU after each, and a linear head: homogeneous.

    A bias in the first layer alone; its initial values are as small as the paper's MLP has them.
    """

    def __init__(
        self, channels: int, size: int, *, first_std: float = 1e-4, generator: torch.Generator
    ):
        super().__init__()
        self.first = nn.Conv2d(channels, 16, 3, stride=2, padding=1)
        self.second = nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False)
        places = math.ceil(math.ceil(size / 2) / 2) ** 2
        self.head = nn.Linear(32 * places, 1, bias=False)
        for layer in (self.second, self.head):
            bound = layer.weight[0].numel() ** -0.5
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
        for parameter in self.first.parameters():
            nn.init.normal_(parameter, std=first_std, generator=generator)

    def forward(self, x: Tensor, alpha: float | None = None) -> Tensor:
        """x [m, c, size, size] -> Φ [m]; alpha: as for `kkt.smoothed_relu`."""
        for convolution in (self.first, self.second):
            x = kkt.smoothed_relu(convolution(x), alpha)
        return self.head(x.flatten(1)).squeeze(1)


def generic_attack(
    network: nn.Module,
    m: int,
    shape: tuple[int, int, int],
    *,
    iterations: int,
    lr: float = 0.02,
    lr_multipliers: float = 0.02,
    sigma: float = 0.1,
    alpha: float = 20.0,
    seed: int,
) -> tuple[Tensor, list[float]]:
    """(candidates [m, *shape], residual by iteration): eq 6 by differentiating twice.

    Adam on candidates and on multipliers, which are kept at 0 or above; half of the candidates
    have each label. Raises NonFiniteLoss when the loss is not finite.

    Args:
        network: takes x [m, *shape] and the slope of the smoothed derivative.
        sigma: standard deviation of the initial candidates.
        alpha: slope of the smoothed ReLU derivative.
    """
    weights = [parameter.detach().clone().requires_grad_() for parameter in network.parameters()]
    names = [name for name, _ in network.named_parameters()]
    generator = torch.Generator().manual_seed(seed)
    x = (sigma * torch.randn(m, *shape, generator=generator)).to(weights[0])
    signs = reconstruction.half_signs(m, weights[0].detach())
    lam = torch.rand(m, generator=generator).to(x).div(m).requires_grad_()
    x.requires_grad_()
    norm = sum(weight.detach().square().sum() for weight in weights)

    def forward(points: Tensor) -> Tensor:
        return functional_call(network, dict(zip(names, weights)), (points, alpha))

    optimizer = torch.optim.Adam(
        [{"params": [x], "lr": lr}, {"params": [lam], "lr": lr_multipliers / m}]
    )
    residuals = []
    for step in range(iterations):
        loss = kkt.stationarity_autograd(forward, weights, x, lam * signs) / norm
        residuals.append(loss.item())
        if not math.isfinite(residuals[-1]):
            raise NonFiniteLoss(f"generic_attack: the loss is {residuals[-1]} at step {step}")
        x.grad, lam.grad = torch.autograd.grad(loss, (x, lam))
        optimizer.step()
        with torch.no_grad():
            lam.clamp_(min=0)
    return x.detach(), residuals


def convolutional(
    dataset: str,
    n: int,
    seed: int,
    epochs: int,
    iterations: int,
    labels: str | dict[str, list[str]] | None = None,
    held_out: int = 1000,
    device: str = "cpu",
) -> dict:
    """The equations of a small convolutional network, attacked by differentiating twice (§6).

    epochs: loss-scaled steps of training.  The null: as many random mixtures of the training
    images themselves, which no attacker has.
    """
    training, others = task(dataset, n, seed, labels, held_out, device)
    x, signs, _ = centred(training)
    generator = torch.Generator().manual_seed(seed)
    network = Strided(*x.shape[1:3], generator=generator).to(x.device)
    margin.fit_margin(network, x, signs, epochs=epochs)
    started = time.perf_counter()
    candidates, residuals = generic_attack(
        network, 2 * n, tuple(x.shape[1:]), iterations=iterations, seed=seed
    )
    seconds = time.perf_counter() - started
    mixtures = rowspace.random_mixtures(
        x.flatten(1), tuple(x.shape[1:]), 2 * n, seed=seed, rank=n - 1
    )
    of_mixtures = calibrated(*similarities(training, others, mixtures))
    on_train, on_held_out = similarities(training, others, candidates)
    with torch.no_grad():
        q = margin.margins(network, x, signs)
    return {
        "attack_seconds": seconds,
        "smallest_margin": q.min().item(),
        "residual": residuals[-1],
        **calibrated(on_train, on_held_out),
        **{f"mixtures_{name}": value for name, value in of_mixtures.items()},
        "best_ncc": on_train.amax(1),
        "best_ncc_held_out": on_held_out.amax(1),
    }
