"""Chapter 6: from runs to the measures of its claims, one function a claim.

asked: runs of `reconstructed` by design's names of questions.  premised, written: runs of
`premises` and `formulas`.  A data set that stands for another counts where that other was not run.
"""

from collections.abc import Callable

import pandas as pd

from chapters.training_like.design import FULL, INVERSION, PRIORS, SHORTCUT
from chapters.training_like.reading import (
    Asked,
    as_accurate,
    as_in_the_paper,
    gap,
    judged,
    larger_kid,
    measured,
    over_null,
    own_half,
    per_seed,
    rank_over_widths,
    ratio,
    required,
    worse_with_size,
)
from harness.results import Runs
from harness.statistics import over_seeds

Measures = dict[str, list[float]]
Evidence = dict[str, Measures]  # {data set: {measure: one value a seed}}


# --- premises: paper 002, §1 ----------------------------------------------------------------------


def T01(premised: Runs) -> Evidence:
    """Confidence on training images minus that on inverted ones."""

    def of(dataset: str) -> Measures:
        kinds = [
            per_seed(premised, f"confidence_{kind}_mean", dataset)
            for kind in ("training", "inverted_soft")
        ]
        return {"confidence_train_minus_inverted": list(kinds[0] - kinds[1])}

    return _by_title(premised, of)


def T02(premised: Runs) -> Evidence:
    """Input gradients of inverted over those of training images, of three functions."""
    names = {"outputs": "output", "probabilities": "probability", "loss": "loss"}

    def of(dataset: str) -> Measures:
        found = {}
        for name, function in names.items():
            values = ratio(premised, f"{function}_gradient", dataset, "inverted_soft", "training")
            found[f"{name}_gradient_ratio"] = values
            found[f"{name}_gradient_ratio_of_all"] = values
        return found

    return _by_title(premised, of)


def T03(premised: Runs) -> Evidence:
    """The same of gradients by the weights."""

    def of(dataset: str) -> Measures:
        values = ratio(premised, "weight_gradient", dataset, "inverted_soft", "training")
        return {"weight_gradient_ratio": values, "weight_gradient_ratio_of_all": values}

    return _by_title(premised, of)


# --- formulas: paper 002, §3.4 --------------------------------------------------------------------


def T04(written: Runs) -> Measures:
    """The gradient term against finite differences, and the batch's against that of images."""
    return _written(
        written,
        finite_difference_error="finite_difference_error",
        batch_and_single_differ="batch_and_single_differ",
    )


def T05(written: Runs) -> Measures:
    """The pixel term against the formula written out."""
    return _written(
        written, largest_deviation="pixels_deviation", term_inside_range="pixels_inside_range"
    )


def T06(written: Runs) -> Measures:
    """The variation term against the formula written out."""
    return _written(written, largest_deviation="variation_deviation")


def T07(written: Runs) -> Measures:
    """How far a perturbation moves a pixel beyond its bound, with random signs and one step."""
    return _written(written, moved_beyond_bound="moved_beyond_bound")


def S14(written: Runs) -> Measures:
    """Conditions whose vector and matrix both name the label, with either matrix."""
    return _written(
        written,
        labels_agree_row_and_column="labels_agree_row_and_column",
        labels_agree_row_or_column="labels_agree_row_or_column",
    )


# --- likeness -------------------------------------------------------------------------------------


def T08(asked: Asked) -> Evidence:
    """KID with each of the three signals left out, minus that with all terms."""
    names = {
        "priors": PRIORS,
        "without_confidence": "no confidence",
        "without_robustness": "no robustness",
        "without_gradient": "no gradient",
    }
    larger = {name: larger_kid(asked, question) for name, question in names.items()}
    return _by_title(
        measured(asked[FULL]),
        lambda d: {f"kid_{name}_minus_full": list(gaps[d]) for name, gaps in larger.items()},
    )


