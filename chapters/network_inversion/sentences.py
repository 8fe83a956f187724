"""What chapter 3 says in words, with numbers from its runs; a comparison only if they carry it."""

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from chapters.network_inversion.design import ALL_TERMS, CE_ONLY, FOUR
from chapters.network_inversion.evidence import lowest_accuracy
from chapters.network_inversion.reading import (
    Asked,
    above_best,
    confidences,
    datasets,
    gap,
    matched,
    mean,
    measured,
    per_seed,
    rank_by_seed,
    steepest_step,
    sure,
)
from lib import inversion


def needs_runs(write: Callable[..., str]) -> Callable[..., str]:
    """A sentence that says so when the chapter's main setting was not run."""

    @functools.wraps(write)
    def written(asked: Asked, *more) -> str:
        return write(asked, *more) if datasets(asked) else "*Not run.*"

    return written


def each(asked: Asked, tell: Callable[[str], str]) -> str:
    """What is told of every data set: `0.5 on MNIST, 0.7 on CIFAR-10`."""
    told = {asked["label"].title(d): tell(d).replace("%", " %") for d in datasets(asked)}
    return ", ".join(f"{value} on {title}" for title, value in told.items())


def span(values: Sequence[float], form: str = ".0%") -> str:
    """From the lowest to the highest: `11 to 22 %`."""
    known = [v for v in values if np.isfinite(v)]
    if not known:
        return "–"
    low, high = (format(v, form).replace("%", " %") for v in (min(known), max(known)))
    return low if low == high else f"{low.removesuffix(' %')} to {high}"


def change(values: Sequence[float], form: str = "+.2f") -> str:
    interval = sure(values)
    if not np.isfinite(interval.low):
        return f"{interval.estimate:{form}}"
    return f"{interval.estimate:{form}} [{interval.low:{form}}, {interval.high:{form}}]"


def means(asked: Asked, name: str, measure: str) -> list[float]:
    return [mean(asked[name], measure, d) for d in datasets(asked)]


def gaps(asked: Asked, first: str, second: str, measure: str) -> dict[str, list[float]]:
    return {d: gap(asked, first, second, measure, d) for d in datasets(asked)}


def holds(by_dataset: Mapping[str, Sequence[float]]) -> bool:
    """Whether the interval lies above 0 on every data set."""
    return bool(by_dataset) and all(sure(values).low > 0 for values in by_dataset.values())


# --- in the order of the page -------------------------------------------------------------------


def answer(asked: Asked) -> str:
    if not datasets(asked):
        return "Nothing has been run yet: the end of the page says why."
    titles = [asked["label"].title(d) for d in datasets(asked)]
    text = (
        f"Textures that say nothing to us. On {_listed(titles)} the network names "
        f"{span(means(asked, 'vector-matrix', 'inversion_accuracy'), '.1%')} of them as asked, "
        f"another network {span(means(asked, 'vector-matrix', 'oracle_accuracy'))}."
    )
    if holds(gaps(asked, "vector-matrix", "vector-matrix, hot", "intra")):
        text += " Asking for *doubt* about the class makes them more diverse"
        back = gaps(asked, "vector-matrix, hot", "vector-matrix", "oracle_intra")
        text += ", to the inverted network only." if holds(back) else "."
    return text + " Their confidence is set by the weights of the loss."


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def live(history: Mapping[str, Sequence[float]]) -> str:
    accuracies = ", ".join(f"{a:.0%}" for a in history["accuracy"])
    return (
        f"Every {history['step'][1]} steps the *inversion accuracy*, the share of fresh images "
        f"that the classifier names as asked, is {accuracies.replace('%', ' %')}. "
        + (inversion.complaint(history) or "The generator has neither collapsed nor stopped short.")
    )


@needs_runs
def doubt(asked: Asked) -> str:
    """What softness does, and what the form of the conditioning does."""
    pair = ("vector-matrix", "vector-matrix, hot")
    text = (
        "Vector and matrix beside their hot control: doubt changes the diversity by "
        + each(asked, lambda d: change(gap(asked, *pair, "intra", d)))
        + "; a one-hot vector in place of a label by "
        + each(asked, lambda d: change(gap(asked, "vector, hot", "label", "intra", d)))
        + "."
    )
    if holds(gaps(asked, *pair, "intra")):
        text += (
            " What makes images diverse is the doubt that is asked for, more than the form in "
            "which the label is told."
        )
    if holds(gaps(asked, *pair[::-1], "oracle_intra")):
        text += (
            " But diverse to whom? In the features of another network, trained on other images, "
            "the images asked for doubt differ *less*, by "
            + each(asked, lambda d: change(gap(asked, *pair, "oracle_intra", d), "+.3f"))
            + ". The diversity that is measured here is one of the inverted network's features."
        )
    return text


