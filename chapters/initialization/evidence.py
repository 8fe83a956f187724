"""Evidence for the claims of chapter 8: one function a claim, runs -> {measure: one value a seed}.

A claim about two networks has {network: {measure: values}}. `null_` before a measure: what the start
itself reaches, without any step. Only what an attack is said to *achieve* has such a null; that it
stays where it started is what no step would do by definition.

    proved     the theory in small networks         noisy    KKT from normal noise
    mixed      both attacks from mixed starts       sized    networks by their width
    started    bilevel on one hidden layer          surface  slices, end points, barriers
    told       what tells hits, on the draws that judge; tuning: on those that choose
"""

from collections.abc import Mapping, Sequence

from chapters.initialization import reading
from chapters.initialization.design import (
    BILEVEL,
    INVENTED,
    NATURAL,
    NETWORKS,
    NOISE,
    OF_THE_PAPER,
    OTHERS,
    PAPER,
    SAME,
    TABLE_1,
    TELLERS,
    TRUTH,
)
from chapters.initialization.reading import at, by
from harness.results import Runs

Measures = dict[str, list[float]]
SHORT = {"noise": "random", "the training images": "truth", "other images": "partition"}


# --- theory -----------------------------------------------------------------------------------


def R01(proved: Runs) -> Measures:
    return _measures(proved, ("relative_difference_fixed", "relative_difference_free"))


def R02(proved: Runs) -> Measures:
    return _measures(proved, ("violations",))


def R03(proved: Runs) -> Measures:
    return _measures(proved, ("gradient_norm", "distance_to_training", "rank_above_bound"))


def R04(proved: Runs) -> Measures:
    return _measures(proved, ("gradient_norm_over_training", "distinct_images_in_class"))


def R05(sized: Runs) -> Mapping[str, Measures]:
    """The ranks, for each attack that was run."""
    return {
        attack: {
            "rank_correlation_parameters_auroc": reading.ranks_by_width(own, "auroc"),
            "rank_correlation_parameters_tpr": reading.ranks_by_width(own, "tpr_at_1_percent"),
        }
        for attack in sized.of("attack")
        for own in [sized.where(attack=attack)]
    }


def R17(proved: Runs) -> Measures:
    return _measures(proved, ("settings", "distinct_starts"))


# --- the bilevel attack -----------------------------------------------------------------------


def R06(mixed: Runs) -> Measures:
    return _table_1(by(mixed, BILEVEL), "affine")


def R07(started: Runs) -> Measures:
    return _table_1(started, "hidden")


def _table_1(runs: Runs, network: str) -> Measures:
    found: Measures = {}
    for start, paper in TABLE_1[network].items():
        values = at(runs, reading.STARTS[start]).values("distance")
        found[f"distance_{SHORT[start]}"] = values
        found[f"distance_{SHORT[start]}_over_paper"] = [value / paper for value in values]
    return found if any(found.values()) else {}


def R08(mixed: Runs, started: Runs) -> Mapping[str, Measures]:
    return _both(
        mixed,
        started,
        lambda runs: {
            "distance_truth_minus_random": reading.minus(
                at(runs, TRUTH), at(runs, NOISE), "distance"
            )
        },
    )


def R09(mixed: Runs, started: Runs) -> Mapping[str, Measures]:
    def measures(runs: Runs) -> Measures:
        own = at(runs, NOISE)
        return {
            "auroc_interval_contains_half": _said(own, reading.contains(own.values("auroc"), 0.5)),
            "excess_interval_contains_zero": _said(own, reading.contains(own.values("excess"), 0)),
            "high_frequencies_over_start": [
                run["high_frequencies"] / run["high_frequencies_at_start"] for run in own
            ],
        }

    return _both(mixed, started, measures)


def _said(runs: Runs, holds: bool) -> list[float]:
    """What is true of all seeds together, once for each; of one seed nothing is."""
    return [float(holds)] * len(runs) if len(runs) > 1 else []


def R10(mixed: Runs) -> Measures:
    runs = at(by(mixed, BILEVEL), TRUTH)
    return _with_null(runs, ("median_psnr",)) | (
        {"relative_drift": runs.values("relative_drift"), "null_relative_drift": [0.0] * len(runs)}
        if runs
        else {}
    )


def R11(started: Runs) -> Measures:
    return _with_null(at(started, TRUTH), ("own_image_nearest", "median_psnr"))


def R12(mixed: Runs, started: Runs) -> Mapping[str, Measures]:
    return _both(
        mixed,
        started,
        lambda runs: _measures(
            at(runs, OTHERS), ("nearer_to_start_by_distance", "nearer_to_start_by_correlation")
        ),
    )


# --- the KKT attack ---------------------------------------------------------------------------


