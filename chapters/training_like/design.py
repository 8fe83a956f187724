"""What chapter 6 compares: losses with a term left out, training sets, classifiers, and the runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.results import Result
from harness.sweep import grid
from lib.likeness import STATIONARITY

Cases = list[dict[str, Any]]

FULL, INVERSION, PRIORS = "all nine terms", "inversion loss", "inversion loss and priors"
ROBUSTNESS = ("perturbed_kl", "perturbed_ce")
LEFT_OUT: dict[str, tuple[str, ...]] = {  # losses with hot vectors: the terms they do without
    FULL: (),
    "no robustness": ROBUSTNESS,
    "no gradient": ("gradient",),
    "no KL divergence": ("kl",),
    "no cross-entropy": ("ce",),
    "no cosine": ("cosine",),
    "no orthogonality": ("orthogonality",),
    "no variation": ("variation",),
    "no pixels": ("pixels",),
}
SOFT: dict[str, tuple[str, ...]] = {  # the same with soft vectors, which ask for no confidence
    "no confidence": (),
    PRIORS: (*ROBUSTNESS, "gradient"),
    INVERSION: (*ROBUSTNESS, "gradient", "variation", "pixels"),
}
# The answers that are compared on more seeds, because a claim or a sentence ranks them.
RANKED = (FULL, "no confidence", "no robustness", "no gradient", PRIORS, INVERSION)

# --- choosing the new terms' weights ------------------------------------------------------------

TUNING_SEED = 0  # of a shadow network and images that appear nowhere else
TRIED = {
    "perturbation": ["random", "adversarial"],
    "radius": [0.03, 0.1],
    "variation": [0.001, 0.01],
}
FIXED = {"perturbed_kl": 1.0, "perturbed_ce": 1.0, "pixels": 1.0, "gradient": 1.0}


@dataclass(frozen=True)
class Chosen:
    """What the attack on a data set uses: the terms' weights, and the perturbation."""

    weights: Mapping[str, float]
    perturbation: str = "adversarial"
    radius: float = 0.03

    def settings(self, *, without: Sequence[str] = (), **more: float) -> dict[str, Any]:
        """Parameters of a run: all weights but for those of some terms, and more."""
        kept = {term: w for term, w in self.weights.items() if term not in without}
        return {
            "weights": {**kept, **more},
            "perturbation": self.perturbation,
            "radius": self.radius,
        }


def tuning(
    inversion: Mapping[str, float],
    sizes: Mapping[str, Sequence[int]],
    aside: Mapping[str, Mapping[str, int]],
    *,
    tried: Mapping[str, Sequence[Any]] = TRIED,
    **training: Any,
) -> Cases:
    """Runs against a shadow network, whose training images the attacker has.

    inversion: weights of the inversion loss, as chapter 3 chose them.
    """
    return [
        {
            "dataset": dataset,
            "seed": TUNING_SEED,
            "n": middle(sizes[dataset]),
            "aside": aside[dataset],
            "weights": {**inversion, **FIXED, "variation": run["variation"]},
            "perturbation": run["perturbation"],
            "radius": run["radius"],
            **training,
        }
        for dataset in sizes
        for run in grid(**tried)
    ]


def chosen(tried: Sequence[Result]) -> dict[str, Chosen]:
    """{data set: the settings with the smallest KID to the shadow network's training images}.

    Of equals the first. A data set without results is left out: see `default`.
    """
    found: dict[str, tuple[float, Chosen]] = {}
    for result in tried:
        if "kid" not in result.scalars:
            continue
        p = result.parameters
        now = (result["kid"], Chosen(p["weights"], p["perturbation"], p["radius"]))
        best = found.get(p["dataset"])
        if best is None or now[0] < best[0]:
            found[p["dataset"]] = now
    return {dataset: best for dataset, (_, best) in found.items()}


def default(inversion: Mapping[str, float]) -> Chosen:
    """Where nothing was tuned: what is tried first."""
    first = {name: values[0] for name, values in TRIED.items()}
    return Chosen(
        {**inversion, **FIXED, "variation": first["variation"]},
        first["perturbation"],
        first["radius"],
    )