def T09(asked: Asked) -> Evidence:
    """Agreement of the oracle against a classifier with all three regularisers."""

    def of(dataset: str) -> Measures:
        values = list(_over_required(asked, dataset))
        return {
            f"{name}_oracle_minus_required": values
            for name in ("dropout", "batch_norm", "weight_decay")
        }

    return _by_title(measured(asked[FULL]), of)


def T13(asked: Asked) -> Evidence:
    """Likeness to classes, and to single training images, of few images."""
    return _by_title(_few(asked), lambda d: {**_class_level(asked, d), **_instance_level(asked, d)})


def T13_class(asked: Asked) -> Evidence:
    """Likeness to classes alone."""
    return _by_title(_few(asked), lambda d: _class_level(asked, d))


def T13_instance(asked: Asked) -> Evidence:
    """Likeness to single training images alone."""
    return _by_title(_few(asked), lambda d: _instance_level(asked, d))


def T13_swap(asked: Asked) -> Evidence:
    """Outputs that are nearer to the half that their classifier was trained on."""
    return _by_title(
        measured(asked["few, other half"]), lambda d: {"own_half_share": list(own_half(asked, d))}
    )


def T15(asked: Asked) -> Measures:
    """Whether intervals contain chance, where there are fewer parameters than pixels."""
    under = measured(asked[FULL]).filter(lambda r: r["parameters"] < r["training_pixels"])
    found: Measures = {}
    for name, measure, chance in (
        ("gap", None, 0.0),
        ("membership", "membership_auroc", 0.5),
        ("calibrated", "auroc", 0.5),
    ):
        where = "zero" if chance == 0 else "half"
        values = found.setdefault(f"{name}_interval_contains_{where}", [])
        for dataset in judged(under):
            by_seed = (
                per_seed(under, measure, dataset)
                if measure
                else per_seed(under, "training_accuracy", dataset)
                - per_seed(under, "held_out_accuracy", dataset)
            )
            interval = over_seeds(by_seed)
            if interval.known:
                contains = float(interval.low <= chance <= interval.high)
                values += [contains] * len(by_seed)
    return found


def T16(asked: Asked) -> Evidence:
    """What the stationarity term changes."""

    def of(dataset: str) -> Measures:
        pair = [measured(asked[name]) for name in ("few, stationarity", "few, all nine terms")]
        return {
            f"{measure}_change": list(gap(*pair, measure, dataset))
            for measure in ("auroc", "tpr_at_1_percent", "kid", "oracle_accuracy")
        }

    return _by_title(measured(asked["few, stationarity"]), of)


# --- sizes ----------------------------------------------------------------------------------------

GREY = ("MNIST", "Fashion-MNIST")


def T10(asked: Asked) -> Evidence:
    """Likeness over the paper's numbers of training images, of grey sets."""
    return _over_sizes(asked, grey=True, exact=True)


def T10_small(asked: Asked) -> Evidence:
    """The same over smaller numbers."""
    return _over_sizes(asked, grey=True, exact=False)


def T11(asked: Asked) -> Evidence:
    """Likeness over the paper's numbers of training images, of colour sets."""
    return _over_sizes(asked, grey=False, exact=True)


def T11_small(asked: Asked) -> Evidence:
    """The same over smaller numbers."""
    return _over_sizes(asked, grey=False, exact=False)


def I24(asked: Asked) -> Evidence:
    """T10 and T11 together."""
    return _over_sizes(asked, exact=True)


def I24_small(asked: Asked) -> Evidence:
    """The same over smaller numbers."""
    return _over_sizes(asked, exact=False)


# --- classifiers ----------------------------------------------------------------------------------


def I22(asked: Asked) -> Measures:
    """Rank correlation of the capacity with likeness, and with the calibrated AUROC."""
    by_width = asked["by width"]
    return {
        "rank_correlation_likeness": rank_over_widths(by_width, "kid", -1),
        "rank_correlation_calibrated_auroc": rank_over_widths(by_width, "auroc"),
    }


