"""Chapter 6: what its figures, claims and sentences make of made results."""

from collections.abc import Callable, Mapping
from inspect import signature
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from chapters.training_like import design, evidence, figures, reading, sentences
from harness import ledger
from harness.claims import judge
from harness.results import Result, Runs

TITLES = {"digits": "Digits", "mnist": "MNIST", "cifar10-jpeg": "CIFAR-10 (JPEG)"}
CLAIMS = Path(__file__).resolve().parents[2] / "claims"
SEEDS = (10, 11, 12, 13, 14)
SIZES = {"mnist": [1000, 10_000, 60_000], "digits": [100, 200, 400]}
ASIDE = {name: {"held_out": 100, "known": 200} for name in SIZES}
FOUR = {"kl": 1.0, "ce": 1.0, "cosine": 1.0, "orthogonality": 4.0}
QUESTIONS = design.questions(
    dict.fromkeys(SIZES, design.default(FOUR)),
    SIZES,
    ASIDE,
    seeds=SEEDS[:3],
    order_seeds=SEEDS,
    generators=2,
    widths=[4, 16, 64],
    regularisers=["dropout"],
    classifier_steps=1,
    steps=1,
)
LIKE = {  # what a kind of loss reaches: KID, agreement
    design.INVERSION: (2.0, 0.2),
    design.PRIORS: (1.5, 0.3),
    "few, inversion loss": (2.0, 0.2),
}


def made(name: str, case: Mapping, **scalars) -> Result:
    """A run of a question with values that random numbers could have."""
    seed = case["seed"]
    random = np.random.default_rng([seed, case.get("generator", 0), case.get("width", 32)])
    kid, agreement = LIKE.get(name, (0.5, 0.9))
    values = {
        "kid": kid + 0.05 * np.log10(case["n"]) + 0.01 * random.random(),
        "test_kid": 0.001,
        "oracle_accuracy": agreement - 0.02 * np.log10(case["n"]) + 0.01 * random.random(),
        "second_oracle_accuracy": agreement,
        "oracle_test_accuracy": 0.95,
        "diversity": 0.1,
        "inversion_accuracy": 1.0,
        "held_out_accuracy": 0.9,
        "training_accuracy": 1.0,
        "membership_auroc": 0.6 + 0.01 * random.random(),
        "auroc": 0.5 + 0.01 * random.normal(),
        "tpr_at_1_percent": 0.01,
        "hits": float(random.integers(5, 15)),
        "own_half_share": 0.5 + 0.1 * random.normal(),
        "parameters": 1000 * case.get("width", 32) ** 2,
        "training_pixels": 784 * case["n"],
        "pixels_outside": 0.0,
        **{f"{null}_{m}": 0.5 for null in ("strangers", "means") for m in ("auroc",)},
        **{f"{null}_hits": 9.0 + random.random() for null in ("strangers", "means")},
    }
    arrays = {"oracle_by_class": np.full(10, agreement)}
    if "shortcut" in case:
        order = {"ViT": 3.0, "MLP": 2.0, "CNN": 1.0}[case["architecture"]]
        values["patch_intensity"] = order * (case["shortcut"] == "planted") + random.random() / 10
        values["oracle_accuracy"] = 1 - 0.2 * order + 0.01 * random.random()
    if "MLP" in case.get("architecture", ""):
        values |= {"rows_auroc": 0.5, "span_auroc": 0.52, "rows_hits": 10.0, "span_hits": 11.0}
    if case["pictures"]:
        arrays |= {
            "images": random.integers(0, 255, (30, 1, 8, 8), dtype=np.uint8),
            "shown_labels": np.repeat(np.arange(10), 3),
            "pairs": random.integers(0, 255, (3, 6, 1, 8, 8), dtype=np.uint8),
            "pairs_ncc": random.random((2, 6)),
        }
    return Result("reconstructed", case, "reused", {**values, **scalars}, arrays)


@pytest.fixture
def world() -> Callable[..., dict[str, Runs]]:
    """All questions, answered; changes: {question: scalars that all its runs have}."""

    def of(changes: Mapping[str, Mapping[str, float]] | None = None) -> dict[str, Runs]:
        return {
            name: Runs(
                [made(name, case, **(changes or {}).get(name, {})) for case in cases],
                title=TITLES.get,
            )
            for name, cases in QUESTIONS.items()
        }

    return of


