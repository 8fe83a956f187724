"""Evidence for the claims of chapter 7: one function a claim, runs -> {measure: one value a seed}.

A claim about images has {data set: {measure: values}}, and is judged on each set by itself.
"""

from collections.abc import Callable, Mapping, Sequence

from chapters.kkt_reconstruction.checks import BASE, minutes, pairs_of_twins
from chapters.kkt_reconstruction.reading import over_null
from harness.results import Runs

Measures = dict[str, list[float]]

CIFAR = ("cifar10", "cifar10-jpeg")
RELEASED_FOR = (*CIFAR, "mnist")  # the sets that the paper's attack has published settings for


def H01_scaled(trained: Runs) -> Mapping[str, Measures]:
    return _by_dataset(
        trained.where(protocol="loss-scaled"),
        ("rank_correlation_epoch_residual", "final_residual", "held_out_over_train"),
    )


def H02_scaled(trained: Runs) -> Mapping[str, Measures]:
    return _by_dataset(
        trained.where(protocol="loss-scaled"),
        ("rank_correlation_multiplier_margin", "mass_on_margin"),
    )


def H05(circles: Runs) -> Measures:
    return _measures(circles, ("correct", "log10_loss"))


def H06_eliminated(circles: Runs) -> Measures:
    return _measures(circles, ("recovered",))


def H07_eliminated(circles: Runs) -> Measures:
    return _measures(circles, ("filtered_precision", "filtered_recall"))


def H08(circles: Runs) -> Measures:
    return _measures(circles, ("inversion_recovered", "recovered_minus_inversion"))


def H09(circles: Runs) -> Measures:
    return _measures(circles, ("median_angle_over_random_quantile",))


# --- the paper's attack -----------------------------------------------------------------------

CALIBRATED = ("auroc", "tpr_at_1_percent", "excess")
PRIOR = ("released", "no prior", "ten times the noise", "shifted")  # twins of H31
MARGIN = ("rank_correlation_margin_score",)


def H17_n50(attacked: Runs) -> Mapping[str, Measures]:
    return _calibrated(_released(attacked, CIFAR), CALIBRATED)


def H17_n50_nulls(attacked: Runs) -> Mapping[str, Measures]:
    return _beyond(_released(attacked, CIFAR))


def H17_n50_budget(spent: Runs) -> Mapping[str, Measures]:
    return _beyond(spent.where(dataset=[*CIFAR]))


def H18_n50(attacked: Runs) -> Mapping[str, Measures]:
    return _calibrated(_released(attacked, ["mnist"]), CALIBRATED)


def H18_n50_nulls(attacked: Runs) -> Mapping[str, Measures]:
    return _beyond(_released(attacked, ["mnist"]))


def H18_n50_budget(spent: Runs) -> Mapping[str, Measures]:
    return _beyond(spent.where(dataset="mnist"))


def H19_n50(attacked: Runs) -> Mapping[str, Measures]:
    return _by_dataset(_released(attacked, RELEASED_FOR), MARGIN)


def H19_n50_budget(spent: Runs) -> Mapping[str, Measures]:
    return _by_dataset(spent.where(dataset=[*RELEASED_FOR]), MARGIN)


def H28_n50(attacked: Runs) -> Mapping[str, Measures]:
    """The rows of the first layer beside what unmixing them gives, on the same networks."""
    return _each_dataset(
        _named(attacked, "unmixed", "constant"),
        lambda runs: {
            "rows_close": runs.values("rows_close"),
            "rows_share_of_attack": [run["rows_close"] / max(run["close"], 1) for run in runs],
        },
    )


# --- parts of the paper's method, and twins of its attack -------------------------------------


def H03(padded: Runs) -> Mapping[str, Measures]:
    return _by_dataset(padded, ("change_padded", "change_duplicated"))


def H04(counted: Runs) -> Measures:
    return _measures(counted, ("parameters_width_1000", "unknowns", "parameters_width_100"))


def H06(freed: Runs) -> Measures:
    return _measures(freed, ("recovered",))


def H07(freed: Runs) -> Measures:
    return _measures(freed, ("filtered_precision", "filtered_recall"))


def H22(twins: Runs) -> Mapping[str, Measures]:
    return _beside(twins, {"excess_small_minus_standard": ("excess", 1)}, first="He")


def H29(twins: Runs) -> Mapping[str, Measures]:
    """The loss of both twins is that of eq 6 with the true derivative, relative."""
    measures = {
        "loss_true_minus_smoothed": ("residual", -1),
        "excess_smoothed_minus_true": ("excess", 1),
    }
    return _beside(twins, measures, change="true derivative")


