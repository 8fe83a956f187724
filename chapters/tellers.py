"""The attacks whose hits chapter 8 tells from what looks like them, each from several starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import safetensors.torch
import torch
from torch import Tensor, nn

from chapters.two_classes import LAYER_WEIGHTS, RELEASED, centred
from harness.scratch import kept
from lib import data, general_kkt, kkt, margin, models, reconstruction, rowspace, unmixing

STEPS = {"kkt released": 2000, "kkt eliminated": 300, "kkt from other images": 300}


def released_for(shape: tuple[int, int, int]) -> dict[str, float]:
    """The settings released for paper 004, the first of the two published for colour or grey."""
    return dict(RELEASED["cifar" if shape[0] == 3 else "mnist"])


@dataclass(frozen=True)
class Given:
    """All that an attacker has: the network, its number and shape of images, and images of its own.

    own: images that the network was not trained on, as its inputs [starts, n, c, h, w].
    """

    network: nn.Module
    n: int
    shape: tuple[int, int, int]
    own: Tensor
    seed: int
    steps: int | None = None

    @property
    def first(self) -> tuple[Tensor, Tensor | None]:
        """W₁ [k, d] and its bias [k]."""
        return kkt.mlp_layers(self.network)[0]

    def seed_of(self, start: int) -> int:
        return self.seed + 100 * start


def _unmixed(given: Given, start: int) -> Tensor:
    """Each component once, with the sign that `lib.unmixing` puts first."""
    weight, bias = given.first
    both = unmixing.unmix(weight, given.shape, seed=given.seed_of(start), bias=bias).candidates
    return both[::2]


def _fast_ica(given: Given, start: int) -> Tensor:
    both = rowspace.unmix(given.first[0], given.shape, seed=given.seed_of(start))
    return facing(given.network, both[: len(both) // 2])


def _rows(given: Given, start: int) -> Tensor:
    """The longest rows of W₁; nothing is random in them, so a start is every so many-th of them."""
    rows = given.first[0]
    rows = rows[rows.norm(dim=1).argsort(descending=True, stable=True)]
    count = len(given.own)
    rows = rows[: 2 * given.n * count][start::count].reshape(-1, *given.shape)
    return facing(given.network, rows / rows.flatten(1).abs().amax(1)[:, None, None, None])


def _eliminated(given: Given, start: int) -> Tensor:
    return reconstruction.eliminated_attack(
        given.network,
        2 * given.n,
        given.shape,
        iterations=given.steps,
        lr=0.1,
        layer_weights=LAYER_WEIGHTS,
        seed=given.seed_of(start),
    ).candidates


def _released(given: Given, start: int) -> Tensor:
    return reconstruction.kkt_attack(
        given.network,
        2 * given.n,
        given.shape,
        iterations=given.steps,
        lr_multipliers=1e-4,
        gradient_scale=1 / (2 * given.n),
        seed=given.seed_of(start),
        **released_for(given.shape),
    ).candidates


def _from_other_images(given: Given, start: int) -> Tensor:
    """The paper's attack from images of the attacker's own, labelled as the network does."""
    x = given.own[start].flatten(1)
    layers = kkt.mlp_layers(given.network)
    signs = torch.where(kkt.signals(layers, x, None).outputs < 0, -1.0, 1.0).to(x)
    chosen = released_for(given.shape)
    del chosen["sigma"]
    return general_kkt.descend_released(
        general_kkt.of_layers(layers, alpha=chosen.pop("alpha")),
        signs,
        x,
        steps=given.steps,
        lr_multipliers=1e-4,
        gradient_scale=1 / len(x),
        exact=general_kkt.of_layers(layers),
        seed=given.seed_of(start),
        **chosen,
    ).images.reshape(-1, *given.shape)


ATTACKS: dict[str, Callable[[Given, int], Tensor]] = {
    "unmixed": _unmixed,
    "FastICA": _fast_ica,
    "rows": _rows,
    "kkt eliminated": _eliminated,
    "kkt released": _released,
    "kkt from other images": _from_other_images,
}
SIGN_IS_OPEN = ("unmixed", "FastICA", "rows")  # hits may have either sign


def facing(network: nn.Module, images: Tensor) -> Tensor:
    """Each image or its negative, whichever the network is more certain about [m, ...]."""
    with torch.no_grad():
        larger = network(images).abs() >= network(-images).abs()
    return torch.where(larger[:, None, None, None], images, -images)


def network_of(
    training: data.DataSet, seed: int, protocol: str, epochs: int, homogeneous: bool = True
) -> nn.Module:
    """Chapter 7's network, kept in a scratch folder; protocol, epochs: as for `fit_margin`."""
    x, signs, _ = centred(training)
    network = models.MLP(
        x[0].numel(), homogeneous=homogeneous, generator=torch.Generator().manual_seed(seed)
    ).to(x.device)

    def fit() -> nn.Module:
        margin.fit_margin_in_span(network, x, signs, epochs=epochs, protocol=protocol)
        return network

    def load(content: bytes) -> nn.Module:
        network.load_state_dict(safetensors.torch.load(content))
        return network

    code = [margin.fit_margin_in_span, models.MLP]
    return kept(
        [training.images, training.labels, seed, protocol, epochs, homogeneous, *code],
        fit,
        save=lambda trained: safetensors.torch.save(trained.state_dict()),
        load=load,
    )
