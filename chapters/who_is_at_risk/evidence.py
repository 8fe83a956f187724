"""Chapter 10: from runs to the measures of its claims, one function a claim.

read: runs of the recipes at one number of images.  sized: of the plain recipe at several.
"""

from collections.abc import Callable, Mapping

from chapters.who_is_at_risk.design import PLAIN
from chapters.who_is_at_risk.reading import of, over_null, together
from harness.results import Runs

Measures = dict[str, list[float]]
CIFAR = ["cifar10", "cifar10-jpeg"]
STANDARD = "default initialisation"


def B03(sized: Runs) -> Mapping[str, Measures]:
    return _by_dataset(
        _plain(sized, 50).where(dataset=CIFAR),
        lambda runs: _values(runs, "hits", "attack_seconds") | _over(runs, "hits"),
    )


def B04(sized: Runs) -> Mapping[str, Measures]:
    """Both starts on the same networks; seconds: the longer of the two."""

    def measures(runs: Runs) -> Measures:
        unknown, known = (
            runs.where(start_known=False),
            _on_same_set(sized.where(n=100, **_known(True)), runs),
        )
        found = _values(unknown, "hits", "attack_seconds") | _over(unknown, "hits")
        if known:
            times = together(known, unknown, "attack_seconds")
            found |= {
                "hits_start_known": known.values("hits"),
                "hits_over_null_start_known": over_null(known),
                "attack_seconds": [max(pair) for pair in zip(*times)],
            }
        return found

    return _by_dataset(_plain(sized, 100).where(dataset=CIFAR), measures)


def B05(sized: Runs) -> Mapping[str, Measures]:
    return _by_dataset(
        _plain(sized, 200).where(dataset=CIFAR),
        lambda runs: _values(runs, "hits", "attack_seconds") | _over(runs, "hits"),
    )


def B06(sized: Runs) -> Mapping[str, Measures]:
    """What is trusted most at two sizes; where both are asked for, the less favourable one."""

    def measures(runs: Runs) -> Measures:
        two, five = runs, _on_same_set(_plain(sized, 500), runs)
        found = {"trusted_50_of_200": two.values("trusted_50")}
        if five:
            held_out = zip(
                together(two, five, "trusted_50_held_out")[0],
                together(five, two, "trusted_20_held_out")[0],
            )
            found |= {
                "trusted_20_of_500": five.values("trusted_20"),
                "trusted_held_out": [max(pair) for pair in held_out],
                "close_over_null": _less(two, five, "close"),
            }
        return found

    return _by_dataset(_plain(sized, 200).where(dataset=CIFAR), measures)


def B07(sized: Runs) -> Mapping[str, Measures]:
    return _by_dataset(
        _plain(sized, 500).where(dataset=CIFAR),
        lambda runs: (
            _values(runs, "hits", "close", "attack_seconds") | _over(runs, "hits", "close")
        ),
    )


def B08(sized: Runs) -> Mapping[str, Measures]:
    """MNIST at two sizes; where both are asked for, the less favourable one."""

    def measures(runs: Runs) -> Measures:
        one, five = runs, _on_same_set(_plain(sized, 500), runs)
        found = {"hits_of_100": one.values("hits")}
        if five:
            times = zip(*together(one, five, "attack_seconds"))
            found |= {
                "hits_of_500": five.values("hits"),
                "close_of_500": five.values("close"),
                "attack_seconds": [max(pair) for pair in times],
                "hits_over_null": _less(one, five, "hits"),
                "close_over_null": over_null(five, "close"),
            }
        return found

    return _by_dataset(_plain(sized, 100).where(dataset="mnist"), measures)


def H22_unmixed(read: Runs) -> Mapping[str, Measures]:
    def measures(runs: Runs) -> Measures:
        small, standard = _small_and_standard(runs)
        if not small or not standard:
            return {}
        return {
            "excess_small_minus_standard": _minus(small, standard, "excess"),
            "hits_small_minus_standard": _minus(small, standard, "hits"),
            **_over(small, "hits"),
        }

    return _by_dataset(read.where(n=50), measures)


def H24_unmixed(read: Runs) -> Mapping[str, Measures]:
    def measures(runs: Runs) -> Measures:
        small, standard = _small_and_standard(runs)
        if not standard:
            return {}
        found = _values(standard, "auroc") | _over(standard, "hits")
        found["median_ncc_small_minus_standard"] = _minus(small, standard, "median_ncc")
        return found

    return _by_dataset(read.where(n=50), measures)


def H25_unmixed(sized: Runs) -> Mapping[str, Measures]:
    return _by_dataset(
        _plain(sized, 500),
        lambda runs: _values(runs, "excess") | _over(runs, "hits", "close"),
    )


# --- parts ------------------------------------------------------------------------------------


def _known(start: bool) -> dict:
    return {"recipe": PLAIN, "start_known": start}


def _plain(sized: Runs, n: int) -> Runs:
    return sized.where(n=n, **_known(False))


def _on_same_set(runs: Runs, like: Runs) -> Runs:
    """The runs on the data set of others."""
    return runs.where(dataset=like.of("dataset"))


def _small_and_standard(runs: Runs) -> tuple[Runs, Runs]:
    [dataset] = runs.of("dataset")
    return of(runs, dataset, PLAIN), of(runs, dataset, STANDARD)


def _minus(one: Runs, two: Runs, measure: str) -> list[float]:
    return [a - b for a, b in zip(*together(one, two, measure))]


def _less(one: Runs, two: Runs, measure: str) -> list[float]:
    """What is beyond the null in either group, the smaller of the two in each seed."""
    values = (
        dict(zip((r.parameters["seed"] for r in runs), over_null(runs, measure)))
        for runs in (one, two)
    )
    a, b = values
    return [min(a[seed], b[seed]) for seed in sorted(a.keys() & b.keys())]


def _values(runs: Runs, *names: str) -> Measures:
    return {name: runs.values(name) for name in names}


def _over(runs: Runs, *names: str) -> Measures:
    return {f"{name}_over_null": over_null(runs, name) for name in names}


def _by_dataset(runs: Runs, measure: Callable[[Runs], Measures]) -> Mapping[str, Measures]:
    """{title: measures} for the data sets that have any."""
    found = {runs.title(d): measure(runs.where(dataset=d)) for d in runs.of("dataset")}
    return {title: measures for title, measures in found.items() if measures}
