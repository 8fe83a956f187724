"""What chapter 10 compares: recipes of training, defences, and numbers of images."""

from collections.abc import Sequence
from typing import Any

PLAIN, KNOWN = "plain", ", start known"
# What a recipe is called on the page; in the order of the figure, from the plain one on.
RECIPES = {
    "plain": "plain",
    "full batch": "all images in each step",
    "biases everywhere": "biases everywhere",
    "weight decay": "weight decay",
    "label noise": "a fifth of labels wrong",
    "augmentation": "flipped and shifted",
    "batch norm": "batch norm",
    "default initialisation": "default initialisation",
    "default initialisation, start known": "default init., start known",
    "Adam": "Adam",
    "Adam, start known": "Adam, start known",
    "fine-tuned": "fine-tuned public network",
    "fine-tuned, start known": "fine-tuned, start known",
    "convolution": "convolution: its patches",
    "behind a convolution": "layer behind a convolution",
}
DEFENCES = {
    "plain": "none",
    "first layer at 0.001": "first layer at 0.001",
    "first layer at 0.01": "first layer at 0.01",
    "strong weight decay": "strong weight decay",
    "early stopping": "early stopping",
    "8 bits": "8 bits",
    "4 bits": "4 bits",
    "noise of a tenth": "noise, a tenth of the norm",
    "noise as strong": "noise, as strong as the weights",
    "DP-SGD, noise 0.5": "DP-SGD, noise 0.5",
    "DP-SGD, noise 2": "DP-SGD, noise 2",
}


def case(name: str) -> dict[str, Any]:
    """The parameters of a row of the tables above."""
    known = name.endswith(KNOWN)
    return {"recipe": name.removesuffix(KNOWN), "start_known": known}


def row(parameters: dict[str, Any]) -> str:
    """The name of the row that a run belongs to."""
    return parameters["recipe"] + (KNOWN if parameters["start_known"] else "")


def sized(sizes: Sequence[int], seeds: Sequence[int]) -> list[dict[str, Any]]:
    """The plain recipe at every size, start unknown and known.

    The first seed of the largest size, start unknown, keeps its pictures.
    """
    return [
        {
            "n": n,
            "seed": seed,
            **case(PLAIN + (KNOWN if known else "")),
            **({"pictures": True} if (n, seed, known) == (max(sizes), seeds[0], False) else {}),
        }
        for n in sizes
        for seed in seeds
        for known in (False, True)
    ]
