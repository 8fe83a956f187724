"""Made results of chapter 8: the keys of its runs, with values that can be told by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from chapters.initialization import design
from harness.results import Result, Runs

TITLES = {"mnist": "MNIST", "cifar10-jpeg": "CIFAR-10 (JPEG)"}
SIDE = 8
KINDS = ("truth", "partition", "noise")


def title(name: str) -> str:
    return TITLES.get(name, name)


def made(function: str, parameters: dict, scalars: dict, arrays: dict) -> Result:
    return Result(f"chapters.initialization.runs.{function}", parameters, "reused", scalars, arrays)


FAILED = Result(
    "chapters.initialization.runs.kkt",
    {"dataset": "cifar10-jpeg", "n": 20, "seed": 10, "network": "affine", "truth_share": 0.0,
     "image_share": 0.0},
    "failed",
    error="ValueError: odd",
)  # fmt: skip


def pictures(random: np.random.RandomState, names: tuple[str, ...], count: int = 4) -> dict:
    shape = (count, 3, SIDE, SIDE)
    return {name: random.randint(0, 255, shape, dtype=np.uint8) for name in names}


def attack_run(
    function="bilevel", network="affine", seed=10, truth=0.0, image=0.0, n=20, moved=0.0, **more
) -> Result:
    """From (truth, image); moved: how far towards the truth the share of the truth is shifted.

    Distances grow with what a start lacks of a kind of image; a seed adds a little to each.
    """
    random = np.random.RandomState(seed)
    jitter = seed / 1e4
    at_start = {
        "truth": 10 * (1 - truth * image), "partition": 10 * (1 - (1 - truth) * image),
        "noise": 10 * image,
    }  # fmt: skip
    shift = moved * image
    to = {
        "truth": max(at_start["truth"] - 10 * shift, 0) + jitter,
        "partition": at_start["partition"] + 10 * shift + jitter,
        "noise": at_start["noise"] + 2 * shift + jitter,
    }
    parameters = {
        "dataset": "cifar10-jpeg", "n": n, "seed": seed, "network": network,
        "truth_share": truth, "image_share": image, "steps": 9, **more,
    }  # fmt: skip
    known = {
        "auroc": 0.5 + 0.4 * truth + jitter * (seed - 12), "tpr_at_1_percent": 0.02 + jitter,
        "hits": round(0.2 + n * truth * image), "excess": (seed - 12) * (0.5 + jitter),
        "close": round(n * truth * image), "median_ncc": 0.2 + 0.7 * truth,
        "high_frequencies": 0.4 - 0.3 * image + jitter,
        "own_image_nearest": float(truth > 0.5), "median_psnr": 50.0 * truth * image + 10,
        **{f"to_{kind}": to[kind] for kind in KINDS},
    }  # fmt: skip
    before = known | {f"to_{kind}": at_start[kind] for kind in KINDS}
    before |= {"median_psnr": 100.0 * truth * image + 10, "high_frequencies": 0.4 - 0.3 * image}
    scalars = known | {f"{name}_at_start": value for name, value in before.items()}
    scalars |= {
        "nearer_to_start_by_distance": 1.0 - jitter, "nearer_to_start_by_correlation": 0.98,
        "relative_drift": 0.003 + jitter, "moved": 0.02, "threshold": 0.5, "close_held_out": 3,
        "seconds": 1.0,
    }  # fmt: skip
    if function == "bilevel":
        scalars |= {
            "distance": 1e-3 * (1 + truth) + jitter / 100, "distance_at_start": 0.5,
            "relative_distance": 1e-5, "relative_distance_at_start": 1e-2, "squared_norm": 9.0,
            "squared_change": 9.0, "converged": 1.0, "lower_gradient_norm": 1e-9,
            "along_step": [0, 1, 2], "along_distance": [0.5, 0.01, 1e-3 + jitter / 100],
        }  # fmt: skip
    else:
        scalars |= {"residual": 0.1, "residual_at_start": 0.9, "along_residual": [0.9, 0.3, 0.1]}
    ncc = np.linspace(0.9, 0.1, n) + jitter
    arrays = {
        "nearest_truth_ncc": ncc, "nearest_partition_ncc": ncc[::-1], "start_ncc": ncc,
        "naturalness": np.where(np.arange(n) % 5 == 0, 0.5, -0.5) + jitter,
    }  # fmt: skip
    if more.get("pictures"):
        arrays |= pictures(random, ("shown_outputs", "shown_nearest", "shown_start"))
    return made(function, parameters, scalars, arrays)


def mixed_runs(seeds, moved: dict[str, float]) -> list[Result]:
    """Every start of the three attacks; moved: by attack."""
    return [
        attack_run(
            function, network, case["seed"], case["truth_share"], case["image_share"],
            moved=moved[name], **{k: v for k, v in case.items() if k == "pictures"},
        )
        for name, (function, network) in design.ATTACKS.items()
        for case in design.mixtures(seeds, seeds[:1])
    ]  # fmt: skip


def noisy_runs(seeds, n: int = 60) -> list[Result]:
    runs = []
    for seed in seeds:
        for sigma, excess in ((design.STANDARD, 1.0), (0.03, 6.0)):
            run = attack_run(
                "kkt", "three-layer", seed, n=n, sigma=sigma, pictures=seed == seeds[0]
            )
            run.scalars["excess"] = excess + seed / 1e3
            runs.append(run)
    return runs


def loosened_runs(seeds, tolerances=(1e-4, 1e-6, 1e-8)) -> list[Result]:
    runs = []
    for seed in seeds:
        for tolerance in tolerances:
            run = attack_run(seed=seed, tolerance=tolerance)
            run.scalars["distance"] = tolerance * 1e2
            runs.append(run)
    return runs


def theory_run(seed: int) -> Result:
    scalars = {
        "relative_difference_fixed": 1e-15 * seed, "relative_difference_free": 0.1 + seed / 1e3,
        "violations": 0, "gradient_norm": 1e-12, "distance_to_training": 2.0 + seed / 1e2,
        "rank_above_bound": -3, "gradient_norm_over_training": 0.5 + seed / 1e3,
        "distinct_images_in_class": 1, "settings": 25, "distinct_starts": 21,
    }  # fmt: skip
    return made("theory", {"dataset": "cifar10-jpeg", "seed": seed, "n": 20}, scalars, {})


def width_run(seed: int, width: int, attack: str, rising: float = 1.0) -> Result:
    """rising: 1 if the score rises with the width, -1 if it falls."""
    score = 0.7 + 0.08 * rising * np.log10(width / 20) + seed / 1e4
    parameters = {"dataset": "cifar10-jpeg", "n": 20, "seed": seed, "width": width, "steps": 9}
    scalars = {
        "parameters_per_pixel": width / 20, "auroc": score, "tpr_at_1_percent": score / 2,
        "hits": 3, "close": 2, "span_auroc": 0.6 + seed / 1e4, "rows_auroc": 0.55,
    }  # fmt: skip
    return made("widths", {**parameters, "attack": attack}, scalars, {})


def landscape_run(seed: int, attack: str, smoother: bool = True) -> Result:
    """smoother: whether the KKT attack has fewer end points and lower barriers."""
    few = (attack == "kkt") == smoother
    scalars = {
        "end_points": (3 if few else 9) + seed % 2,
        "barriers": (0.1 if few else 0.8) + seed / 1e4,
    }
    side = np.linspace(-1, 2, 9)
    arrays = {
        "slice": 1 + side[:, None] ** 2 + (side - 0.5) ** 2, "slice_x": side, "slice_y": side,
        "slice_points": np.array([[1.0, 0.0], [0.0, 0.0], [0.4, 1.0]]),
        "end_losses": np.linspace(0.1, 0.4, 8),
    }  # fmt: skip
    parameters = {"dataset": "cifar10-jpeg", "seed": seed, "n": 20, "attack": attack}
    return made("landscape", parameters, scalars, arrays)


def telling_run(dataset: str, seed: int, attack: str, auroc: float, **more) -> Result:
    """auroc: of agreement; every other signal guesses. Without hits for `rows`."""
    random = np.random.RandomState(seed)
    m, hits = 24, 0 if attack == "rows" else 12
    is_hit = np.arange(m) < hits
    natural = np.arange(m) % 4 != 3
    signals = [s for s in design.SIGNALS if attack != "unmixed" or s != "multiplier"]
    scalars = {
        "candidates": m, "true_hits": hits, "hits_natural": int((is_hit & natural).sum()),
        "misses_natural": int((~is_hit & natural).sum()), "precision_top": 0.98 - seed / 1e3,
    }  # fmt: skip
    if hits:
        for signal in signals:
            value = auroc if signal == "agreement" else 0.5
            scalars[f"auroc_{signal}"] = value + (seed % 10 - 2) / 1e3
            for kind in ("natural_", "held_out_", "elsewhere_", "invented_"):
                less = 0 if kind == "natural_" else 0.05
                scalars[f"auroc_{kind}{signal}"] = value - less + (seed % 10 - 2) / 1e3
    arrays = {f"signal_{s}": random.rand(m) + is_hit * (s == "agreement") for s in signals}
    arrays |= {"is_hit": is_hit, "is_natural": natural}
    if more.get("pictures"):
        q = 12
        arrays |= pictures(
            random, ("quiz_pictures", "quiz_nearest_training", "quiz_nearest_held_out"), q
        )
        arrays |= {"quiz_is_hit": np.arange(q) < 8, "quiz_ncc": random.rand(q, 2)}
    parameters = {"dataset": dataset, "seed": seed, "n": 50, "attack": attack, "starts": 4, **more}
    return made("tellings", parameters, scalars, arrays)


AUROCS = {"unmixed": 0.97, "kkt released": 0.55, "kkt from other images": 0.52, "rows": 0.5}


def telling_runs(datasets, seeds, aurocs=AUROCS) -> list[Result]:
    return [
        telling_run(
            dataset, seed, attack, auroc,
            **({"pictures": True} if attack == "unmixed" and seed == seeds[0] else {}),
        )
        for dataset in datasets
        for seed in seeds
        for attack, auroc in aurocs.items()
    ]  # fmt: skip


NAMES = ("proved", "mixed", "started", "noisy", "loosened", "sized", "surface", "told", "tuning")


def groups(kind: str, **moved: float) -> dict[str, Runs]:
    """Everything a page opens: nothing, failed runs only, one seed, several of everything."""
    if kind in ("empty", "failed"):
        nothing = Runs([FAILED] if kind == "failed" else [], title=title)
        return dict.fromkeys(NAMES, nothing)
    seeds = [10] if kind == "one seed" else [10, 11, 12, 13, 14]
    sets = ["cifar10-jpeg"] if kind == "one seed" else ["mnist", "cifar10-jpeg"]
    started = [
        attack_run("bilevel", "hidden", case["seed"], case["truth_share"], case["image_share"],
                   **{k: v for k, v in case.items() if k == "pictures"})
        for case in design.starts(seeds)
    ]  # fmt: skip
    moves = {design.BILEVEL: 0.02, design.SAME: 0.05, design.PAPER: 0.1} | moved
    return {
        name: Runs(runs, title=title)
        for name, runs in {
            "proved": [theory_run(seed) for seed in seeds],
            "mixed": [*mixed_runs(seeds, moves), FAILED],
            "started": started,
            "noisy": noisy_runs(seeds),
            "loosened": loosened_runs(seeds),
            "sized": [
                width_run(seed, width, attack)
                for seed in seeds for width in (2, 6, 20, 60, 200) for attack in ("bilevel", "kkt")
            ],
            "surface": [landscape_run(s, attack) for s in seeds for attack in ("bilevel", "kkt")],
            "told": telling_runs(sets, seeds),
            "tuning": telling_runs(sets, [seed - 10 for seed in seeds]),
        }.items()
    }  # fmt: skip


# --- what a sweep would answer --------------------------------------------------------------------


def answered(function: str, asked: dict) -> Result:
    """A result for the parameters that a page asks a function for."""
    seed, pictured = asked["seed"], {k: v for k, v in asked.items() if k == "pictures"}
    if function in ("bilevel", "kkt"):
        network = asked["network"]
        moved = 0.02 if function == "bilevel" else {"affine": 0.05, "three-layer": 0.1}[network]
        own = attack_run(
            function, network, seed, asked["truth_share"], asked["image_share"], asked["n"], moved,
            **pictured,
        )  # fmt: skip
        if "sigma" in asked:
            own.scalars["excess"] = (1.0 if asked["sigma"] == design.STANDARD else 6.0) + seed / 1e3
        if "tolerance" in asked:
            own.scalars["distance"] = asked["tolerance"] * 1e2
    elif function == "theory":
        own = theory_run(seed)
    elif function == "widths":
        own = width_run(seed, asked["width"], asked["attack"])
    elif function == "landscape":
        own = landscape_run(seed, asked["attack"])
    else:
        auroc = AUROCS.get(asked["attack"], 0.6)
        own = telling_run(asked["dataset"], seed, asked["attack"], auroc, **pictured)
    words = "-".join(f"{key}={value}" for key, value in asked.items())
    return replace(own, parameters=asked, path=Path(f"{function}-{words}.json"))