@pytest.fixture
def asked(world) -> dict[str, Runs]:
    return world()


def premise(dataset: str, seed: int, **scalars) -> Result:
    medians = {"training": 0.01, "held_out": 0.012, "inverted_hot": 0.02, "inverted_soft": 1.0}
    values = {
        f"{signal}_{kind}_median": median * (1 + seed / 100)
        for signal in reading.SIGNALS
        for kind, median in medians.items()
    }
    confidence = {"training": 0.99, "held_out": 0.985, "inverted_hot": 0.98, "inverted_soft": 0.4}
    values |= {f"confidence_{kind}_mean": value for kind, value in confidence.items()}
    values |= {f"{signal}_membership_auroc": 0.55 for signal in reading.SIGNALS}
    return Result("premises", {"dataset": dataset, "seed": seed}, "reused", {**values, **scalars})


@pytest.fixture
def premised() -> Runs:
    return Runs([premise(d, seed) for d in SIZES for seed in SEEDS], title=TITLES.get)


@pytest.fixture
def written() -> Runs:
    scalars = {
        "finite_difference_error": 1e-6,
        "batch_and_single_differ": 0.3,
        "variation_deviation": 1e-7,
        "pixels_deviation": 1e-8,
        "pixels_inside_range": 0.0,
        "moved_beyond_bound": 1e-8,
        "labels_agree_row_and_column": 1.0,
        "labels_agree_row_or_column": 1.0,
    }
    return Runs([Result("formulas", {"seed": s}, "reused", scalars) for s in (10, 11, 12)])


EMPTY = {name: Runs([]) for name in QUESTIONS}


# --- verdicts -------------------------------------------------------------------------------------


def verdict(id: str, **given) -> str:
    function = getattr(evidence, id.replace("-", "_"))
    wanted = {name: given[name] for name in signature(function).parameters}
    return judge(id, function(**wanted), claims=ledger.load(CLAIMS)).verdict


@pytest.fixture
def verdict_of(asked, premised, written) -> Callable[..., str]:
    def of(id: str, **other) -> str:
        return verdict(id, **{"asked": asked, "premised": premised, "written": written, **other})

    return of


@pytest.mark.parametrize(
    ("id", "wanted"),
    [
        ("T01", "REPRODUCED"),
        ("T02", "REPRODUCED"),
        ("T03", "REPRODUCED"),
        ("T04", "REPRODUCED"),
        ("T05", "REPRODUCED"),
        ("T06", "REPRODUCED"),
        ("T07", "REPRODUCED"),
        ("T09", "REPRODUCED"),
        ("T13-class", "REPRODUCED"),
        ("T15", "NOT-REPRODUCED"),
        ("T16", "REPORTED"),
        ("I25", "REPRODUCED"),
        ("I27", "NOT-RUN"),
        ("S13", "REPRODUCED"),
        ("S14", "REPRODUCED"),
    ],
)
def test_a_made_world_has_its_verdict(verdict_of, id, wanted):
    assert verdict_of(id) == wanted


@pytest.mark.parametrize("id", [name for name in vars(evidence) if name[1:3].isdigit()])
def test_nothing_run_is_no_verdict(id):
    given = {"asked": EMPTY, "premised": Runs([]), "written": Runs([])}
    assert verdict(id.replace("_", "-"), **given) == "NOT-RUN"


def test_every_function_is_a_claim_of_the_ledger():
    ids = {name.replace("_", "-") for name in vars(evidence) if name[1:3].isdigit()}
    assert ids <= ledger.load(CLAIMS).keys() and len(ids) > 20


def test_the_papers_numbers_of_images_are_judged_apart_from_smaller_ones(asked):
    assert set(evidence.T10(asked)) == {"MNIST"}
    assert set(evidence.T11_small(asked)) == {"Digits"}
    assert set(evidence.I24(asked)) == {"MNIST"} and set(evidence.I24_small(asked)) == {"Digits"}


def test_worse_with_size_is_above_zero(asked):
    found = evidence.T10(asked)["MNIST"]
    assert len(found) == 6
    assert np.mean(found["kid_rises_small_to_middle"]) > 0
    assert np.mean(found["oracle_falls_middle_to_large"]) > 0


