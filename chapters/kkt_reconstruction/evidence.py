"""Evidence for the claims of chapter 7: one function a claim, runs -> {measure: one value a seed}.

A claim about images has {data set: {measure: values}} and is judged on each set by itself.
"""

from collections.abc import Mapping, Sequence

from harness.results import Runs

Measures = dict[str, list[float]]

CIFAR = ("cifar10", "cifar10-jpeg")
RELEASED_FOR = (*CIFAR, "mnist")  # the sets that the paper's attack has published settings for


def H01(trained: Runs) -> Mapping[str, Measures]:
    return _by_dataset(
        trained.where(protocol="loss-scaled"),
        ("rank_correlation_epoch_residual", "final_residual", "held_out_over_train"),
    )


def H02(trained: Runs) -> Mapping[str, Measures]:
    return _by_dataset(
        trained.where(protocol="loss-scaled"),
        ("rank_correlation_multiplier_margin", "mass_on_margin"),
    )


def H05(circles: Runs) -> Measures:
    return _measures(circles, ("correct", "log10_loss"))


def H06(circles: Runs) -> Measures:
    return _measures(circles, ("recovered",))


def H07(circles: Runs) -> Measures:
    return _measures(circles, ("filtered_precision", "filtered_recall"))


def H08(circles: Runs) -> Measures:
    return _measures(circles, ("inversion_recovered", "recovered_minus_inversion"))


def H09(circles: Runs) -> Measures:
    return _measures(circles, ("median_angle_over_random_quantile",))


def H17_n50(attacked: Runs) -> Mapping[str, Measures]:
    return _by_dataset(_released(attacked, CIFAR), ("auroc", "tpr_at_1_percent", "excess"))


def H18_n50(attacked: Runs) -> Mapping[str, Measures]:
    return _by_dataset(_released(attacked, ["mnist"]), ("auroc", "tpr_at_1_percent", "excess"))


def H19_n50(attacked: Runs) -> Mapping[str, Measures]:
    return _by_dataset(_released(attacked, RELEASED_FOR), ("rank_correlation_margin_score",))


def B01(attacked: Runs) -> Mapping[str, Measures]:
    unmixed = attacked.where(n=50, dataset=[*CIFAR], method="unmixed", protocol="loss-scaled")
    return _by_dataset(unmixed, ("auroc", "hits", "attack_seconds"))


def _released(attacked: Runs, datasets: Sequence[str]) -> Runs:
    return attacked.where(n=50, dataset=[*datasets], method="released")


def _measures(runs: Runs, names: Sequence[str]) -> Measures:
    """Nothing at all, rather than empty lists, when no run is there."""
    return {name: runs.values(name) for name in names} if runs else {}


def _by_dataset(runs: Runs, names: Sequence[str]) -> Mapping[str, Measures]:
    return {
        runs.title(dataset): _measures(runs.where(dataset=dataset), names)
        for dataset in runs.of("dataset")
    }