def I23(asked: Asked) -> Evidence:
    """Calibrated AUROC of an MLP minus that of a CNN, where both are as accurate."""
    mlp, cnn = measured(asked["few, MLP"]), _few(asked)
    return {
        mlp.title(d): {"auroc_mlp_minus_cnn": list(gap(mlp, cnn, "auroc", d))}
        for d in judged(mlp)
        if as_accurate(mlp, cnn, d)
    }


def I25(asked: Asked) -> Evidence:
    """Agreement of the oracle over what is asked for, and half the inverted KID minus KID."""

    def of(dataset: str) -> Measures:
        full, plain = (
            per_seed(measured(asked[name]), "kid", dataset) for name in (FULL, INVERSION)
        )
        return {
            "oracle_accuracy_minus_required": list(_over_required(asked, dataset)),
            "half_inverted_kid_minus_kid": list((plain / 2 - full).dropna()),
        }

    return _by_title(measured(asked[FULL]), of)


def I27(asked: Asked) -> Measures:
    """Agreement of the oracle for each class of CIFAR-10."""
    full = measured(asked[FULL])
    found: Measures = {}
    for dataset in ("cifar10", "cifar10-jpeg"):
        for result in full.where(dataset=dataset):
            for k, value in enumerate(result["oracle_by_class"]):
                found.setdefault(f"class_{k}", []).append(float(value))
        if found:
            break
    return found


def S13(asked: Asked) -> Evidence:
    """Patch intensity and agreement, compared between architectures trained on patches."""
    planted = measured(asked["shortcuts"]).where(shortcut="planted")
    mlp, cnn, vit = (planted.where(architecture=name) for name in SHORTCUT)

    def of(dataset: str) -> Measures:
        def more(first: Runs, second: Runs, measure: str) -> list[float]:
            return list(gap(first, second, measure, dataset))

        return {
            "patch_intensity_vit_minus_mlp": more(vit, mlp, "patch_intensity"),
            "patch_intensity_mlp_minus_cnn": more(mlp, cnn, "patch_intensity"),
            "oracle_cnn_minus_mlp": more(cnn, mlp, "oracle_accuracy"),
            "oracle_mlp_minus_vit": more(mlp, vit, "oracle_accuracy"),
        }

    return _by_title(planted, of)


# --- helpers --------------------------------------------------------------------------------------


def _by_title(runs: Runs, of: Callable[[str], Measures]) -> Evidence:
    """{title: measures of that data set}, for those that the runs have and that are judged."""
    return {runs.title(d): of(d) for d in judged(runs)}


def _written(written: Runs, **measures: str) -> Measures:
    return {name: [float(r[of]) for r in written] for name, of in measures.items() if written}


def _few(asked: Asked) -> Runs:
    return measured(asked["few, all nine terms"])


def _over_required(asked: Asked, dataset: str) -> pd.Series:
    return per_seed(measured(asked[FULL]), "oracle_accuracy", dataset) - required(dataset)


def _class_level(asked: Asked, dataset: str) -> Measures:
    plain = measured(asked["few, inversion loss"])
    return {
        "kid_inversion_minus_reconstruction": list(gap(plain, _few(asked), "kid", dataset)),
        "oracle_reconstruction_minus_inversion": list(
            gap(_few(asked), plain, "oracle_accuracy", dataset)
        ),
    }


def _instance_level(asked: Asked, dataset: str) -> Measures:
    few = _few(asked)
    return {
        "auroc": list(per_seed(few, "auroc", dataset)),
        "tpr_at_1_percent": list(per_seed(few, "tpr_at_1_percent", dataset)),
        "hits_over_null": list(over_null(few, "hits", dataset)),
    }


def _over_sizes(asked: Asked, *, exact: bool, grey: bool | None = None) -> Evidence:
    by_size = measured(asked["by size"])
    found = {}
    for d in judged(by_size):
        title = by_size.title(d)
        is_grey = title.startswith(GREY)
        if as_in_the_paper(by_size, d) == exact and grey in (None, is_grey):
            found[title] = worse_with_size(by_size, d)
    return {title: measures for title, measures in found.items() if measures}