def test_a_strong_null_takes_the_verdict_on_single_images(world, verdict_of):
    close = {"auroc": 0.9, "tpr_at_1_percent": 0.5, "hits": 500.0}
    assert verdict_of("T13-instance", asked=world({"few, all nine terms": close})) == "REPRODUCED"
    null = {**close, "strangers_hits": 600.0}
    asked = world({"few, all nine terms": null})
    assert verdict_of("T13-instance", asked=asked) == "NOT-REPRODUCED"


def test_a_signal_that_is_worth_nothing_takes_the_verdict_on_all(world, verdict_of):
    worse = {name: {"kid": 3.0} for name in ("no confidence", "no robustness", "no gradient")}
    assert verdict_of("T08", asked=world(worse)) == "REPRODUCED"
    none = {**worse, "no gradient": {"kid": 0.1}}
    assert verdict_of("T08", asked=world(none)) == "NOT-REPRODUCED"


def test_halves_are_averaged_before_they_are_judged(world, verdict_of):
    """A half that draws everything makes one classifier's share large and the other's small."""
    changes = {"few, all nine terms": {"own_half_share": 0.9},
               "few, other half": {"own_half_share": 0.1}}  # fmt: skip
    found = evidence.T13_swap(world(changes))["MNIST"]["own_half_share"]
    assert found == pytest.approx([0.5] * len(SEEDS))


def test_classifiers_that_err_differently_are_not_compared(world):
    assert set(evidence.I23(world())) == {"MNIST", "Digits"}
    assert evidence.I23(world({"few, MLP": {"held_out_accuracy": 0.8}})) == {}


def test_more_parameters_than_pixels_are_no_under_parameterised_model(world):
    large = {"parameters": 1e12}
    assert all(not values for values in evidence.T15(world({design.FULL: large})).values())


def test_ranks_over_widths_are_by_seed(asked):
    found = evidence.I22(asked)
    assert len(found["rank_correlation_likeness"]) == 3
    assert all(-1 <= value <= 1 for value in found["rank_correlation_calibrated_auroc"])


# --- readings -------------------------------------------------------------------------------------


def test_generators_of_a_seed_are_one_value(asked):
    values = reading.per_seed(asked["by size"], "kid", "mnist", n=1000)
    assert list(values.index) == list(SEEDS)


def test_runs_that_diverged_are_left_out():
    failed = Result("reconstructed", {"dataset": "mnist", "seed": 1}, "reused", {"diverged": 1})
    assert not reading.measured(Runs([failed]))


def test_gaps_are_of_seeds_that_both_have(asked):
    first = asked[design.FULL].where(seed=[10, 11])
    assert list(reading.gap(first, asked[design.PRIORS], "kid", "mnist").index) == [10, 11]


def test_the_strongest_null_is_that_with_the_largest_mean(world):
    few = world({"few, all nine terms": {"means_hits": 20.0}})["few, all nine terms"]
    assert reading.strongest_null(few, "hits", "mnist") == "means"


def test_tables_have_a_row_a_class_and_a_loss(asked):
    assert list(reading.by_class(asked).columns) == ["class", "MNIST", "Digits"]
    assert len(reading.in_numbers(asked)) == 2 * len(design.RANKED)
    assert reading.by_class(EMPTY).empty and reading.in_numbers(EMPTY).empty


# --- figures --------------------------------------------------------------------------------------

REAL = {d: np.random.default_rng(0).random((10, 1, 8, 8)) for d in SIZES}
ROWS = {"inverted": design.INVERSION, "nine terms": design.FULL}
FIGURES = {
    "gallery": lambda asked: figures.gallery(asked, REAL, ROWS),
    "pairs": lambda asked: figures.pairs(asked["few, all nine terms"], "mnist"),
    "losses": figures.losses,
    "all losses": lambda asked: figures.losses(asked, figures.ALL_LOSSES),
    "sizes": lambda asked: figures.by_size(asked["by size"]),
    "widths": lambda asked: figures.by_width(asked["by width"]),
    "instances": figures.instances,
    "shortcuts": figures.shortcuts,
    "perceived": lambda asked: figures.as_perceived(asked["shortcuts"], REAL, "mnist"),
    "regularisers": lambda asked: figures.regularisers(asked, {"all": "", "no dropout": "dropout"}),
}


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
def test_a_figure_is_drawn_and_without_runs_there_is_none(draw, asked):
    assert isinstance(draw(asked), Figure)
    assert draw(EMPTY) is None


