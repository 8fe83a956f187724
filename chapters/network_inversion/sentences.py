"""What chapter 3 says in words, with numbers from its runs; a comparison only if they carry it.

Ways of telling and losses are compared where their inversion accuracies are matched.
"""

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from chapters.network_inversion.design import ALL_TERMS, CE_ONLY, FOUR, RANKED
from chapters.network_inversion.reading import (
    CONVERGED,
    Asked,
    above_best,
    agree,
    confidences,
    datasets,
    doubt_over_form,
    gap,
    in_its_place,
    lowest_accuracy,
    matched_arms,
    matched_gap,
    mean,
    measured,
    orthogonality_over_cosine,
    over_cosine,
    per_seed,
    rank_by_seed,
    seen,
    steeper,
    sure,
    working,
)
from harness.words import listed
from lib import inversion

SOFT, HOT = "vector-matrix", "vector-matrix, hot"
OTHERS = ("label", "vector", "matrix")
GUESSING = 0.1  # right of ten classes

ByDataset = Mapping[str, Sequence[float]]


def needs_runs(write: Callable[..., str]) -> Callable[..., str]:
    """A sentence that says so when the chapter's main setting was not run."""

    @functools.wraps(write)
    def written(asked: Asked, *more) -> str:
        return write(asked, *more) if datasets(asked) else "*Not run.*"

    return written


def title(asked: Asked, dataset: str) -> str:
    return asked["label"].title(dataset)


def each(asked: Asked, tell: Callable[[str], str]) -> str:
    """What is told of every data set: `0.5 on MNIST, 0.7 on CIFAR-10`."""
    told = {title(asked, d): re.sub(r"(?<! )%", " %", tell(d)) for d in datasets(asked)}
    return ", ".join(f"{value} on {name}" for name, value in told.items())


def span(values: Iterable[float], form: str = ".0%") -> str:
    """From the lowest to the highest: `11 to 22 %`."""
    known = [v for v in values if np.isfinite(v)]
    if not known:
        return "–"
    low, high = (format(v, form).replace("%", " %") for v in (min(known), max(known)))
    return low if low == high else f"{low.removesuffix(' %')} to {high}"


def change(values: Sequence[float], form: str = "+.2f") -> str:
    """The mean with its interval; a dash where nothing is matched, or was run."""
    interval = sure(values)
    if not len(values):
        return "–"
    if not interval.known:
        return f"{interval.estimate:{form}}"
    return f"{interval.estimate:{form}} [{interval.low:{form}}, {interval.high:{form}}]"


def means(asked: Asked, name: str, measure: str) -> list[float]:
    return [mean(asked[name], measure, d) for d in datasets(asked)]


def gaps(asked: Asked, first: str, second: str, measure: str) -> dict[str, list[float]]:
    """first − second on every data set, empty where they are not matched."""
    return {d: matched_gap(asked, first, second, measure, d) for d in datasets(asked)}


def holds(by_dataset: ByDataset) -> bool:
    """Whether the interval lies above 0 on every data set."""
    return bool(by_dataset) and all(sure(values).low > 0 for values in by_dataset.values())


def where(by_dataset: ByDataset) -> list[str]:
    """The data sets on which the interval lies above 0."""
    return [d for d, values in by_dataset.items() if sure(values).low > 0]


def on(asked: Asked, names: Sequence[str]) -> str:
    return "on " + listed([title(asked, d) for d in names])


# --- what several places of the page say --------------------------------------------------------


def doubt_is_diverse(asked: Asked) -> bool:
    return holds(gaps(asked, SOFT, HOT, "intra"))


def to_one_network_only(asked: Asked) -> bool:
    """Whether the features of another network differ less where doubt was asked for."""
    return holds(gaps(asked, HOT, SOFT, "oracle_intra"))


def confidence_is_set(asked: Asked) -> bool:
    """Whether the classifier is more confident where the loss has no KL term."""
    return holds(gaps(asked, "no KL divergence", ALL_TERMS, "confidence"))


def carries_over(asked: Asked) -> list[str]:
    """Where another network names more of the images asked for certainty, and no guessing does."""
    more = where(gaps(asked, HOT, SOFT, "oracle_accuracy"))
    return where({d: per_seed(asked[HOT], "oracle_accuracy", d) - GUESSING for d in more})


