"""What chapter 5 says in words, with numbers from its runs; a comparison only if they carry it.

A comparison is made pair by pair, by the interval over seeds, and told as a count of pairs.
"""

import functools
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from chapters.network_inversion.reading import in_its_place
from chapters.out_of_distribution.design import (
    EXPOSED,
    GARBAGE,
    INVERTED,
    NOISE,
    PLAIN,
    UNTRAINED,
)
from chapters.out_of_distribution.reading import (
    FEWEST_ROUNDS,
    Pair,
    above,
    below,
    difference,
    everywhere,
    gain,
    judged_pairs,
    last_complaint,
    mean,
    over_detectors,
    pairs,
    per_seed,
    rank_by_seed,
    title,
)
from harness.results import Runs
from harness.statistics import over_seeds


def needs_runs(write: Callable[..., str]) -> Callable[..., str]:
    """A sentence that says so when the inversion arm was run on no pair."""

    @functools.wraps(write)
    def written(trained: Runs, *more) -> str:
        return write(trained, *more) if trained.where(arm=INVERTED) else "*Not run.*"

    return written


# --- parts of sentences -------------------------------------------------------------------------


def span(values: Iterable[float], form: str = ".2f") -> str:
    """From the lowest to the highest: `0.52 to 0.97`, `5 to 80 %`."""
    known = [value for value in values if np.isfinite(value)]
    if not known:
        return "–"
    low, high = (format(end, form).replace("%", " %") for end in (min(known), max(known)))
    return low if low == high else f"{low.removesuffix(' %')} to {high}"


def means(trained: Runs, arm: str, measure: str) -> list[float]:
    return [mean(trained, pair, arm, measure) for pair in judged_pairs(trained)]


def change(values: Sequence[float], form: str = "+.3f") -> str:
    """The mean with its interval: `+0.02 [+0.01, +0.03]`."""
    interval = over_seeds(values)
    if not len(values):
        return "–"
    if not interval.known:
        return f"{interval.estimate:{form}}"
    return f"{interval.estimate:{form}} [{interval.low:{form}}, {interval.high:{form}}]"


def each(trained: Runs, tell: Callable[[Pair], str]) -> str:
    """What is told of every pair: `0.5 (MNIST → digits), 0.7 (digits → MNIST)`."""
    return ", ".join(f"{tell(pair)} ({title(trained, pair)})" for pair in judged_pairs(trained))


def count(found: Sequence[Pair], trained: Runs) -> str:
    """`3 of 4 pairs`."""
    return f"{len(found)} of {len(judged_pairs(trained))} pairs"


def separated(trained: Runs, measure: str = "gap") -> str:
    """In how many runs of the inversion arm the gap is above 0: `0 of 20`."""
    gaps = [
        value
        for pair in judged_pairs(trained)
        for value in per_seed(trained, pair, INVERTED, measure)
    ]
    return f"{sum(value > 0 for value in gaps)} of {len(gaps)}"


def up_and_down(trained: Runs, values: Callable[[Pair], Sequence[float]]) -> str:
    """On how many pairs the interval lies above 0, and on how many below."""
    up, down = above(trained, values), below(trained, values)
    return f"above 0 on {count(up, trained)} and below 0 on {len(down)}"


# --- in the order of the page -------------------------------------------------------------------


def answer(trained: Runs) -> str:
    if not trained.where(arm=INVERTED):
        return "Nothing has been run yet: the end of the page says why."
    return (
        f"{span(means(trained, INVERTED, 'refused'), '.0%')} of foreign images land in the garbage "
        f"class, by pair of data sets. A threshold separates the rest in {separated(trained)} runs. "
        "Inverted images raise the AUROC above that of a plain classifier on "
        f"{count(above(trained, gain(trained, PLAIN)), trained)}, above noise alone on "
        f"{len(above(trained, gain(trained, NOISE)))}, above an untrained generator on "
        f"{len(above(trained, gain(trained, UNTRAINED)))}."
    )


def thresholds(trained: Runs) -> str:
    """What the caption of the key figure says before it describes itself."""
    runs = sum(len(per_seed(trained, pair, INVERTED, "gap")) for pair in judged_pairs(trained))
    if not runs or not separated(trained).startswith("0 of"):
        return ""
    return f"**A threshold separates them in 0 of {runs} runs.** "


def limits(trained: Runs, n: int, precision: str) -> str:
    """How much was run, of what, and in whose place."""
    counts = {len(per_seed(trained, pair, INVERTED, "auroc")) for pair in pairs(trained)} or {0}
    seeds = " to ".join(map(str, sorted({min(counts), max(counts)})))
    names = list(dict.fromkeys(name for pair in pairs(trained) for name in pair))
    few = " Fashion-MNIST (900) has 600 training images, which pass more often."
    blended = " Digits of MNIST and photographs of CIFAR-10 are in both sets of that pair: it is a hard one."
    return (
        f"What limits this: {seeds} seed{'s' * (max(counts) != 1)}; at most {n:,} training images; "
        f"{precision}; a small convolutional network, trained for minutes."
        + (few if "fashion-mnist-900" in names and n > 600 else "")
        + in_its_place(names)
        + (blended if "coloured-digits" in names and "cifar10-jpeg" in names else "")
    )


