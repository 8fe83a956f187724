"""No sentence that compares stands in a world in which the runs say the opposite."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from opposite import (
    ROOT,
    WORLDS,
    Cell,
    Compared,
    Said,
    between_runs,
    compares,
    in_every_world,
    mirrored,
    pages_of,
    sentences,
    survivors,
    within_runs,
)

from harness.results import Result
from harness.statistics import Interval, over_seeds

NOTEBOOKS = sorted([*ROOT.glob("notebooks/0[1-8]*.py"), *ROOT.glob("notebooks/10_who*.py")])

PATCHED = Compared(
    groups=[
        ("accuracy_shortcut", "accuracy_clean"),
        ("loss_shortcut", "loss_clean"),
        ("follows_patch", "accuracy_conflict"),
        ("patch_pixels_accuracy", "other_pixels_accuracy"),
    ],
    constants={
        "signed_accuracy_difference": 0,
        "signed_loss_difference": 0,
        "rank_correlation_epoch_clean": 0,
        "drop_from_best_clean": 0,
        "saliency_ratio": 1,
    },
    columns=["accuracies", "losses"],
)
COMPARED = {
    "01_shortcut_injection": PATCHED,
    "02_architecture_comparison": PATCHED,
    "03_network_inversion": Compared(
        groups=[
            ("inversion_accuracy", "oracle_accuracy", "oracle_test_accuracy", "test_accuracy"),
            ("confidence", "asked_confidence", "test_confidence"),
            ("intra", "inter"),
            ("oracle_intra", "oracle_test_intra"),
            ("vendi", "vendi_all"),
            ("kid", "test_kid"),
            ("follows_matrix", "follows_vector", "accuracy_blank_matrix"),
        ],
        constants={
            "nearest_auroc": 0.5,
            "jump": 1,
            "oracle_accuracy": 0.1,
            "inversion_accuracy": 0.95,
        },
    ),
    "04_interpretability": Compared(
        groups=[
            (
                "auroc_norm", "auroc_confidence", "auroc_units", "auroc_reconstruction",
                "auroc_units_direction", "auroc_reconstruction_direction",
            ),
            ("overlap_test", "overlap_inverted"),
            ("inverted_agreement", "training_agreement"),
            ("inverted_explained", "training_explained"),
            ("probe_codes", "probe_features"),
            ("portrait_share_training", "portrait_share_inverted"),
            ("norms_inverted", "norms_training", "norms_test"),
            (
                "clusters_in_features", "clusters_in_tsne_5", "clusters_in_tsne_30",
                "clusters_in_tsne_100",
            ),
        ],
        constants={
            "auroc_norm": 0.5,
            "auroc_confidence": 0.5,
            "auroc_units": 0.5,
            "auroc_reconstruction": 0.5,
            "auroc_units_direction": 0.5,
            "auroc_reconstruction_direction": 0.5,
            "probe_codes": 1 / 3,
            "probe_features": 1 / 3,
            "inverted_agreement": 0.5,
        },
    ),
    "05_out_of_distribution": Compared(
        groups=[
            ("auroc", "auroc_energy", "auroc_odin", "auroc_knn", "auroc_norm", "auroc_garbage"),
            ("aupr", "aupr_energy", "aupr_odin", "aupr_knn", "aupr_norm", "aupr_garbage"),
            ("fpr95", "fpr95_energy", "fpr95_odin", "fpr95_knn", "fpr95_norm", "fpr95_garbage"),
            ("refused", "refused_known"),
            ("accuracy", "accuracy_of_classes"),
            ("least_confident_known", "most_confident_accepted"),
            ("obeyed_by_round", "refused_garbage_by_round"),
        ],
        constants={
            "auroc": 0.5,
            "refused": 0.5,
            "gap": 0,
            "gap_1": 0,
            "gap_01": 0,
            "gap_all": 0,
        },
    ),
    "06_training_like_data": Compared(
        groups=[
            ("kid", "test_kid"),
            ("oracle_accuracy", "second_oracle_accuracy", "oracle_test_accuracy"),
            ("auroc", "strangers_auroc", "means_auroc", "rows_auroc", "span_auroc"),
            ("hits", "strangers_hits", "means_hits", "rows_hits", "span_hits"),
            ("training_accuracy", "held_out_accuracy"),
            *(
                tuple(
                    f"{signal}_{kind}_{value}"
                    for kind in ("training", "held_out", "inverted_soft", "inverted_hot")
                )
                for signal in (
                    "confidence", "output_gradient", "probability_gradient", "loss_gradient",
                    "weight_gradient",
                )
                for value in ("mean", "median")
            ),
        ],
        constants={
            "auroc": 0.5,
            "own_half_share": 0.5,
            "membership_auroc": 0.5,
            "weight_gradient_membership_auroc": 0.5,
        },
    ),
    "07_kkt_reconstruction": Compared(
        groups=[
            ("hits", "span_hits", "rows_hits"),
            ("close", "close_held_out", "span_close", "rows_close"),
            ("auroc", "span_auroc", "rows_auroc"),
            ("median_ncc", "span_median_ncc", "rows_median_ncc"),
            ("best_ncc", "best_ncc_held_out"),
            ("trusted_ncc", "trusted_ncc_held_out"),
            ("trusted_precision", "trusted_held_out"),
            ("residual_train", "residual_held_out", "residual_noise"),
            ("recovered", "inversion_recovered"),
        ],
        constants={
            "auroc": 0.5,
            "rank_correlation_margin_score": 0,
            "rank_correlation_epoch_residual": 0,
            "rank_correlation_multiplier_margin": 0,
            "recovered_minus_inversion": 0,
            "held_out_over_train": 1,
            "mass_on_margin": 0.5,
        },
    ),
    "10_who_is_at_risk": Compared(
        groups=[
            ("hits", "span_hits", "rows_hits"),
            ("close", "span_close", "rows_close"),
            ("auroc", "span_auroc", "rows_auroc"),
            ("trusted_20", "trusted_20_held_out"),
            ("trusted_50", "trusted_50_held_out"),
            ("trusted_ncc", "trusted_ncc_held_out"),
            ("train_accuracy", "test_accuracy"),
        ],
        constants={"auroc": 0.5, "trusted_20": 0.5, "trusted_50": 0.5},
    ),
    "08_initialization_sensitivity": Compared(
        groups=[
            ("to_truth", "to_partition", "to_noise"),
            ("auroc", "span_auroc", "rows_auroc"),
            ("hits", "span_hits", "rows_hits"),
            ("close", "close_held_out", "span_close", "rows_close"),
            *(
                tuple(
                    f"auroc_{against}{signal}"
                    for signal in (
                        "agreement", "multiplier", "contribution", "likelihood", "repeats",
                        "confidence", "gradient", "span", "sensitivity",
                    )
                )
                for against in ("", "natural_", "held_out_", "elsewhere_", "invented_")
            ),
        ],
        constants={
            "auroc": 0.5,
            "excess": 0,
            "nearer_to_start_by_distance": 0.5,
            "nearer_to_start_by_correlation": 0.5,
            "high_frequencies": 0.5,
        },
    ),
}  # fmt: skip

# Words that name a thing and compare nothing, and what they name.
NAMES = {
    "never met a patch": "which networks are meant",
    "never met one": "which networks are meant",
    "never meet a patch": "which networks are meant",
    "know no places": "which networks are meant",
    "ViT, no positions": "which network is meant",
    "with none": "images without a patch",
    "Shown none": "images without a patch",
    "no class's patch": "the pixels that are meant",
    "later layers": "a part of a network",
    "all four terms": "a loss",
    "all nine terms": "a loss",
    "all nine": "a loss",
    "with all terms": "a loss",
    "every loss": "what is drawn",
    "all three": "signals, or regularisers, of a classifier",
    "all regularisers": "which classifier is meant",
    "never saw a patch": "which oracle is meant",
    "below them": "where images stand",
    "smaller is nearer": "what an axis means",
    "nearer to the own half": "a share",
    "nearest training images": "how images were chosen",
    "nearest held-out images": "how images were chosen",
    "nearer to the half that": "a share",
    "most like any real image": "how images were chosen",
    "smallest number of images": "a setting",
    "no weights, no perturbation and no scores": "what a paper leaves open",
    "all classes": "what is drawn",
    "all data sets": "what is drawn",
    "all seeds": "what is drawn",
    "Every network of this section": "what is drawn",
    "Every candidate": "what is drawn",
    "above the training images": "where images stand",
    "above training images": "where images stand",
    "best candidate": "a score",
    "best correlation": "a score",
    "(correlation above #)": "how a score counts",
    "highest SSIM": "how images were chosen for a figure",
    "best multipliers": "a quantity",
    "smallest margin": "a quantity",
    "largest probability": "a quantity",
    "strongest null": "a quantity",
    "where the interval reaches lowest": "a data set",
    "lowest of a class": "a quantity",
    "where it is lowest": "a quantity",
    "best epoch": "a quantity",
    "smallest rate": "a setting",
    "largest rate": "a setting",
    "largest weight": "a setting",
    "rate that was best": "how a setting was chosen",
    "at least five seeds": "how many seeds an interval needs",
    "five seeds or more": "how many seeds an interval needs",
    "at most #": "a number of images",
    "Darker is larger": "what a colour means",
    "Brighter is larger": "what a colour means",
}

# Clauses, or their beginnings, that compare no results: {chapter: {why they may stand: clauses}}.
DEFINES, DRAWN = "defines", "says what is drawn"
DESCRIBES = {
    "01_shortcut_injection": {
        DEFINES: ["A patch counts as learned at # % of the largest accuracy with it."],
        "so by definition": [
            "At the last epoch, accuracy without the patch lies below that of its best epoch by ",
            "The best epoch is picked afterwards, so this is never negative.",
            "A grey of # % is brighter than a black background and darker than a white one.",
        ],
    },
    "02_architecture_comparison": {
        DEFINES: [
            "Kendall's W, which is # when all data sets rank the architectures alike and # when "
            "they have nothing in common, is # ",
            "Accuracy Difference (dots): how much accuracy falls when the patch is missing.",
            "The ViT's lead is its Accuracy Difference minus the larger of the other two.",
            "First in the title: above both others by the paired interval.",
            "> where the # % interval of the paired difference over at least five seeds lies above "
            "zero, ≈ where it does not.",
            "Empty fields never got there.",
        ],
        DRAWN: [
            "Accuracy Difference of every network and its variants, one row a network, ",
            "Accuracy Difference when the training loss first falls below # nats.",
            "Accuracy Difference when the loss on test images with the shortcut first falls below ",
        ],
        "intervals carry both directions, and do so when both turn round": [
            "**Yes, but the order turns.**",
        ],
    },
    "03_network_inversion": {
        DEFINES: [
            "Ways of telling are compared only where they are *matched*: every seed of each "
            "reaches an inversion accuracy of # %, and in no seed do two of them lie more than one "
            "point apart.",
            "in brackets the settings that the rule refuses, because some class falls short of # %",
            "The first, written down before the runs, is the steepest rise between two "
            "observations over the mean rise;",
        ],
    },
    "04_interpretability": {
        DRAWN: [
            "Jaccard index of the # units that fire most often on the training images of a class "
            "and the # that fire most on its inverted images (orange) or its test images (blue).",
            "The images that fire a unit most: three units that prefer training images (above) and "
            "three that prefer inverted ones (below), for the last data set.",
            "In the two rows at the bottom every feature vector has been given the same length "
            "before anything is fitted.",
        ],
    },
    "05_out_of_distribution": {
        DRAWN: [
            "A bar joins the least confident known image (of those classified correctly) ",
            "Foreign images that slip through: those of most confidence among the accepted,",
        ],
        DEFINES: [
            "Least confident known image that is classified correctly, minus the most confident ",
        ],
    },
    "07_kkt_reconstruction": {
        DRAWN: [
            "The paper's attack was run on constant-step networks only.",
            "Training images, of #, that come back close, and what the strongest null reaches on "
            "the same network, at the same number of candidates (the rows: all of them).",
            "Every candidate of the unmixed first layer (loss-scaled networks, all seeds): how "
            "alike it comes back from other starts, which anyone can compute, against the nearest ",
            "Of the # candidates that come back most alike from other starts of the unmixing, "
            "training images are: ",
        ],
    },
}


@pytest.fixture(scope="session")
def pages() -> Callable[[Path], dict[str, list[Said]]]:
    """What the page of a notebook says in every world, made once."""
    made: dict[Path, dict[str, list[Said]]] = {}

    def of(notebook: Path) -> dict[str, list[Said]]:
        if notebook not in made:
            made[notebook] = pages_of(notebook, COMPARED.get(notebook.stem, Compared()))
        return made[notebook]

    return of


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_comparing_sentence_stands_in_a_world_that_says_the_opposite(notebook, pages):
    described = tuple(sum(DESCRIBES.get(notebook.stem, {}).values(), []))
    told = [
        f"{notebook.name}:{each.line} ({each.by}) {each.text}"
        for each in survivors(pages(notebook), NAMES)
        if not each.text.startswith(described)
    ]
    assert not told, "\n".join(["", *told])


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_page_says_as_much_in_every_world(notebook, pages):
    said = pages(notebook)
    assert said.keys() == WORLDS.keys() and min(map(len, said.values())) > 20
    assert {each.by for each in said["published"]} >= {"answer", "caption", "alt", "say"}
    words = [" ".join(each.text for each in texts) for texts in said.values()]
    assert len(set(words)) == len(words), "a world that changes no number turns nothing round"


# --- planted breaches ---------------------------------------------------------------------------


def test_a_page_whose_intervals_carry_everything_is_noticed(monkeypatch):
    def carried(values, *, against=0.0):
        return Interval(1.0, 0.9, 1.1, 0.001)

    # in place, for every module that has imported it
    monkeypatch.setattr(over_seeds, "__code__", carried.__code__)
    notebook = ROOT / "notebooks" / "02_architecture_comparison.py"
    described = tuple(sum(DESCRIBES[notebook.stem].values(), []))
    found = survivors(pages_of(notebook, PATCHED), NAMES)
    assert [each.text for each in found if not each.text.startswith(described)]


TOY = Compared(groups=[("a", "b")], constants={"rho": 0.0})
SETUP = """
from harness import page
from harness.statistics import over_seeds, paired
from harness.study import Study
study = Study("nowhere", compute=False)
found = study(print, arm=["x", "y"], seed=[10, 11, 12])
x, y = found.where(arm="x"), found.where(arm="y")
"""


@pytest.fixture
def survive(monkeypatch) -> Callable[..., list[str]]:
    """What survives of a page: on six runs, whose arm x has a larger `a`, and whose `a` is larger
    than `b`, `rho` above 0, and `falls` a list of numbers that fall."""

    def sweep(function, runs, **_):
        return [
            Result(
                "toy.run",
                run,
                "reused",
                scalars={
                    "a": 0.7 + 0.2 * (run["arm"] == "x") + run["seed"] / 1000,
                    "b": 0.2 + run["seed"] / 1000,
                    "rho": 0.5 + run["seed"] / 1000,
                    "falls": [0.9 - run["seed"] / 1000, 0.1],
                },
                path=Path(f"{run['arm']}-{run['seed']}.json"),
            )
            for run in runs
        ]

    monkeypatch.setattr("harness.study.sweep", sweep)

    def of(*sources: str) -> list[str]:
        cells = [Cell.of(source, line) for line, source in enumerate((SETUP, *sources), start=1)]
        return [each.text for each in survivors(in_every_world(cells, TOY, ModuleType("none")))]

    return of


@pytest.mark.parametrize(
    "source",
    [
        'page.say("The x are larger.")',
        'page.answer("The x are larger.")',
        """page.say(f"By {x[0]['a']:.2f} the x are larger.")""",
        'page.say(f"The y are {len(y)}; the x are larger.")',
        'page.show(None, alt="A line.", caption="The x are larger.", name="fig-x")',
        'page.show(None, alt="The x are larger.", caption="A line.", name="fig-x")',
        'page.table(found.frame(), caption="The x are larger.", name="tab-x")',
        'page.say("The x are larger.", given=over_seeds([1.0, 1.1, 1.2]))',
        'page.say("The x are larger.", given=over_seeds(x.values("b")))',
    ],
)
def test_a_sentence_that_no_interval_carries_is_noticed(survive, source):
    [told] = survive(source)
    assert told.endswith("the x are larger.") or told == "The x are larger."


@pytest.mark.parametrize(
    "source",
    [
        'page.say("The x are larger.", given=paired(x.values("a"), y.values("a")))',
        'page.say("All a are larger.", given=paired(x.values("a"), x.values("b")))',
        'page.say("No rho is lower.", given=over_seeds(found.values("rho")))',
        'page.say("Later ones are lower.", given=over_seeds([r["falls"][0] - .5 for r in found]))',
        """page.say(f"Larger in {sum(r['a'] > 0.8 for r in x)} of {len(x)} of the x.")""",
        """page.say("Larger in 0 of 3 of the x.")""",
        'page.say("The x are of # colours: red and blue.")',
        'page.say("Above: the x. On the left (below) the y.")',
    ],
)
def test_a_sentence_that_is_carried_or_compares_nothing_may_stand(survive, source):
    assert survive(source) == []


def test_a_name_is_no_comparison_but_what_stands_beside_it_is(survive):
    assert compares("The best correlation of all seeds.")
    assert not compares("The best correlation of all seeds.", NAMES)
    assert compares("The best correlation is larger.", NAMES)


def test_what_no_run_reaches_is_executed_once(survive):
    counted = """
