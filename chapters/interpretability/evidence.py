"""Chapter 4: from runs to the measures of its claims, one function a claim.

looked: runs of `interpreted`.  swept: chapter 3's runs over the weight of the cosine term.
"""

from chapters.interpretability.reading import (
    less_overlap,
    measured,
    most_with_two,
    per_seed,
    rank_by_seed,
)
from harness.results import Runs

Evidence = dict[str, dict[str, list[float]]]  # {data set: {measure: one value a seed}}


def I12(looked: Runs) -> Evidence:
    """Inverted images that keep their class on the plane of their two principal components."""
    return {
        looked.title(d): {"region_agreement": per_seed(looked, "inverted_agreement", d)}
        for d in looked.of("dataset")
    }


def I13(swept: Runs) -> Evidence:
    """Classes with two clusters, at the weight where most have two."""
    return {
        swept.title(d): {"classes_with_two": most_with_two(swept, d)[1]}
        for d in measured(swept).of("dataset")
    }


def I14(swept: Runs) -> Evidence:
    """Rank correlation of the cosine weight with the number of clusters."""
    return {
        swept.title(d): {"rho_clusters": rank_by_seed(swept, d)}
        for d in measured(swept).of("dataset")
    }


def I15(looked: Runs) -> Evidence:
    """Units that fire on training, test and inverted images, and a detector made of them."""
    return {
        looked.title(d): {
            "classes_with_less_overlap": [
                less_overlap(result)
                for result in sorted(
                    looked.where(dataset=d), key=lambda result: result.parameters["seed"]
                )
            ],
            "detector_auroc": per_seed(looked, "auroc_units", d),
        }
        for d in looked.of("dataset")
    }


def I16(looked: Runs) -> Evidence:
    """How often a linear probe on the units names the generator."""
    probed = looked.filter(lambda result: "probe_codes" in result.scalars)
    return {
        looked.title(d): {"probe_accuracy": per_seed(probed, "probe_codes", d)}
        for d in probed.of("dataset")
    }