# --- captions -----------------------------------------------------------------------------------


def conditionings(asked: Asked) -> str:
    if not doubt_is_diverse(asked):
        return "Diversity to the inverted network, by what the generator is told. "
    return (
        "Told by vector and matrix, images asked for doubt are more diverse to the inverted "
        "network than images asked for certainty. "
    )


def losses(asked: Asked) -> str:
    """What the caption says of cross-entropy alone: features and pixels, each by its interval."""
    features = holds(gaps(asked, ALL_TERMS, CE_ONLY, "intra"))
    pixels = holds(gaps(asked, CE_ONLY, ALL_TERMS, "pixel_std"))
    if features and pixels:
        return (
            "With cross-entropy alone the features of a class differ less than with all four terms "
            "(above), its pixels more (below). "
        )
    if features:
        return (
            "With cross-entropy alone the features of a class differ less than with all four "
            "terms (above). "
        )
    return "Spread of features (above) and of pixels (below), by the terms of the loss. "


def slow(asked: Asked) -> str:
    later = {d: gap(asked, "vector", "label", "steps_to_half", d) for d in datasets(asked)}
    if not holds(later):
        return ""
    return (
        "Told by a soft vector the generator takes longer to get half of its images right than "
        "told by the label. "
    )


# --- in the order of the page -------------------------------------------------------------------


def answer(asked: Asked) -> str:
    if not datasets(asked):
        return "Nothing has been run yet: the end of the page says why."
    text = (
        f"Textures, to our eyes. {on(asked, datasets(asked)).replace('on', 'On', 1)} the "
        f"network names {span(means(asked, SOFT, 'inversion_accuracy'), '.1%')} of them as asked, "
        f"another network {span(means(asked, SOFT, 'oracle_accuracy'))}."
    )
    if doubt_is_diverse(asked):
        text += " Asking for *doubt* about the class makes them more diverse"
        text += ", to the inverted network only." if to_one_network_only(asked) else "."
    if confidence_is_set(asked):
        text += " How sure the network is follows the weights of the loss."
    return text


def limits(asked: Asked, n: int, steps: int, precision: str) -> str:
    """How much was run, of what, and in whose place."""
    few = [f"{most:,} of {title(asked, d)}" for d, most in seen(datasets(asked), n).items()]
    seeds = [
        len(per_seed(asked[name], "inversion_accuracy", d))
        for name in sorted(RANKED)
        for d in datasets(asked)
    ]
    text = (
        f"What limits this: one kind of classifier, trained on {n:,} images"
        + (f", or on half of a set that has not twice as many ({listed(few)})" if few else "")
        + f"; {steps} steps of the generator; {precision} throughout; "
        + f"{span(seeds, 'd')} seed{'s' * (max(seeds, default=0) != 1)} for each setting that is "
        "compared."
    )
    return text + in_its_place(datasets(asked))


def live(history: Mapping[str, Sequence[float]]) -> str:
    accuracies = ", ".join(f"{a:.0%}" for a in history["accuracy"])
    return (
        f"In steps of {history['step'][1]} the *inversion accuracy*, the share of fresh images "
        f"that the classifier names as asked, is {accuracies.replace('%', ' %')}. "
        + (inversion.complaint(history) or "The generator has neither collapsed nor stopped short.")
    )


@needs_runs
def doubt(asked: Asked) -> str:
    """What softness does, and what the form of the conditioning does."""
    text = (
        "Vector and matrix beside their hot control: doubt changes the diversity by "
        + each(asked, lambda d: change(matched_gap(asked, SOFT, HOT, "intra", d)))
        + "; a one-hot vector in place of a label by "
        + each(asked, lambda d: change(matched_gap(asked, "vector, hot", "label", "intra", d)))
        + "."
    )
    if holds({d: doubt_over_form(asked, d) for d in datasets(asked)}):
        text += (
            " The doubt that is asked for changes the diversity more than the form in which the "
            "label is told."
        )
    if to_one_network_only(asked):
        text += (
            " But diverse to whom? In the features of another network, trained on other images, "
            "the images asked for doubt differ *less*, by "
            + each(asked, lambda d: change(matched_gap(asked, HOT, SOFT, "oracle_intra", d), ".3f"))
            + ". The diversity that is measured here is one of the inverted network's features."
        )
    return text