@needs_runs
def turned_away(trained: Runs) -> str:
    """I18, and what a garbage class refuses of what it should not."""
    majority = above(trained, lambda pair: per_seed(trained, pair, INVERTED, "refused") - 0.5)
    return (
        "With inverted images the garbage class takes "
        + each(trained, lambda p: f"{mean(trained, p, INVERTED, 'refused'):.0%}".replace("%", " %"))
        + f" of the foreign images: a majority on {count(majority, trained)}. With noise alone it "
        f"takes {span(means(trained, NOISE, 'refused'), '.0%')}, with an untrained generator "
        f"{span(means(trained, UNTRAINED, 'refused'), '.0%')}. Of known test images it takes "
        f"{span(means(trained, INVERTED, 'refused_known'), '.1%')}."
    )


@needs_runs
def gaps(trained: Runs) -> str:
    """I19: the two ends, and what is left when a hundredth is cut off."""
    least = means(trained, INVERTED, "least_confident_known")
    most = means(trained, INVERTED, "most_confident_accepted")
    return (
        "The least confident known image that is classified correctly has a confidence of "
        f"{span(least)} (means of pairs), the most confident foreign image that is accepted "
        f"{span(most, '.4f')}. The gap is above 0 in {separated(trained)} runs; without the "
        f"hundredth of either kind at the border in {separated(trained, 'gap_1')}."
    )


@needs_runs
def added(trained: Runs) -> str:
    """I20: what inversion adds to each control."""
    controls = {
        "the plain classifier": PLAIN,
        "noise alone": NOISE,
        "an untrained generator": UNTRAINED,
        "outlier exposure": EXPOSED,
    }
    told = [
        f"- against {name}: "
        + each(trained, lambda p, arm=arm: change(gain(trained, arm)(p)))
        + f"; {up_and_down(trained, gain(trained, arm))}"
        for name, arm in controls.items()
    ]
    best = each(trained, lambda p: change(over_detectors(trained, p)))
    detectors = f"; {up_and_down(trained, lambda p: over_detectors(trained, p))}"
    return (
        "AUROC with inverted images minus that of a control on the same seeds, with 95 % "
        "intervals:\n\n"
        + "\n".join(told)
        + f"\n- against the best of energy, ODIN and neighbours on the plain classifier: {best}"
        + detectors
    )


@needs_runs
def in_short(trained: Runs) -> str:
    """What follows from the differences, where an interval carries it on every pair."""
    sure = {
        "Inverted images help everywhere against a plain classifier. ": gain(trained, PLAIN),
        "They add to noise everywhere. ": gain(trained, NOISE),
        "They add to an untrained generator everywhere. ": gain(trained, UNTRAINED),
    }
    held = [text for text, values in sure.items() if everywhere(trained, values).low > 0]
    nowhere = not above(trained, gain(trained, UNTRAINED))
    closing = (
        "Against the untrained generator, "
        f"inversion is ahead on {count(above(trained, gain(trained, UNTRAINED)), trained)}: what "
        "helped is not shown to be the inversion. "
    )
    return "".join(held) + (closing if nowhere else "")


@needs_runs
def kept(trained: Runs) -> str:
    """What accuracy it costs."""
    drop = {
        p: difference(trained, p, (PLAIN, "accuracy"), (INVERTED, "accuracy"))
        for p in judged_pairs(trained)
    }
    return (
        "Accuracy on known images, plain minus inversion: "
        + each(trained, lambda p: change([100 * v for v in drop[p]], "+.1f") + " points")
        + "."
    )


@needs_runs
def over_rounds(trained: Runs) -> str:
    """I21, and who wins the race between generator and classifier."""
    ranks = {p: rank_by_seed(trained, p) for p in judged_pairs(trained)}
    runs = trained.where(arm=INVERTED)
    obeyed = [value for r in runs for value in r.scalars.get("obeyed_by_round", [])]
    learned = [value for r in runs for value in r.scalars.get("refused_garbage_by_round", [])[1:]]
    if any(ranks.values()):
        told = "The rank correlation of the round and the AUROC is " + each(
            trained, lambda p: change(ranks[p], "+.2f")
        )
    else:
        told = f"With fewer than {FEWEST_ROUNDS} rounds the trend is not judged"
    return (
        told
        + f". In each round the generator finds images that the classifier takes for the class that "
        f"was asked for, in {span([_mean(obeyed)], '.0%')} of cases, though the garbage class has "
        f"learned to take {span([_mean(learned)], '.1%')} of those of the round before. "
        f"{last_complaint(runs)} rounds end with a generator below an inversion accuracy of 95 %, "
        "or collapsed."
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


@needs_runs
def other_score(trained: Runs) -> str:
    """Whether 1 − P(garbage) is another score than confidence."""
    arms = {arm: means(trained, arm, "auroc_garbage") for arm in GARBAGE}
    return (
        "Scored by 1 − P(garbage) instead of by confidence, the AUROC is "
        f"{span(arms[INVERTED])} with inverted images, {span(arms[UNTRAINED])} with an untrained "
        f"generator and {span(arms[NOISE])} with noise."
    )