def R13(noisy: Runs) -> Measures:
    standard, tuned = reading.standard(noisy), reading.tuned(noisy)
    if not standard and not tuned:
        return {}
    return {
        "excess": standard.values("excess"),
        "excess_tuned_minus_standard": reading.minus(tuned, standard, "excess"),
    }


def R14(noisy: Runs) -> Measures:
    values = reading.known(reading.tuned(noisy), reading.natural_but_far)
    return {"natural_outputs_beyond_rank_50": values} if values else {}


def R15(noisy: Runs) -> Measures:
    values = reading.known(reading.tuned(noisy), reading.no_hits_among_natural)
    return {"no_hits_among_the_40_most_natural": values} if values else {}


def R16(mixed: Runs) -> Measures:
    runs = at(by(mixed, PAPER), OTHERS)
    if not runs:
        return {}
    return {"nearer_to_start": reading.stays(runs), "training_hits": runs.values("hits")}


# --- mixtures of starts -----------------------------------------------------------------------


def R18(mixed: Runs) -> Mapping[str, Measures]:
    found = {
        name: {
            "distance_kkt_minus_bilevel_near_truth": reading.near_truth(mixed, attack),
            "slope_bilevel_minus_kkt": reading.steeper(mixed, attack),
        }
        for name, attack in {"the paper's two networks": PAPER, "the same network": SAME}.items()
    }
    return {name: values for name, values in found.items() if any(values.values())}


def R19(mixed: Runs) -> Measures:
    return _of_both_attacks(mixed, "crossover", reading.crossovers)


def R20(mixed: Runs) -> Measures:
    values = reading.ratio_at_truth(mixed, PAPER)
    return {"distance_kkt_over_bilevel": values} if values else {}


def R21(mixed: Runs) -> Measures:
    return _of_both_attacks(mixed, "rank_correlation", reading.rank_correlations)


def _of_both_attacks(mixed: Runs, name: str, values) -> Measures:
    """Of the bilevel attack and the KKT attack on the paper's network, with what no step gives."""
    found = {}
    for attack, short in ((BILEVEL, "bilevel"), (PAPER, "kkt")):
        runs = by(mixed, attack)
        found[f"{name}_{short}"] = values(runs)
        found[f"null_{name}_{short}"] = values(runs, "_at_start")
    return found if any(found.values()) else {}


def R22(surface: Runs) -> Measures:
    bilevel, kkt = (surface.where(attack=attack) for attack in ("bilevel", "kkt"))
    if not bilevel or not kkt:
        return {}
    return {
        "end_points_bilevel_minus_kkt": reading.minus(bilevel, kkt, "end_points"),
        "barriers_bilevel_minus_kkt": reading.minus(bilevel, kkt, "barriers"),
    }


# --- could anyone tell? -----------------------------------------------------------------------


def R23(told: Runs, tuning: Runs) -> Mapping[str, Measures]:
    """The best signal of the best attack, chosen on the tuning draws, by data set."""
    return _told(told, tuning)


def R23_invented(told: Runs, tuning: Runs) -> Mapping[str, Measures]:
    return _told(told, tuning, kind=INVENTED)


def R23_paper(told: Runs, tuning: Runs) -> Mapping[str, Measures]:
    return _told(told, tuning, attacks=OF_THE_PAPER)


def _told(
    told: Runs, tuning: Runs, attacks: Sequence[str] = (*TELLERS,), kind: str = NATURAL
) -> Mapping[str, Measures]:
    found = {}
    for dataset in told.of("dataset"):
        own = told.where(dataset=dataset)
        chosen, _ = reading.best_told(own, tuning.where(dataset=dataset), attacks, kind)
        values = reading.told_by(own, chosen, kind)
        if values:
            found[told.title(dataset)] = {"best_blind_auroc": values}
    return found


# --- parts ------------------------------------------------------------------------------------


def _measures(runs: Runs, names: Sequence[str]) -> Measures:
    """Nothing at all, rather than empty lists, when no run is there."""
    return {name: runs.values(name) for name in names} if runs else {}


def _with_null(runs: Runs, names: Sequence[str]) -> Measures:
    """Measures, and what they are at the start."""
    if not runs:
        return {}
    return _measures(runs, names) | {
        f"null_{name}": runs.values(f"{name}_at_start") for name in names
    }


def _both(mixed: Runs, started: Runs, measures) -> Mapping[str, Measures]:
    """The bilevel attack on the affine network and on that with one hidden layer."""
    found = {
        NETWORKS["affine"]: measures(by(mixed, BILEVEL)),
        NETWORKS["hidden"]: measures(started),
    }
    return {name: values for name, values in found.items() if any(values.values())}