ARMS = {"label": "label", "vector": "soft vector", "vector, hot": "hot vector", "matrix": "matrix",
        "vector-matrix": "both together"}  # fmt: skip


@needs_runs
def matching(asked: Asked) -> str:
    """Which arms may be compared, and what the comparison of those says."""
    found = {d: matched_arms(asked, FOUR, d) for d in datasets(asked)}
    text = (
        "Ways of telling are compared only where they are *matched*: every seed of each reaches an "
        "inversion accuracy of 95 %, and in no seed do two of them lie more than one point apart. "
        "Told by a soft vector alone, generators end at "
        f"{span(means(asked, 'vector', 'inversion_accuracy'), '.1%')}, by label, matrix or both at "
        f"{span([m for n in FOUR if n != 'vector' for m in means(asked, n, 'inversion_accuracy')], '.1%')}"
        "."
    )
    for arms in dict.fromkeys(map(tuple, found.values())):
        place = on(asked, [d for d in found if tuple(found[d]) == arms]).replace("on", "On", 1)
        if not arms:
            text += f" {place} the four are not matched, and not compared."
            continue
        text += f" {place} {listed([ARMS[arm] for arm in arms])} are matched"
        text += (
            ": the hot vector, which asks for certainty, stands in for the soft one."
            if "vector, hot" in arms
            else "."
        )
    if not any(found.values()):
        return text
    text += (
        " The diversity told by vector and matrix minus the largest of the other matched arms is "
        + each(asked, lambda d: change(_above_others(asked, d)))
        + ", and that told by the matrix minus that told by the vector "
        + each(asked, lambda d: change(_matrix_minus_vector(asked, d)))
        + "."
    )
    hot = {d: _hot_above_others(asked, d) for d in datasets(asked)}
    if holds({d: _above_others(asked, d) for d in datasets(asked)}):
        text += " Among matched arms vector and matrix are the most diverse"
        if all("vector, hot" in arms for arms in found.values()):
            text += ", and the only ones here that ask for doubt"
        text += "."
    text += (
        " With a hot vector beside the matrix, which asks for none, the same difference is "
        + each(asked, lambda d: change(hot[d]))
        + "."
    )
    return text


def _above_others(asked: Asked, dataset: str) -> list[float]:
    arms = matched_arms(asked, (SOFT, *OTHERS), dataset)
    return above_best(asked, arms[0], arms[1:], dataset) if arms else []


def _hot_above_others(asked: Asked, dataset: str) -> list[float]:
    arms = matched_arms(asked, (HOT, *OTHERS), dataset)
    return above_best(asked, arms[0], arms[1:], dataset) if arms else []


def _matrix_minus_vector(asked: Asked, dataset: str) -> list[float]:
    arms = matched_arms(asked, ("matrix", "vector"), dataset)
    return gap(asked, *arms, "intra", dataset) if arms else []


@needs_runs
def confidence(asked: Asked) -> str:
    table = confidences(asked)
    off = (table["confidence"] - table["predicted"]).abs()
    return (
        f"Runs lie {off.mean():.3f} from the prediction on average, up to {off.max():.3f}. "
        f"With soft vectors and the weights of this chapter the confidence is "
        f"{span(means(asked, SOFT, 'confidence'), '.2f')}, with hot vectors "
        f"{span(means(asked, HOT, 'confidence'), '.2f')}; on test images it is "
        f"{span(means(asked, SOFT, 'test_confidence'), '.2f')}."
    )


@needs_runs
def terms(asked: Asked) -> str:
    """What each term of the loss is worth; features and pixels apart, each by its interval."""
    text = (
        "I06 asks for the diversity of features within a class. With all four terms minus "
        "cross-entropy alone it is "
        + each(asked, lambda d: change(matched_gap(asked, ALL_TERMS, CE_ONLY, "intra", d)))
        + "."
    )
    if holds(gaps(asked, ALL_TERMS, CE_ONLY, "intra")):
        text += " So by its features a class is less diverse with cross-entropy alone."
    text += (
        " The spread of pixels, which no claim asks for, is, with all four terms minus "
        "cross-entropy alone, "
        + each(asked, lambda d: change(matched_gap(asked, ALL_TERMS, CE_ONLY, "pixel_std", d)))
        + "."
    )
    if holds(gaps(asked, CE_ONLY, ALL_TERMS, "pixel_std")):
        text += " By its pixels a class varies more with cross-entropy alone: no single image."
    elif holds(gaps(asked, ALL_TERMS, CE_ONLY, "pixel_std")):
        text += " By its pixels, too, a class varies less with cross-entropy alone."
    text += (
        " All four terms minus all but orthogonality: "
        + each(asked, lambda d: change(_without(asked, "no orthogonality", d)))
        + "; minus all but the cosine term, which the papers credit: "
        + each(asked, lambda d: change(_without(asked, "no cosine", d)))
        + "."
    )
    return text