def H30(twins: Runs) -> Mapping[str, Measures]:
    measures = {"excess_with_minus_without": ("excess", 1)}
    return _beside(twins, measures, change="no smallest multiplier")


def H31(twins: Runs) -> Mapping[str, Measures]:
    """Excess hits of the twins that speak of the prior, on data sets that have all of them."""
    found = {}
    for dataset in twins.of("dataset"):
        base = twins.where(dataset=dataset, first=BASE["first"])
        values = {kind: base.where(change=kind).values("excess") for kind in PRIOR}
        if all(values.values()):
            found[twins.title(dataset)] = {f"excess {kind}": v for kind, v in values.items()}
    return found


def H32(processed: Runs) -> Mapping[str, Measures]:
    return _by_dataset(processed, ("made_up_pairs_found", "ssim_deviation"))


def H33(timed: Runs) -> Measures:
    """Minutes of 100,000 steps in the form that is used, and what inner products gain over plain."""
    if not timed:
        return {}
    return {
        "attack_minutes": [minutes(run["mixed_seconds"]) for run in timed],
        "plain_over_gram": [run["plain_seconds"] / run["gram_seconds"] for run in timed],
    }


def H35(convolved: Runs) -> Mapping[str, Measures]:
    return _by_dataset(convolved, ("auroc", "tpr_at_1_percent", "excess", "close"))


# --- the book's own ---------------------------------------------------------------------------


def B01(attacked: Runs) -> Mapping[str, Measures]:
    unmixed = _named(attacked, "unmixed", "loss-scaled").where(dataset=[*CIFAR])
    return _each_dataset(
        unmixed,
        lambda runs: {
            **_with_null(runs, ("auroc", "hits")),
            "attack_seconds": runs.values("attack_seconds"),
        },
    )


def B01_nulls(attacked: Runs) -> Mapping[str, Measures]:
    return _beyond(_named(attacked, "unmixed", "loss-scaled"))


def B02(attacked: Runs) -> Mapping[str, Measures]:
    return _by_dataset(
        _named(attacked, "unmixed", "loss-scaled"), ("trusted_precision", "trusted_held_out")
    )


# --- parts ------------------------------------------------------------------------------------


def _named(attacked: Runs, method: str, protocol: str) -> Runs:
    return attacked.where(n=50, method=method, protocol=protocol)


def _released(attacked: Runs, datasets: Sequence[str]) -> Runs:
    return _named(attacked, "released", "constant").where(dataset=[*datasets])


def _measures(runs: Runs, names: Sequence[str]) -> Measures:
    """Nothing at all, rather than empty lists, when no run is there."""
    return {name: runs.values(name) for name in names} if runs else {}


def _each_dataset(runs: Runs, measure: Callable[[Runs], Measures]) -> Mapping[str, Measures]:
    return {runs.title(d): measure(runs.where(dataset=d)) for d in runs.of("dataset")}


def _by_dataset(runs: Runs, names: Sequence[str]) -> Mapping[str, Measures]:
    return _each_dataset(runs, lambda own: _measures(own, names))


def _beside(
    twins: Runs, measures: Mapping[str, tuple[str, int]], **changed: str
) -> Mapping[str, Measures]:
    """{measure: a value of the released twin minus that of another, by seed, times ±1}, by set."""
    found = {}
    for dataset in twins.of("dataset"):
        if pairs := pairs_of_twins(twins.where(dataset=dataset), BASE, BASE | changed):
            found[twins.title(dataset)] = {
                name: [sign * (a[value] - b[value]) for a, b in pairs]
                for name, (value, sign) in measures.items()
            }
    return found


def _calibrated(runs: Runs, names: Sequence[str]) -> Mapping[str, Measures]:
    return _each_dataset(runs, lambda own: _with_null(own, names))


def _with_null(runs: Runs, names: Sequence[str]) -> Measures:
    """Measures that rest on held-out images, and what mixtures of the training images reach."""
    nulls = {
        f"null_{name}": [max(run[f"span_{name}"], run[f"rows_{name}"]) for run in runs]
        for name in names
    }
    return _measures(runs, names) | nulls


def _beyond(runs: Runs) -> Mapping[str, Measures]:
    """What is found and what is close beyond the strongest of three nulls."""
    return _each_dataset(
        runs,
        lambda own: {f"{name}_over_null": over_null(own, name) for name in ("hits", "close")},
    )