def middle(sizes: Sequence[int]) -> int:
    """The number of training images at which losses are compared."""
    return sizes[len(sizes) // 2]


# --- the questions ------------------------------------------------------------------------------

SHORTCUT = ("MLP", "CNN", "ViT")  # of chapters 1 and 2
EQUAL_SIZE = "MLP of equal size"


def questions(
    best: Mapping[str, Chosen],
    sizes: Mapping[str, Sequence[int]],
    aside: Mapping[str, Mapping[str, int]],
    *,
    seeds: Sequence[int],
    order_seeds: Sequence[int],
    generators: int,
    widths: Sequence[int],
    regularisers: Sequence[str],
    **training: Any,
) -> dict[str, Cases]:
    """The runs of every question.

    best: the attack on each data set.  sizes: {data set: numbers of training images}.
    aside: {data set: held-out images and those of the oracles}.  order_seeds: of what is ranked.
    generators: for each classifier, over the sizes.  widths: of the classifier, on the first
    data set, at its smallest size.
    """

    def ask(
        *, few: bool = False, seeds: Sequence[int] = order_seeds, only: int | None = None,
        without: Sequence[str] = (), more: Mapping[str, float] | None = None, **axes: Any,
    ) -> Cases:  # fmt: skip
        return [
            {**run, "pictures": run["seed"] == order_seeds[0] and not run.get("generator")}
            for dataset in list(sizes)[:only]
            for run in grid(
                dataset=dataset,
                seed=seeds,
                **{"n": sizes[dataset][0] if few else middle(sizes[dataset])}
                | {"aside": aside[dataset]}
                | best[dataset].settings(without=without, **(more or {}))
                | training
                | {name: axis[dataset] if name == "n" else axis for name, axis in axes.items()},
            )
        ]

    def ranked(name: str, **axes: Any) -> Cases:
        return ask(seeds=order_seeds if name in RANKED else seeds, **axes)

    losses = {name: ranked(name, without=out) for name, out in LEFT_OUT.items()}
    soft = {name: ranked(name, without=out, vector="soft") for name, out in SOFT.items()}
    return {
        **losses,
        **soft,
        "other perturbation": [
            {**run, "perturbation": _other(run["perturbation"])} for run in ask(seeds=seeds)
        ],
        "batch gradient": ask(seeds=seeds, gradient="batch"),
        "by size": ask(n=sizes, generator=range(generators)),
        "few, inversion loss": ask(few=True, without=SOFT[INVERSION], vector="soft"),
        "few, all nine terms": ask(few=True),
        "few, other half": ask(few=True, half=1),
        "few, stationarity": ask(few=True, more={STATIONARITY: 1.0}),
        "few, MLP": ask(few=True, architecture=EQUAL_SIZE),
        "by width": ask(few=True, seeds=seeds, only=1, width=widths),
        "unregularised": ask(seeds=seeds, unregularised=regularisers),
        "linear output": ask(seeds=seeds, only=1, output="linear"),
        "linear output, no pixels": ask(seeds=seeds, only=1, output="linear", without=("pixels",)),
        "shortcuts": ask(architecture=SHORTCUT, shortcut=["planted", "control"]),
    }


def _other(perturbation: str) -> str:
    return next(kind for kind in TRIED["perturbation"] if kind != perturbation)


def premises(
    inversion: Mapping[str, float],
    sizes: Mapping[str, Sequence[int]],
    aside: Mapping[str, Mapping[str, int]],
    *,
    seeds: Sequence[int],
    **training: Any,
) -> Cases:
    """One run a data set and seed, at the middle number of training images."""
    return [
        {
            "dataset": dataset, "seed": seed, "n": middle(sizes[dataset]),
            "aside": aside[dataset], "weights": dict(inversion), **training,
        }
        for dataset in sizes
        for seed in seeds
    ]  # fmt: skip