def _without(asked: Asked, name: str, dataset: str) -> list[float]:
    return matched_gap(asked, ALL_TERMS, name, "intra", dataset)


@needs_runs
def cosine(asked: Asked) -> str:
    """The weight of the cosine term, with and without the weights at which generators fail."""
    swept, largest = over_cosine(asked), max(r.parameters["cosine"] for r in over_cosine(asked).all)
    at_most = {
        d: per_seed(swept.where(cosine=largest), "inversion_accuracy", d) for d in datasets(asked)
    }
    text = (
        f"At γ = {largest:g} the inversion accuracy is "
        + each(asked, lambda d: f"{at_most[d].mean():.0%}" if len(at_most[d]) else "–")
        + "."
    )
    if failing := where({d: CONVERGED - values for d, values in at_most.items()}):
        text += (
            f" {on(asked, failing).replace('on', 'On', 1)} that lies below the 95 % that the "
            "papers train to: the generator fails there."
        )
    return text + (
        " The rank correlation of γ with the diversity within classes, mean over seeds, is "
        + each(asked, lambda d: _rho(rank_by_seed(swept, "cosine", "intra", d)))
        + " over all weights (I11), and "
        + each(asked, lambda d: _rho(rank_by_seed(working(asked, d), "cosine", "intra", d)))
        + " over those at which no generator of the data set falls below 95 % (I11-working); with "
        "the diversity between classes it is "
        + each(asked, lambda d: _rho(rank_by_seed(swept, "cosine", "inter", d)))
        + " and "
        + each(asked, lambda d: _rho(rank_by_seed(working(asked, d), "cosine", "inter", d)))
        + ". The lowest accuracy of a seed over all weights is "
        + each(asked, lambda d: span(lowest_accuracy(swept, "cosine", d)))
        + "."
    )


def _rho(values: Sequence[float]) -> str:
    return f"{np.mean(values):.2f}" if len(values) else "–"


def training_like(asked: Asked) -> str:
    """As far as this chapter answers whether inverted images are like those of the training set."""
    if not datasets(asked):
        return "Not run yet: the end of chapter 3 says why."
    soft, hot, test = (
        span(means(asked, name, measure))
        for name, measure in (
            (SOFT, "oracle_accuracy"),
            (HOT, "oracle_accuracy"),
            (SOFT, "oracle_test_accuracy"),
        )
    )
    apart = [
        {
            d: (
                per_seed(asked[SOFT], "oracle_test_accuracy", d)
                - per_seed(asked[name], "oracle_accuracy", d)
            ).dropna()
            for d in datasets(asked)
        }
        for name in (SOFT, HOT)
    ]
    return (
        ("Not by inverting alone. " if all(map(holds, apart)) else "")
        + f"An independent classifier names {soft} of images asked for doubt (soft vectors) as "
        f"asked, {hot} of those asked for certainty (hot vectors), and {test} of test images "
        "rightly. A loss that is meant to steer the generator to training-like images is tried in "
        "chapter 6."
    )


@needs_runs
def unlike(asked: Asked) -> str:
    text = (
        "Asked for doubt, images convince the other network in "
        + each(asked, lambda d: _share(mean(asked[SOFT], "oracle_accuracy", d)))
        + ", asked for certainty in "
        + each(asked, lambda d: _share(mean(asked[HOT], "oracle_accuracy", d)))
        + "."
    )
    if carried := carries_over(asked):
        text += (
            f" {on(asked, carried).replace('on', 'On', 1)} certainty carries over: another network, "
            "trained on other images, takes more of these images for the class, and more than by "
            "guessing."
        )
    return (
        text + " The distance to the nearest training image tells images asked for doubt from test "
        "images with an AUROC, over the seeds, of "
        + each(asked, lambda d: span(per_seed(asked[SOFT], "nearest_auroc", d), ".2f"))
        + "; 0.5 is guessing."
    )


