"""What chapter 5 says in words, with numbers from its runs; a comparison only if they carry it.

A comparison is made pair by pair, by the interval over seeds, and told as a count of pairs.
"""

import functools
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from chapters.network_inversion.reading import in_its_place
from chapters.out_of_distribution.design import (
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
    change,
    difference,
    everywhere,
    gain,
    gains,
    judged_pairs,
    last_complaint,
    mean,
    over_detectors,
    pairs,
    per_seed,
    rank_by_seed,
    scored_by_garbage,
    title,
)
from harness.results import Runs


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
    small = everywhere(trained, lambda pair: 0.5 - per_seed(trained, pair, INVERTED, "refused"))
    beaten = above(trained, lambda pair: [-value for value in over_detectors(trained, pair)])
    majority = above(trained, lambda pair: per_seed(trained, pair, INVERTED, "refused") - 0.5)
    return (
        ("Hardly. " if small.low > 0 else "")
        + f"The garbage class takes {span(means(trained, INVERTED, 'refused'), '.0%')} of foreign "
        f"images, by pair; a sure majority on {count(majority, trained)}. A threshold separates the "
        f"others in {separated(trained)} runs. AUROC is above that of noise alone on {count(above(trained, gain(trained, NOISE)), trained)}, below that "
        f"of the best of three detectors on {len(beaten)}."
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
    few = " (600 of Fashion-MNIST (900))" if "fashion-mnist-900" in names and n > 600 else ""
    blended = " Both sets of that pair show photographs of CIFAR-10, so it is a hard one."
    return (
        f"What limits this: {seeds} seed{'s' * (max(counts) != 1)}; at most {n:,} training images"
        f"{few}; {precision}; a small convolutional network, right on "
        f"{span(means(trained, PLAIN, 'accuracy'), '.0%')} of known test images; one amount of "
        "garbage, which the paper leaves open."
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
        f"{span(means(trained, UNTRAINED, 'refused'), '.0%')}; the difference to noise is "
        f"{up_and_down(trained, gain(trained, NOISE, 'refused'))}. Of known test images it takes "
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
    return (
        "AUROC with inverted images minus that of a control, means of pairs, and on how many pairs "
        "the 95 % interval over seeds lies on one side of 0 (the intervals are in "
        "{numref}`tab-differences`):\n\n"
        + "\n".join(
            f"- against {name}: "
            + span([_mean(values(pair)) for pair in judged_pairs(trained)], "+.3f")
            + f"; {up_and_down(trained, values)}"
            for name, values in gains(trained).items()
        )
    )


@needs_runs
def detectors(trained: Runs) -> str:
    """What the plain classifier's detectors reach, and chapter 4's best."""
    wrong = below(trained, lambda pair: per_seed(trained, pair, PLAIN, "auroc_norm") - 0.5)
    return (
        "On the plain classifier the distance to training images has an AUROC of "
        f"{span(means(trained, PLAIN, 'auroc_knn'))} (means of pairs), the energy "
        f"{span(means(trained, PLAIN, 'auroc_energy'))}, the length of the feature vector "
        f"{span(means(trained, PLAIN, 'auroc_norm'))}; on {count(wrong, trained)} that length points "
        "the wrong way: foreign images have the longer vectors."
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
        f"inversion is ahead on {count(above(trained, gain(trained, UNTRAINED)), trained)}: an "
        "advantage of inversion itself is not shown. "
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
        f"In {last_complaint(runs)} rounds the generator ends without an inversion accuracy of 95 %, "
        "or collapsed."
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


@needs_runs
def other_score(trained: Runs) -> str:
    """Whether 1 − P(garbage) is another score than confidence."""
    arms = {arm: means(trained, arm, "auroc_garbage") for arm in GARBAGE}
    values = scored_by_garbage(trained)
    return (
        "Scored by 1 − P(garbage) instead of by confidence (diamonds in {numref}`fig-told-apart`), "
        f"the AUROC with inverted images is {span(arms[INVERTED])}; the difference is "
        f"{up_and_down(trained, values)}. With an untrained generator it is "
        f"{span(arms[UNTRAINED])}, with noise {span(arms[NOISE])}: inversion minus noise is "
        f"{up_and_down(trained, gain(trained, NOISE, 'auroc_garbage'))}."
        + (
            " So the garbage class ranks foreign images better than its decisions show."
            if everywhere(trained, values).low > 0
            else ""
        )
    )
