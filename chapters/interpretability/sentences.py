"""What chapter 4 says in words, with numbers from its runs; a comparison only if they carry it."""

from collections.abc import Mapping

import numpy as np

from chapters.interpretability.reading import (
    COIN,
    above,
    above_everywhere,
    average,
    below,
    ends,
    measured,
    more_with_two,
    preferred,
    ranks,
    spread,
    with_coin,
    without_coin,
)
from chapters.network_inversion.reading import in_its_place, over_cosine, seen
from harness.results import Runs
from harness.statistics import Interval
from harness.words import if_sure

Asked = Mapping[str, Runs]  # of chapter 3, by its names of questions


# --- what several places of the page rest on ----------------------------------------------------


def most_lose_their_class(looked: Runs) -> Interval:
    return below(looked, "inverted_agreement", 0.5)


def coin_makes_clusters(asked: Asked) -> Interval:
    return more_with_two(asked[COIN["matrix"]], asked["matrix"])


def shorter(looked: Runs) -> Interval:
    """Whether inverted images have shorter feature vectors than test images."""
    return above(looked, "auroc_norm", 0.5)


def length_beats_units(looked: Runs) -> Interval:
    return above_everywhere(looked, "auroc_norm", "auroc_units")


def other_units(looked: Runs) -> Interval:
    return above_everywhere(looked, "overlap_test", "overlap_inverted", np.mean)


# --- captions -----------------------------------------------------------------------------------


def lengths(looked: Runs) -> str:
    return if_sure(
        shorter(looked), "**Inverted images have shorter feature vectors than test images.** "
    )


def planes(looked: Runs) -> str:
    return if_sure(
        most_lose_their_class(looked),
        "**Most inverted images lie on the wrong side of the drawn borders.** ",
    )


def coin_caption(asked: Asked) -> str:
    return if_sure(
        coin_makes_clusters(asked), "**Told by the matrix alone, the coin makes the clusters.** "
    )


def overlap_caption(looked: Runs) -> str:
    return if_sure(other_units(looked), "**Inverted images fire other units than test images.** ")


def detectors_caption(looked: Runs) -> str:
    return if_sure(
        length_beats_units(looked), "**Length alone tells more than the units that fire.** "
    )


# --- in the order of the page -------------------------------------------------------------------


def answer(looked: Runs, asked: Asked) -> str:
    if not looked:
        return "Nothing has been run yet: the end of the page says why."
    all_fall = all(
        interval.low > 0
        for interval in (
            most_lose_their_class(looked),
            coin_makes_clusters(asked),
            length_beats_units(looked),
        )
    )
    return (
        ("Less than they seem to. " if all_fall else "")
        + f"On the plane {spread(looked, 'inverted_agreement', '.0%')} of the images keep their "
        f"class. {with_coin(asked)} of ten classes form two clusters when the generator tosses a "
        f"coin, {without_coin(asked)} when not. Sparse units tell inverted from test images with an "
        f"AUROC of {spread(looked, 'auroc_units', '.2f')}, the mere length of the feature vector "
        f"with {spread(looked, 'auroc_norm', '.3f')}"
        + if_sure(length_beats_units(looked), ": it is the better detector")
        + "."
    )


def limits(looked: Runs, n: int, precision: str) -> str:
    """How much was run, of what, and in whose place."""
    seeds = {len(looked.where(dataset=d).of("seed")) for d in looked.of("dataset")} or {0}
    count = " to ".join(map(str, sorted({min(seeds), max(seeds)})))
    few = [f"{most:,} of {looked.title(d)}" for d, most in seen(looked.of("dataset"), n).items()]
    text = (
        f"What limits this: {count} seed{'s' * (max(seeds) != 1)}; {precision} throughout; a "
        f"small convolutional network, trained on {n:,} images"
        + (f", or on half of a set that has not twice as many ({' and '.join(few)})" if few else "")
        + ". The paper shows one figure of each kind, without numbers."
    )
    return text + in_its_place(looked.of("dataset"))