def _share(value: float) -> str:
    return f"{value:.0%}" if np.isfinite(value) else "–"


@needs_runs
def pace(asked: Asked) -> str:
    """Whether the generator waits for the penny to drop, by both measures that were tried."""
    told = ("label", "vector")

    def half(dataset: str) -> str:
        found = (mean(asked[name], "steps_to_half", dataset) for name in told)
        return " and ".join(f"{steps:.0f}" if np.isfinite(steps) else "–" for steps in found)

    first = {d: steeper(asked, d) for d in datasets(asked)}
    second = {d: gap(asked, *told[::-1], "jump", d) for d in datasets(asked)}
    pairs = [value for values in first.values() for value in values]
    return (
        "Half of the images are right after "
        + each(asked, half)
        + " steps, told by the label and by a soft vector"
        + (
            ""
            if all(agree(asked, told, d) for d in datasets(asked))
            else " (not matched at the end of training, which a level on the way up does not need)"
        )
        + ". Two measures of a jump were tried. The "
        "first, written down before the runs, is the steepest rise between two observations over "
        "the mean rise; the vector's minus the label's is "
        + each(asked, lambda d: change(first[d], "+.1f"))
        + f", above 0 in {sum(value > 0 for value in pairs)} of {len(pairs)} seeds. It gives the "
        "verdict on I07. Between neighbouring observations the noise of 200 images can pass for a "
        "slope, so a second measure came after the runs: the steepest tenth of the way up over the "
        "mean slope. By it the vector's minus the label's is "
        + each(asked, lambda d: change(second[d]))
        + ". It has an entry of its own, I07-tenths."
    )


@needs_runs
def obeyed(asked: Asked) -> str:
    told = asked[SOFT]
    return (
        "When vector and matrix name different classes, the classifier sees the matrix's in "
        + each(asked, lambda d: _share(mean(told, "follows_matrix", d)))
        + " of cases and the vector's in "
        + each(asked, lambda d: _share(mean(told, "follows_vector", d)))
        + "; with a blank matrix the vector alone is right in "
        + each(asked, lambda d: _share(mean(told, "accuracy_blank_matrix", d)))
        + "."
    )


@needs_runs
def findings(asked: Asked) -> str:
    """What this chapter found that the papers do not say, as far as the runs carry it."""
    lines = []
    if doubt_is_diverse(asked):
        text = "**Doubt makes diversity** in the features of the network that is inverted"
        if to_one_network_only(asked):
            text += ", and less of it in those of another"
        lines.append(text + " ({numref}`fig-conditionings`).")
    if confidence_is_set(asked):
        text = "**Confidence is set, not found**: without the term that asks for doubt it is higher"
        lines.append(text + " ({numref}`fig-confidence`).")
    if carried := carries_over(asked):
        lines.append(
            "**Certainty carries over** to another network "
            + on(asked, carried)
            + " ({numref}`fig-unlike`)."
        )
    if holds({d: orthogonality_over_cosine(asked, d) for d in datasets(asked)}):
        lines.append(
            "**Orthogonality spreads a class** by more than the cosine term changes it "
            "({numref}`fig-terms`)."
        )
    if not lines:
        return "No difference that goes beyond the papers is carried on every data set."
    return "\n".join(f"- {line}" for line in lines)


@needs_runs
def tuned(asked: Asked, tried, weights: Mapping[str, float]) -> str:
    """What the rule chose, and what diversity costs."""
    runs = measured(tried)
    if not runs:
        return "*Not run.*"
    worst = runs.values("worst_class_accuracy")
    symbols = ", ".join(f"{s} = {w:g}" for s, w in zip("αβγδ", weights.values()))
    return (
        f"On {runs.title(runs.of('dataset')[0])} the rule takes {symbols}, and runs of this "
        "chapter have these weights unless they say otherwise. Over the "
        f"{len(runs)} settings that were tried the score goes from {min(runs.values('vendi')):.1f} "
        f"to {max(runs.values('vendi')):.1f} and the inversion accuracy that is lowest of a class from "
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