def test_premises_are_drawn_relative_to_training_images(premised):
    fig = figures.premises(premised)
    assert [ax.get_xscale() for ax in fig.axes] == ["log", "log"]


def test_the_gallery_shows_real_and_made_images_of_the_same_classes(asked):
    fig = figures.gallery(asked, REAL, ROWS, classes=4)
    assert len(fig.axes) == 2 * 3 * 4
    shown = fig.axes[0].images[0].get_array()
    np.testing.assert_allclose(np.asarray(shown), REAL["mnist"][0][0])


def test_a_data_set_without_pictures_is_left_out(asked):
    bare = {
        name: runs.filter(lambda r: r.parameters["dataset"] == "digits" or "images" not in r.arrays)
        for name, runs in asked.items()
    }
    fig = figures.gallery(bare, REAL, ROWS)
    assert [text.get_text() for text in fig.texts][0] == "Digits"


# --- sentences ------------------------------------------------------------------------------------


def test_the_answer_says_class_and_not_image(asked):
    text = sentences.answer(asked)
    assert text.startswith("To its classes, as another network") and "stand out" not in text
    assert len(text.split()) <= 60


def test_the_answer_names_where_images_come_back(world):
    close = {"auroc": 0.9, "strangers_auroc": 0.5, "means_auroc": 0.5}
    asked = world({"few, all nine terms": close})
    assert "stand out from held-out ones on MNIST and Digits: AUROC" in sentences.answer(asked)


def test_no_class_is_claimed_where_the_oracle_sees_none(world):
    blind = {design.FULL: {"oracle_accuracy": 0.1}}
    assert "To its classes" not in sentences.answer(world(blind))
    assert sentences.gallery(world(blind)) == ""


def test_without_runs_the_answer_says_so():
    assert sentences.answer(EMPTY).startswith("Nothing has been run yet")


def test_signals_that_carry_nothing_are_counted(world):
    equal = {name: {"kid": 0.5} for name in (design.FULL, "no gradient", "no robustness")}
    text = sentences.signals(world(equal))
    assert "the gradient, on 0 of 2 data sets" in text
    assert "all three, on 2 of 2 data sets (MNIST, Digits)" in text


def test_confidence_is_marked_where_held_out_images_have_it_too(premised):
    assert "a signal of the distribution" in sentences.confidence(premised)
    apart = Runs(
        [premise("mnist", seed, confidence_held_out_mean=0.5) for seed in SEEDS], title=TITLES.get
    )
    assert "a signal of the distribution" not in sentences.confidence(apart)


def test_sizes_count_only_what_an_interval_decides(world, asked):
    assert "rises in 4 of 4" in sentences.sizes(asked["by size"])
    flat = world({"by size": {"kid": 0.5}})["by size"]
    assert "rises in 0 of 4" in sentences.sizes(flat)


@pytest.mark.parametrize(
    "say",
    [
        sentences.likeness,
        sentences.signals,
        sentences.instances,
        sentences.stationarity,
        sentences.patches,
        sentences.linear,
        lambda asked: sentences.limits(asked, 2, 300, 1000, "bfloat16"),
        lambda asked: sentences.sizes(asked["by size"]),
    ],
)
def test_every_sentence_is_said_with_and_without_runs(say, asked):
    for given in (asked, EMPTY):
        text = say(given)
        assert text and "nan" not in text


def test_what_was_chosen_is_said():
    best = {"mnist": design.default(FOUR)}
    assert "MNIST: random perturbation of 0.03" in sentences.chosen(best, TITLES)
    assert "not here" in sentences.chosen({}, TITLES)


def test_premises_in_words_hold_in_numbers(premised):
    assert "members" not in sentences.premises(premised)
    assert sentences.premises(premised).startswith("**The gradient by the weights is larger")
    assert isinstance(sentences.gradients(premised), str)
    assert pd.Series(reading.ratio(premised, "weight_gradient", "mnist", "held_out", "training")
                     ).between(1, 1.5).all()  # fmt: skip
