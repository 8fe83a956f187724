"""What chapter 8 compares: three starts, their mixtures, two attacks, and what could tell."""

from collections.abc import Mapping, Sequence
from typing import Any

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of both mixing weights
TRUTH, OTHERS, NOISE = (1.0, 1.0), (0.0, 1.0), (0.0, 0.0)  # (truth_share, image_share)
STANDARD = 1.0  # deviation of the KKT attack's noise where nobody tuned it
STARTS = {"noise": NOISE, "the training images": TRUTH, "other images": OTHERS}

# Attacks on whose mixtures of starts the page rests: {name: (run, network)}.
BILEVEL, SAME, PAPER = "bilevel", "KKT, same network", "KKT, three layers"
ATTACKS = {
    BILEVEL: ("bilevel", "affine"),
    SAME: ("kkt", "affine"),
    PAPER: ("kkt", "three-layer"),
}
NETWORKS = {"affine": "affine", "hidden": "one hidden layer", "three-layer": "three layers"}

# The paper's Table 1, in the order of its rows: {network: {start: ‖θ* − θ‖²}}.
TABLE_1 = {
    "affine": {
        "noise": 1.1214e-3,
        "the training images": 1.3888e-3,
        "other images": 2.9749e-3,
    },
    "hidden": {
        "noise": 6.1157e-5,
        "the training images": 1.7055e-3,
        "other images": 6.3629e-3,
    },
}

# Who could tell: attacks as `tellings` calls them, and the signals that need no image.
UNMIXED, RELEASED = "unmixed", "kkt released"
# Before a signal, what it tells apart: natural-looking hits and misses of an attack; hits and
# inventions, images that come from no training set or from another one.
NATURAL, INVENTED = "natural_", "invented_"
TELLERS = {
    "unmixed": "first layer, unmixed",
    "FastICA": "the same by FastICA",
    "rows": "first layer, as it is",
    "kkt eliminated": "KKT, multipliers eliminated",
    "kkt released": "KKT, the paper's",
    "kkt from other images": "KKT, from other images",
}
WITHOUT_START = ("unmixed", "FastICA", "rows")  # they improve no guess
OF_THE_PAPER = ("kkt released", "kkt from other images")
SIGNALS = {
    "agreement": "agreement of restarts",
    "multiplier": "multiplier",
    "contribution": "share of weights",
    "likelihood": "naturalness",
    "repeats": "repeats",
    "confidence": "confidence",
    "gradient": "gradient norm",
    "span": "share in the row space",
    "sensitivity": "sensitivity",
}
SUPPORTS, REFUTES = 0.6, 0.7  # AUROC up to which R23 holds, and from which it does not


def mixtures(seeds: Sequence[int], inner: Sequence[int]) -> list[dict[str, Any]]:
    """The 21 distinct starts of the paper's 25, by seed; without images there is one start.

    inner: seeds that also have the twelve starts in which all three kinds are mixed, or that lie
    on the edge between the other images and noise. The three pure starts of the first seed keep
    their pictures.
    """
    return [
        _start(seed, truth, image, seeds)
        for seed in seeds
        for image in SHARES
        for truth in (SHARES if image else SHARES[:1])
        if seed in inner or image in (0.0, 1.0) or truth == 1.0
    ]


def starts(seeds: Sequence[int]) -> list[dict[str, Any]]:
    """The three pure starts, by seed."""
    return [_start(seed, *pure, seeds) for seed in seeds for pure in STARTS.values()]


def from_noise(seeds: Sequence[int], sigma: float) -> list[dict[str, Any]]:
    """Normal noise, standard and of deviation sigma, by seed."""
    return [
        {**_start(seed, *NOISE, seeds), "sigma": deviation}
        for seed in seeds
        for deviation in (STANDARD, sigma)
    ]


def tellings(
    attacks: Mapping[str, Mapping[str, Any]], seeds: Sequence[int], *, quiz: bool = False
) -> list[dict[str, Any]]:
    """Every attack with its own settings, by seed.

    quiz: of the first seed keep the pictures of the two attacks that it may take.
    """
    return [
        {"attack": attack, **settings, "seed": seed}
        | (
            {"pictures": True}
            if quiz and seed == seeds[0] and attack in (UNMIXED, RELEASED)
            else {}
        )
        for attack, settings in attacks.items()
        for seed in seeds
    ]


def _start(seed: int, truth: float, image: float, seeds: Sequence[int]) -> dict[str, Any]:
    shown = {"pictures": True} if seed == seeds[0] and (truth, image) in STARTS.values() else {}
    return {"seed": seed, "truth_share": truth, "image_share": image, **shown}
