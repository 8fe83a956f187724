"""What chapter 6 says in words, with numbers from its runs; a comparison only if they carry it."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from chapters.network_inversion.reading import in_its_place
from chapters.training_like.design import FULL, INVERSION, PRIORS, Chosen
from chapters.training_like.reading import (
    Asked,
    everywhere,
    gap,
    larger_kid,
    measured,
    more_agreement,
    over_null,
    own_half,
    per_seed,
    ratio,
    sizes_of,
    spread,
)
from harness.results import Runs
from harness.statistics import Interval, over_seeds
from harness.words import if_sure, listed

SIGNALS = {
    "confidence": "no confidence",
    "robustness": "no robustness",
    "the gradient": "no gradient",
}


# --- what several places of the page rest on ----------------------------------------------------


def agrees_more(asked: Asked) -> Interval:
    """Whether the oracle agrees more with reconstructions than with inverted images."""
    return everywhere(more_agreement(asked))


def instance_gain(asked: Asked) -> dict[str, Interval]:
    """{data set: calibrated AUROC − 0.5}, at the smallest number of training images."""
    few = measured(asked["few, all nine terms"])
    return {d: over_seeds(per_seed(few, "auroc", d) - 0.5) for d in few.of("dataset")}


def told_apart(asked: Asked) -> list[str]:
    """Data sets on which training images are nearer than held-out ones, and more than by a null."""
    few = measured(asked["few, all nine terms"])
    return [
        few.title(d)
        for d, gain in instance_gain(asked).items()
        if gain.low > 0 and over_seeds(over_null(few, "auroc", d)).low > 0
    ]


def carried(asked: Asked, question: str) -> list[str]:
    """Data sets on which leaving something out raises KID."""
    return [
        asked[FULL].title(d)
        for d, values in larger_kid(asked, question).items()
        if over_seeds(values).low > 0
    ]


# --- captions -----------------------------------------------------------------------------------


def gallery(asked: Asked) -> str:
    return if_sure(agrees_more(asked), "**With nine terms another network sees the class.** ")


def premises(premised: Runs) -> str:
    gaps = {
        d: pd.Series(ratio(premised, "weight_gradient", d, "inverted_soft", "training")) - 1
        for d in premised.of("dataset")
    }
    return if_sure(
        everywhere(gaps),
        "**The gradient by the weights is larger at inverted images than at training images.** ",
    )


# --- in the order of the page -------------------------------------------------------------------


def answer(asked: Asked) -> str:
    full, few = (measured(asked[name]) for name in (FULL, "few, all nine terms"))
    if not full:
        return "Nothing has been run yet: the end of the page says why."
    plain = measured(asked[INVERSION])
    return (
        if_sure(agrees_more(asked), "To its classes, as another network sees them. ")
        + "An independent classifier agrees with "
        f"{spread(full, 'oracle_accuracy', '.0%')} of reconstructions and "
        f"{spread(plain, 'oracle_accuracy', '.0%')} of inverted images. "
        + singled_out(few, told_apart(asked))
    )


def singled_out(few: Runs, known: Sequence[str]) -> str:
    """How far single training images stand out; known: the data sets on which intervals carry it."""
    if not few:
        return ""
    auroc = f"{spread(few, 'auroc', '.2f')}, where chance is 0.5."
    if known:
        return (
            f"Single training images stand out from held-out ones on {listed(known)}: AUROC, over "
            f"all sets, {auroc}"
        )
    return f"Of single training images against held-out ones the AUROC is {auroc}"


def limits(asked: Asked, wanted: int, steps: int, classifier_steps: int, precision: str) -> str:
    """wanted: number of data sets that the profile has."""
    full = measured(asked[FULL])
    counts = {len(full.where(dataset=d).of("seed")) for d in full.of("dataset")} or {0}
    seeds = " to ".join(map(str, sorted({min(counts), max(counts)})))
    return (
        f"What limits this: {len(full.of('dataset'))} of {wanted} data sets run so far; {seeds} "
        f"seed{'s' * (max(counts) != 1)} for what is compared; "
        f"{steps} steps a generator and {classifier_steps:,} a classifier; {precision}; one small "
        "convolutional network. The papers give no weights, no perturbation and no scores."
        + in_its_place(full.of("dataset"))
    )


def chosen(best: Mapping[str, Chosen], titles: Mapping[str, str]) -> str:
    """What the rule chose, in words."""
    if not best:
        return "No weights were chosen: the runs that choose them are not here."
    return (
        "It chose "
        + "; ".join(
            f"{titles[d]}: {of.perturbation} perturbation of {of.radius:g}, weight "
            f"{of.weights['variation']:g} of the variation"
            for d, of in best.items()
        )
        + "."
    )


def confidence(premised: Runs) -> str:
    """T01 in numbers: three kinds of image."""
    values = {
        kind: spread(premised, f"confidence_{kind}_mean", ".2f")
        for kind in ("training", "held_out", "inverted_soft", "inverted_hot")
    }

    def by_seed(kind: str, dataset: str) -> pd.Series:
        return per_seed(premised, f"confidence_{kind}_mean", dataset)

    marked = [
        premised.title(d)
        for d in premised.of("dataset")
        if over_seeds(
            0.1 * (by_seed("training", d) - by_seed("inverted_soft", d))
            - (by_seed("training", d) - by_seed("held_out", d)).abs()
        ).low
        > 0
    ]
    return (
        "Mean probability of the label: "
        f"{values['training']} on training images, {values['held_out']} on held-out ones, "
        f"{values['inverted_soft']} on images inverted with soft vectors, and "
        f"{values['inverted_hot']} with hot ones, which ask for it."
        + (
            f" On {listed(marked)} the gap to held-out images is less than a tenth of that to "
            "inverted ones: by the ledger's rule a signal of the distribution, not of training."
            if marked
            else ""
        )
    )


def gradients(premised: Runs) -> str:
    """T02 and T03 with their control."""
    parts = []
    for d in premised.of("dataset"):
        inverted, other = (
            np.mean(ratio(premised, "weight_gradient", d, kind, "training") or [np.nan])
            for kind in ("inverted_soft", "held_out")
        )
        parts.append(f"{premised.title(d)} {inverted:.3g} and {other:.3g}")
    return (
        "The gradient by the weights at inverted and at held-out images, over that at training "
        f"images (medians): {'; '.join(parts)}. Told by it alone, a member is known with an AUROC "
        f"of {spread(premised, 'weight_gradient_membership_auroc', '.2f')}."
    )


def signals(asked: Asked) -> str:
    """T08: what each of the three is worth."""
    questions = {**SIGNALS, "all three": PRIORS}
    found = {
        name: (carried(asked, question), measured(asked[question]).of("dataset"))
        for name, question in questions.items()
    }
    return (
        "Leaving out raises KID, with an interval above 0: "
        + "; ".join(
            f"{name}, on {len(sets)} of {len(run)} data sets"
            + (f" ({', '.join(sets)})" if sets else "")
            for name, (sets, run) in found.items()
        )
        + "."
    )


def likeness(asked: Asked) -> str:
    full, plain = (measured(asked[name]) for name in (FULL, INVERSION))
    return (
        f"KID to the training images is {spread(full, 'kid', '.2f')} with all terms, "
        f"{spread(plain, 'kid', '.2f')} with the inversion loss and "
        f"{spread(full, 'test_kid', '.3f')} for held-out images. The second oracle, an MLP, agrees "
        f"with {spread(full, 'second_oracle_accuracy', '.0%')} of the labels, and the first with "
        f"{spread(full, 'oracle_test_accuracy', '.0%')} of held-out images. Within a class "
        "1 − the mean cosine of features is "
        f"{spread(full, 'diversity', '.2f')}, of inverted images {spread(plain, 'diversity', '.2f')}."
    )


def sizes(by_size: Runs) -> str:
    """I24: how many comparisons of neighbouring sizes their interval decides, and which way."""
    own = measured(by_size)
    if not own:
        return "The sizes are not run."
    steps = [
        over_seeds((per_seed(own, "kid", d, n=more) - per_seed(own, "kid", d, n=fewer)).dropna())
        for d in own.of("dataset")
        for fewer, more in itertools.pairwise(sizes_of(own, d))
    ]
    rises, falls = sum(i.low > 0 for i in steps), sum(i.high < 0 for i in steps)
    return (
        f"From one number of training images to the next KID rises in {rises} of {len(steps)} "
        f"comparisons by the interval, and falls in {falls} of {len(steps)}. The classifier names "
        f"{spread(own, 'training_accuracy', '.0%')} of its training and "
        f"{spread(own, 'held_out_accuracy', '.0%')} of held-out images (means of data sets)."
    )


def instances(asked: Asked) -> str:
    few = measured(asked["few, all nine terms"])
    parts = [
        f"{few.title(d)} {gain.estimate + 0.5:.3f} [{gain.low + 0.5:.3f}, {gain.high + 0.5:.3f}]"
        for d, gain in instance_gain(asked).items()
    ]
    halves = {d: over_seeds(own_half(asked, d)) for d in few.of("dataset")}
    shares = [
        f"{few.title(d)} {i.estimate:.2f} [{i.low:.2f}, {i.high:.2f}]"
        for d, i in halves.items()
        if i.known
    ]
    remembered = everywhere(
        {d: per_seed(few, "membership_auroc", d) - 0.5 for d in few.of("dataset")}
    )
    return (
        f"Calibrated AUROC: {'; '.join(parts) or 'not run'}. Share of reconstructions nearer to "
        f"the half that the classifier saw: {'; '.join(shares) or 'not run'}; chance is 0.5. "
        "The classifier's loss tells members with an AUROC of "
        f"{spread(few, 'membership_auroc', '.2f')}"
        + if_sure(remembered, ": it does remember, on every data set")
        + "."
    )


def stationarity(asked: Asked) -> str:
    """T16: what our term changes."""
    pair = [measured(asked[name]) for name in ("few, stationarity", "few, all nine terms")]
    changes = {d: over_seeds(gap(*pair, "auroc", d)) for d in pair[0].of("dataset")}
    parts = [
        f"{pair[0].title(d)} {i.estimate:+.3f} [{i.low:+.3f}, {i.high:+.3f}]"
        for d, i in changes.items()
        if i.known
    ]
    return f"Its change of the calibrated AUROC: {'; '.join(parts) or 'not run'}."


def patches(asked: Asked) -> str:
    runs = measured(asked["shortcuts"])
    parts = []
    for name in ("ViT", "MLP", "CNN"):
        own = runs.where(architecture=name)
        planted, control = (
            spread(own.where(shortcut=kind), "patch_intensity", ".2f")
            for kind in ("planted", "control")
        )
        parts.append(f"{name} {planted} (without patches {control})")
    return f"Intensity inside the own patch over that outside: {'; '.join(parts)}."


def linear(asked: Asked) -> str:
    """T05: what the pixel term does where it can do something."""
    with_term, without = (
        measured(asked[name]) for name in ("linear output", "linear output, no pixels")
    )
    return (
        "Share of pixels outside the range with a linear output: "
        f"{spread(with_term, 'pixels_outside', '.1%')} with the pixel term, "
        f"{spread(without, 'pixels_outside', '.1%')} without."
    )