def plane(looked: Runs) -> str:
    return (
        f"The plane holds {spread(looked, 'inverted_explained', '.0%', sum)} of the variance of "
        f"inverted features, and {spread(looked, 'inverted_agreement', '.0%')} of the images keep "
        "their class on it ({numref}`tab-planes` has training images beside them)."
        + if_sure(
            most_lose_their_class(looked),
            " The borders in such a figure are not the borders that decided.",
        )
    )


def clusters(looked: Runs, asked: Asked) -> str:
    swept = measured(over_cosine(asked))
    heaviest = swept.where(cosine=max(swept.of("cosine"), default=0.0))
    return (
        f"In the features a class forms {spread(looked, 'clusters_in_features', '.2f', average)} "
        "clusters. The rank correlation of their number with the weight γ of the cosine term is "
        f"{ranks(asked)} over all weights, and {ranks(asked, of_working=True)} over those at which "
        "no generator of the data set falls below an inversion accuracy of 95 %. At the largest "
        f"weight a class forms {spread(heaviest, 'clusters', '.2f', average)} clusters, and "
        f"{spread(heaviest, 'inversion_accuracy', '.0%')} of the images have the class that was "
        "asked for ({numref}`fig-clusters`)."
    )


def coin(asked: Asked) -> str:
    return (
        f"Told by the matrix alone, {with_coin(asked)} of ten classes form exactly two clusters "
        f"with the coin, {without_coin(asked)} without."
        + if_sure(
            coin_makes_clusters(asked),
            " Two clusters then show the generator's own input, not the classifier's view of the "
            "class.",
        )
        + " The verdict is on the weights of the cosine term, as it was written down."
    )


def overlap(looked: Runs) -> str:
    return (
        "The units of training images overlap with those of test images by "
        f"{spread(looked, 'overlap_test', '.2f', np.mean)}, with those of inverted images by "
        f"{spread(looked, 'overlap_inverted', '.2f', np.mean)}."
        + if_sure(
            other_units(looked), " So the first half of the paper's claim holds: the units differ."
        )
    )


def portraits(looked: Runs) -> str:
    return (
        "The three units of the last rows fire on "
        f"{spread(looked, 'portrait_share_inverted', '.0%', preferred)} of inverted and "
        f"{spread(looked, 'portrait_share_training', '.0%', preferred)} of training images "
        "(means of data sets)."
    )


def detectors(looked: Runs) -> str:
    return (
        "The length of the feature vector alone tells inverted from test images with an AUROC of "
        f"{spread(looked, 'auroc_norm', '.3f')}, the units with "
        f"{spread(looked, 'auroc_units', '.2f')} (means of data sets; single seeds: "
        f"{ends(looked, 'auroc_units', '.2f')})."
        + if_sure(
            length_beats_units(looked),
            " On every data set the length is the better detector, and needs no dictionary.",
        )
    )


def directions(looked: Runs) -> str:
    return (
        "At equal length the units have an AUROC of "
        f"{spread(looked, 'auroc_units_direction', '.2f')}, and what the dictionary leaves "
        f"unexplained has {spread(looked, 'auroc_reconstruction_direction', '.2f')}."
        + if_sure(
            above(looked, "auroc_reconstruction_direction", 0.5),
            " So it is not length alone: the directions differ from those of test images, too.",
        )
    )


def makers(looked: Runs, generators: int) -> str:
    guessing = 1 / generators
    probed = looked.filter(lambda result: "probe_features" in result.scalars)
    return (
        f"It names the generator in {spread(probed, 'probe_codes', '.0%')} of cases from the units "
        f"and {spread(probed, 'probe_features', '.0%')} from the features "
        f"({{numref}}`tab-probe`); guessing is right in {guessing:.0%}."
        + if_sure(
            above(probed, "probe_features", guessing),
            " Generators have a handwriting: the images of one do not show all that the "
            "classifier would accept.",
        )
    )