@needs_runs
def unmatched(asked: Asked) -> str:
    """Which arms may be compared, and what the comparison of those says."""
    reach = [per_seed(asked["vector"], "inversion_accuracy", d) for d in datasets(asked)]
    others = [
        m
        for n in ("label", "matrix", "vector-matrix")
        for m in means(asked, n, "inversion_accuracy")
    ]
    text = (
        "The ways of telling are *not* matched. Told by a soft vector alone, generators end at "
        f"{span([values.mean() for values in reach], '.1%')} inversion accuracy, told by label, "
        f"matrix or both at {span(others, '.1%')} (hollow dots: below 95 % in some seed). Leaving "
        "out the images that miss their class does not repair this: what is left is a selection."
    )
    rest = {
        d: above_best(asked, "vector-matrix", ("label", "matrix"), d)
        for d in datasets(asked)
        if {"label", "matrix", "vector-matrix"} <= set(matched(asked, FOUR, d))
    }
    if holds(rest):
        text += (
            " Among those that reach 95 % in every seed, vector-matrix conditioning *is* the most "
            "diverse, above the better of label and matrix by "
            + ", ".join(f"{change(v)} on {asked['label'].title(d)}" for d, v in rest.items())
            + ": the verdict on I05 below rests on the arm that did not converge. With a hot "
            "vector beside the matrix, which asks for no doubt, the margin is "
            + each(
                asked,
                lambda d: change(above_best(asked, "vector-matrix, hot", ("label", "matrix"), d)),
            )
            + "."
        )
    return text


@needs_runs
def confidence(asked: Asked) -> str:
    table = confidences(asked)
    off = (table["confidence"] - table["predicted"]).abs()
    return (
        f"The mean distance from the prediction is {off.mean():.3f}, the largest {off.max():.3f}. "
        f"With soft vectors and the weights of this chapter the confidence is "
        f"{span(means(asked, 'vector-matrix', 'confidence'), '.2f')}, with hot vectors "
        f"{span(means(asked, 'vector-matrix, hot', 'confidence'), '.2f')}; on test images it is "
        f"{span(means(asked, 'vector-matrix', 'test_confidence'), '.2f')}."
    )


@needs_runs
def terms(asked: Asked) -> str:
    """What each term of the loss is worth."""
    alone = means(asked, CE_ONLY, "intra")
    text = (
        "With cross-entropy alone the diversity within a class is "
        f"{span(alone, '.2f')}, with all four terms "
        f"{span(means(asked, ALL_TERMS, 'intra'), '.2f')}."
    )
    if holds(gaps(asked, CE_ONLY, ALL_TERMS, "pixel_std")):
        text += (
            " Yet its pixels vary *more*: the images differ in what the classifier does not look "
            "at. That is less diversity, as I06 asks, but no collapse to a single image."
        )
    text += (
        " Leaving out orthogonality costs "
        + each(asked, lambda d: f"{mean_gap(asked, 'no orthogonality', d):.2f}")
        + ", leaving out the cosine term, which the papers credit, "
        + each(asked, lambda d: change(gap(asked, ALL_TERMS, "no cosine", "intra", d)))
        + "."
    )
    return text


def mean_gap(asked: Asked, without: str, dataset: str) -> float:
    return sure(gap(asked, ALL_TERMS, without, "intra", dataset)).estimate


@needs_runs
def cosine(asked: Asked) -> str:
    """The weight of the cosine term, with and without the weight at which the generator fails."""
    swept = asked["by cosine"]
    weights = sorted({r.parameters["cosine"] for r in swept.all})
    below = swept.where(cosine=weights[:-1])
    return (
        f"At γ = {weights[-1]:g} the inversion accuracy falls to "
        + each(asked, lambda d: f"{np.mean(lowest_accuracy(swept, d) or [np.nan]):.0%}")
        + ": such a generator fails, and its diversity says little. The rank correlation of γ with "
        "the diversity within classes, mean over seeds, is "
        + each(asked, lambda d: _rho(rank_by_seed(swept, "cosine", "intra", d)))
        + " over all weights and "
        + each(asked, lambda d: _rho(rank_by_seed(below, "cosine", "intra", d)))
        + " without the largest; with the diversity between classes it is "
        + each(asked, lambda d: _rho(rank_by_seed(swept, "cosine", "inter", d)))
        + " and "
        + each(asked, lambda d: _rho(rank_by_seed(below, "cosine", "inter", d)))
        + "."
    )