import itertools
live = next(COUNT)
page.say(f"Every network was trained {'once' if live == 0 else 'again'}.")
"""
    told = survive("import builtins, itertools", counted.replace("COUNT", "itertools.count()"))
    assert told == ["Every network was trained once."]


# --- the worlds ---------------------------------------------------------------------------------


def run(name: str, seed: int = 10, dataset: str = "mnist", **scalars) -> dict[Path, Result]:
    parameters = {"dataset": dataset, "seed": seed}
    return {Path(name): Result("toy.run", parameters, "reused", scalars=scalars, path=Path(name))}


def values(results, name: str) -> list:
    return [result[name] for result in results.values()]


def test_between_runs_the_highest_gets_the_lowest_within_its_data_set():
    results = run("p", a=1.0) | run("q", a=3.0) | run("r", a=2.5) | run("s", a=3.0)
    results |= run("t", a=9.0, dataset="svhn") | run("u", a=7.0, seed=0)
    assert values(between_runs(results, TOY), "a") == [3.0, 1.0, 2.5, 1.0, 9.0, 7.0]


def test_between_runs_lists_are_handed_on_whole():
    results = run("p", f=[1.0, 0.0]) | run("q", f=[5.0, 6.0]) | run("r", f=[1.0])
    assert values(between_runs(results, TOY), "f") == [[5.0, 6.0], [1.0, 0.0], [1.0]]


def test_what_describes_a_run_is_left_alone():
    results = run("p", diverged=0, steps=[1, 2, 9], why="x", none=None, a=1.0)
    results |= run("q", diverged=1, steps=[1, 3, 9], why="y", none=None, a=2.0)
    for turn in WORLDS.values():
        turned = turn(results, TOY)
        for name in ("diverged", "steps", "why", "none"):
            assert values(turned, name) == values(results, name)


def test_within_runs_a_group_is_reversed_and_between_them_nothing():
    results = run("p", a=1.0, b=0.2, c=5.0) | run("q", a=0.9, c=6.0)
    turned = within_runs(results, Compared(groups=[("a", "b"), ("c", "d")]))
    assert [dict(result.scalars) for result in turned.values()] == [
        {"a": 0.2, "b": 1.0, "c": 5.0}, {"a": 0.9, "c": 6.0},
    ]  # fmt: skip


def test_columns_of_an_array_are_exchanged():
    arrays = {"both": np.array([[1.0, 0.0], [0.9, 0.1]])}
    results = {Path("p"): Result("toy.run", {"seed": 1}, "reused", arrays=arrays)}
    [turned] = within_runs(results, Compared(columns=["both"])).values()
    assert turned["both"].tolist() == [[0.0, 1.0], [0.1, 0.9]]


def test_mirrored_values_lie_on_the_other_side_and_time_runs_backwards():
    results = run("p", rho=0.25, falls=[3.0, 2.0], rates=[0.75, 0.5])
    constants = {"rho": 0.0, "rates": 0.5}
    [turned] = mirrored(results, Compared(constants=constants)).values()
    assert (turned["rho"], turned["falls"], turned["rates"]) == (-0.25, [2.0, 3.0], [0.25, 0.5])


def test_clauses_are_told_apart_and_numbers_left_out():
    text = "On 3 of 4 sets, by 0.5 (CNN); −1,234 at *most.* See 7."
    assert sentences(text) == ["On 3 of 4 sets, by # (CNN);", "# at *most.*", "See #."]
