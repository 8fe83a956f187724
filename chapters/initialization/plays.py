"""What a reader of chapter 8 plays: which of these was never in the training set?"""

import random

import numpy as np

from chapters.initialization.design import TELLERS
from harness.play import Round
from harness.results import Result, Runs

MOST_ROUNDS, OTHERS = 6, 4  # rounds; hits beside the miss (paper, Figure 6: four)
FEWEST = 2  # hits beside a miss


def shown(told: Runs) -> Result | None:
    """The first run, in the order of the attacks, that kept pictures enough for a round."""
    for attack in TELLERS:
        for run in told.where(attack=attack):
            if "quiz_pictures" in run.arrays and _many(run):
                return run
    return None


def rounds(told: Runs) -> list[Round] | None:
    """One natural-looking miss among hits of the same attack; None where there are too few.

    Each miss and each hit is shown once. Places are drawn by the run's seed.
    """
    run = shown(told)
    if run is None:
        return None
    hit = np.asarray(run["quiz_is_hit"]).astype(bool)
    misses, hits = np.flatnonzero(~hit), np.flatnonzero(hit)
    draw = random.Random(run.parameters["seed"])
    many = _many(run)
    beside = min(OTHERS, len(hits) // many)
    return [
        _round(run, [*hits[number * beside :][:beside]], misses[number], draw)
        for number in range(many)
    ]


def _many(run: Result) -> int:
    """Rounds that there are misses for, and hits."""
    hit = np.asarray(run["quiz_is_hit"]).astype(bool)
    return min(int((~hit).sum()), int(hit.sum()) // FEWEST, MOST_ROUNDS)


def _round(run: Result, hits: list[int], miss: int, draw: random.Random) -> Round:
    place = draw.randrange(len(hits) + 1)
    order = [*hits[:place], miss, *hits[place:]]
    nearest = [run[f"quiz_nearest_{kind}"] / 255 for kind in ("training", "held_out")]
    return Round(
        pictures=[run["quiz_pictures"][i] / 255 for i in order],
        stranger=place,
        nearest=[(nearest[0][i], nearest[1][i]) for i in order],
        similarity=[tuple(float(r) for r in run["quiz_ncc"][i]) for i in order],
    )


def caption(told: Runs) -> str:
    """What the rounds are of."""
    run = shown(told)
    if run is None:
        return "The quiz of the paper's Figure 6."
    return (
        f"The quiz of the paper's Figure 6, with candidates of *{TELLERS[run.parameters['attack']]}* "
        f"({told.title(run.parameters['dataset'])}, {run.parameters['n']} training images, draw "
        f"{run.parameters['seed']}). Among training images that came back stands a stranger that "
        "looks natural. Afterwards: the nearest training image and the "
        "nearest held-out image, with correlations."
    )