def _rho(values: Sequence[float]) -> str:
    return f"{np.mean(values):.2f}" if len(values) else "–"


@needs_runs
def unlike(asked: Asked) -> str:
    hot, soft = "vector-matrix, hot", "vector-matrix"
    text = (
        "Asked for doubt, images convince the other network in "
        + each(asked, lambda d: f"{mean(asked[soft], 'oracle_accuracy', d):.0%}")
        + ", asked for certainty in "
        + each(asked, lambda d: f"{mean(asked[hot], 'oracle_accuracy', d):.0%}")
        + "."
    )
    carried = [
        asked["label"].title(d)
        for d, values in gaps(asked, hot, soft, "oracle_accuracy").items()
        if sure(values).low > 0
    ]
    if carried:
        text += (
            f" On {_listed(carried)} certainty carries over: images that say nothing to us hold "
            "something that two networks, trained on different images, take for the class."
        )
    return (
        text
        + " How far images lie from the training images depends on the seed: an image asked for "
        "doubt is farther from its nearest one than a test image with probability, over the seeds, "
        + each(asked, lambda d: span(per_seed(asked[soft], "nearest_auroc", d), ".2f"))
        + "."
    )


@needs_runs
def pace(asked: Asked) -> str:
    """Whether the generator waits for the penny to drop, by both measures that were tried."""
    told = ("label", "vector")

    def half(dataset: str) -> str:
        return " and ".join(f"{mean(asked[n], 'steps_to_half', dataset):.0f}" for n in told)

    text = (
        "Half of the images are right after "
        + each(asked, half)
        + " steps, told by the label and by a vector. The steepest tenth of the way up is, told by "
        "a vector, steeper in units of the mean slope by "
        + each(asked, lambda d: change(gap(asked, *told[::-1], "jump", d)))
        + "."
    )  # fmt: skip
    pairs = [
        tuple(steepest_step(next(iter(own))) for own in both)
        for d in datasets(asked)
        for seed in measured(asked["vector"]).of("seed")
        if all(both := [measured(asked[n]).where(dataset=d, seed=seed) for n in told])
    ]
    sharper = sum(vector > label for label, vector in pairs)
    return text + (
        " The first measure, the steepest rise between two observations, finds the vector steeper "
        f"in {sharper} of {len(pairs)} seeds and would call I07 reproduced; it was replaced after "
        "the runs, because between neighbouring observations the noise of 200 images passes for a "
        "slope. The verdict rests on the second."
    )


@needs_runs
def obeyed(asked: Asked) -> str:
    told = asked["vector-matrix"]
    return (
        "When vector and matrix name different classes, the matrix wins in "
        + each(asked, lambda d: f"{mean(told, 'follows_matrix', d):.0%}")
        + " of cases and the vector in "
        + each(asked, lambda d: f"{mean(told, 'follows_vector', d):.0%}")
        + "; with a blank matrix the vector alone is right in "
        + each(asked, lambda d: f"{mean(told, 'accuracy_blank_matrix', d):.0%}")
        + "."
    )


@needs_runs
def tuned(asked: Asked, tried, weights: Mapping[str, float]) -> str:
    """What the rule chose, and what diversity costs."""
    runs = measured(tried)
    if not runs:
        return "*Not run.*"
    worst = runs.values("worst_class_accuracy")
    symbols = ", ".join(f"{s} = {w:g}" for s, w in zip("αβγδ", weights.values()))
    return (
        f"On {runs.title(runs.of('dataset')[0])} the rule takes {symbols}, and these are the "
        "weights of every run below that does not say otherwise. Over the "
        f"{len(runs)} settings that were tried the score goes from {min(runs.values('vendi')):.1f} "
        f"to {max(runs.values('vendi')):.1f} and the lowest accuracy of a class from "
        f"{span([min(worst), max(worst)], '.1%')}."
    )


@needs_runs
def carried_over(asked: Asked) -> str:
    """Whether images made against one architecture convince an oracle of the same one."""
    others = measured(asked["other classifiers"])
    if not others:
        return "*Not run.*"
    [dataset] = others.of("dataset")
    agreement = ", ".join(
        f"{mean(others.where(architecture=a), 'oracle_accuracy', dataset):.0%} ({a})"
        for a in others.of("architecture")
    )
    return (
        "The oracle, itself a CNN, agrees with this share of the images: "
        f"{agreement.replace('%', ' %')}. In this "
        'chapter "another network" means other images *and*, for the regularised CNN, another '
        "architecture."
    )
