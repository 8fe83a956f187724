"""Chapter 3 from made results: what is run, what is said, drawn and judged."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from chapters.network_inversion import design, evidence, figures, reading, runs, sentences
from harness.results import Result, Runs
from lib.inversion import LOSS_TERMS, Samples

TRAINING = {"n": 100, "steps": 3, "classifier_steps": 3, "precision": "float32"}
ONES = dict.fromkeys(LOSS_TERMS, 1.0)
MEASURES = {
    "failure": "", "inversion_accuracy": 0.99, "worst_class_accuracy": 0.97, "confidence": 0.6,
    "asked_confidence": 0.32, "test_accuracy": 0.9, "test_confidence": 0.9, "intra": 0.4,
    "inter": 1.0, "vendi": 5.0, "pixel_std": 0.1, "oracle_accuracy": 0.2, "oracle_intra": 0.02,
    "oracle_test_accuracy": 0.9, "kid": 2.0, "test_kid": 0.1, "nearest_auroc": 0.9,
    "steps_to_half": 20.0, "steps_to_95": 50.0, "jump": 2.0, "generator_seconds": 30.0,
    "follows_matrix": 0.6, "follows_vector": 0.3, "accuracy_blank_matrix": 0.7,
}  # fmt: skip
FIGURES = ("conditionings", "terms", "confidence", "unlike", "steps", "by_cosine")
SENTENCES = (
    "answer", "doubt", "unmatched", "confidence", "terms", "cosine", "unlike", "pace", "obeyed",
    "carried_over",
)  # fmt: skip


def arrays(classes=(0, 1)) -> dict[str, np.ndarray]:
    return {
        "images": np.full((2 * len(classes), 1, 4, 4), 100, dtype=np.uint8),
        "shown_labels": np.repeat(classes, 2),
        "at_step": np.array([0, 1, 2, 3]),
        "at_accuracy": np.array([0.1, 0.3, 0.8, 1.0]),
    }


def result(parameters: dict, status: str = "reused", **values) -> Result:
    if status in ("missing", "failed"):
        return Result("chapters.x.inverted", parameters, status)
    return Result("chapters.x.inverted", parameters, status, MEASURES | values, arrays())


def asked(
    seeds=(10, 11, 12), datasets=("digits",), change=lambda name, run: {}, status="reused"
) -> dict[str, Runs]:
    """Made runs of every question; change: (question, parameters) -> other values."""
    cases = design.questions(
        ONES,
        list(datasets),
        seeds=list(seeds),
        order_seeds=list(seeds),
        generators=2,
        other_classifiers=["CNN"],
        kl_weights=[0.25, 1.0],
        cosine_weights=[0.0, 1.0, 64.0],
        **TRAINING,
    )
    return {
        name: Runs(
            [result(run, status, **change(name, run)) for run in runs],
            title=lambda d: {"digits": "Digits"}.get(d, d),
        )
        for name, runs in cases.items()
    }


# --- what is run --------------------------------------------------------------------------------


def test_the_weights_are_tried_on_a_seed_of_their_own():
    cases = design.tuning("digits", **TRAINING)
    assert [(c["kl"], c["cosine"], c["orthogonality"]) for c in cases] == [(1, 1, 1), (1, 1, 4)]
    assert {c["seed"] for c in cases} == {design.TUNING_SEED} and {c["n"] for c in cases} == {100}
    assert len(design.tuning("mnist")) == len(design.tuning("a set of my own")) == 18


def test_a_question_changes_what_it_names_and_nothing_else():
    runs = {name: list(own.all) for name, own in asked().items()}
    standard = runs["vector-matrix"][0].parameters
    hot = runs["vector-matrix, hot"][0].parameters
    assert {k for k in standard if standard[k] != hot[k]} == {"vector"}
    alone = runs[design.CE_ONLY][0].parameters
    assert [alone[term] for term in LOSS_TERMS] == [0, 1, 0, 0]
    assert [r.parameters["generator"] for r in runs["siblings"]] == [0, 1]
    assert runs[design.ALL_TERMS][0].parameters == standard


def test_what_is_ranked_has_the_longer_list_of_seeds():
    cases = design.questions(
        ONES, ["digits"], seeds=[1], order_seeds=[1, 2], generators=1, other_classifiers=["CNN"],
        kl_weights=[1.0], cosine_weights=[1.0], **TRAINING,
    )  # fmt: skip
    assert {name for name, runs in cases.items() if len(runs) == 2} == design.RANKED


@pytest.mark.parametrize(
    ("scores", "chosen"),
    [
        ([(1.0, 3.0, 1.0), (4.0, 5.0, 0.99)], 4.0),
        ([(1.0, 3.0, 1.0), (4.0, 5.0, 0.98)], 1.0),
        ([(4.0, 5.0, 0.98)], 1.0),
        ([], 1.0),
    ],
)
def test_the_rule_takes_the_most_diverse_setting_that_is_accurate(scores, chosen):
    tried = [
        result({**ONES, "orthogonality": d}, vendi=vendi, worst_class_accuracy=worst)
        for d, vendi, worst in scores
    ]
    diverged = Result("f", {**ONES, "orthogonality": 9.0}, "reused", {"failure": "not finite"})
    assert design.chosen_weights([*tried, diverged])["orthogonality"] == chosen


# --- values by seed -----------------------------------------------------------------------------


def test_gaps_are_paired_by_seed():
    def change(name, run):
        value = {"vector": 0.5, "label": 0.2}.get(name, 0.0) + run["seed"] / 100
        return {"intra": value} if (name, run["seed"]) != ("label", 11) else {"intra": float("nan")}

    found = reading.gap(asked(change=change), "vector", "label", "intra", "digits")
    assert found == pytest.approx([0.3, 0.3])


def test_above_the_best_other_in_each_seed():
    values = {("label", 10): 0.1, ("label", 11): 0.6, ("matrix", 10): 0.3, ("matrix", 11): 0.2}
    told = asked((10, 11), change=lambda n, r: {"intra": values.get((n, r["seed"]), 0.5)})
    found = reading.above_best(told, "vector-matrix", ("label", "matrix"), "digits")
    assert found == pytest.approx([0.2, -0.1])


def test_matched_are_those_that_reach_95_percent_in_every_seed():
    def low(name, run):
        return {"inversion_accuracy": 0.9} if (name, run["seed"]) == ("vector", 11) else {}

    assert reading.matched(asked(change=low), design.FOUR, "digits") == [
        "label", "matrix", "vector-matrix",
    ]  # fmt: skip


def test_a_rank_needs_all_values_and_is_0_where_nothing_changes():
    grow = asked(change=lambda n, r: {"intra": r["cosine"]})["by cosine"]
    assert reading.rank_by_seed(grow, "cosine", "intra", "digits") == pytest.approx([1, 1, 1])
    assert reading.rank_by_seed(grow, "cosine", "inter", "digits") == [0, 0, 0]
    short = Runs([r if i else result(r.parameters, "missing") for i, r in enumerate(grow.all)])
    assert len(reading.rank_by_seed(short, "cosine", "intra", "digits")) == 2


def test_the_first_measure_of_a_jump():
    run = result({})
    assert reading.steepest_step(run) == pytest.approx(0.5 / 0.3)


def test_the_balance_of_kl_and_cross_entropy():
    run = result({"kl": 1.0, "ce": 1.0})
    assert reading.predicted_confidence(run) == pytest.approx(0.66)
    assert reading.predicted_confidence(result({"kl": 0.0, "ce": 1.0})) == 1


def test_one_seed_carries_nothing():
    assert not reading.sure([0.5]).low > 0 and reading.sure([0.5]).estimate == 0.5
    assert reading.sure([0.5, 0.6, 0.7]).low > 0


# --- claims -------------------------------------------------------------------------------------


def test_the_losses_are_the_formulas():
    found = evidence.I01([0, 1])
    assert max(found["largest_deviation"]) < 1e-12
    assert min(found["cosine_above_bound"] + found["orthogonality_above_floor"]) > -1e-12


def test_evidence_by_hand():
    def change(name, run):
        return {"intra": {"vector": 0.5, "label": 0.2}.get(name, 0.4), "kid": 1.0, "test_kid": 0.1}

    told, seeds = asked(change=change), [10, 12]
    assert evidence.I03(told) == {"Digits": {"vector_minus_label": pytest.approx([0.3] * 3)}}
    assert evidence.I05(told) == {
        "Digits": {"vector_matrix_minus_best_other": pytest.approx([-0.1] * 3)}
    }
    assert evidence.I02(told, seeds)["Digits"] == {
        "labels_agree": [1.0, 1.0],
        "accuracy_lost_without_matrix": pytest.approx([0.29] * 2),
    }
    assert evidence.I09(told, seeds)["Digits"]["kid_minus_five_test"] == pytest.approx([0.5] * 2)
    assert evidence.I10_hot(told, seeds) == {"Digits": {"confidence": [0.6, 0.6]}}
    assert evidence.I28(told, seeds) == {"seconds": [30.0, 30.0]}


@pytest.mark.parametrize("status", ["missing", "failed"])
def test_without_runs_there_is_no_evidence(status):
    told = asked(status=status)
    for name in ("I03", "I03_hot", "I04", "I05", "I06", "I07", "I11"):
        assert getattr(evidence, name)(told) == {}
    for name in ("I02", "I08", "I09", "I10", "I10_hot", "I28", "T14"):
        assert getattr(evidence, name)(told, [10]) == {}


# --- figures and sentences ----------------------------------------------------------------------


def diverged(name, run):
    return {"failure": "The generator has collapsed."} if name == "vector" else {}


@pytest.mark.parametrize(
    "told",
    [
        asked(datasets=("digits", "mnist")),
        asked(seeds=(10,)),
        asked(change=diverged),
        asked(change=lambda n, r: {"intra": float("nan")} if n == "matrix" else {}),
    ],
    ids=["two sets", "one seed", "a failure", "a hole"],
)
def test_figures_and_sentences_of_made_runs(told):
    for name in FIGURES:
        assert isinstance(getattr(figures, name)(told), Figure), name
    real = {"digits": np.zeros((2, 1, 4, 4))}
    rows = {"made": "vector-matrix"}
    assert isinstance(figures.beside_real(told, real, rows=rows), Figure)
    assert isinstance(figures.beside_real(told, {}, rows=rows), Figure)
    assert isinstance(figures.siblings(told, real), Figure)
    assert isinstance(figures.in_numbers(told, list(design.TOLD)), Figure)
    assert isinstance(figures.in_numbers(told, ["label"], figures.LOSS_MEASURES), Figure)
    for name in SENTENCES:
        text = getattr(sentences, name)(told)
        assert text and "nan" not in text, (name, text)
    assert len(sentences.answer(told).split()) <= 60


def test_without_runs_figures_are_none_and_sentences_say_so():
    told = asked(status="failed")
    assert {name: getattr(figures, name)(told) for name in FIGURES} == dict.fromkeys(FIGURES)
    assert figures.beside_real(told, {}, rows={"made": "vector-matrix"}) is None
    assert figures.siblings(told, {}) is None and figures.in_numbers(told, ["label"]) is None
    assert figures.tried_weights(Runs([])) is None
    for name in SENTENCES:
        assert "run" in getattr(sentences, name)(told)
    assert reading.summary(told, {"x": "intra"}).empty
    assert reading.by_architecture(told, {"x": "intra"}).empty


def test_one_question_that_failed_leaves_the_others():
    told = asked() | {"vector": asked(status="failed")["vector"]}
    told |= {"other classifiers": asked(status="failed")["other classifiers"]}
    for name in FIGURES:
        assert isinstance(getattr(figures, name)(told), Figure), name
    for name in SENTENCES:
        assert getattr(sentences, name)(told)


def test_a_comparison_is_made_only_where_the_seeds_carry_it():
    def change(name, run):
        return {"intra": 0.3} if name.endswith("hot") else {}

    assert "more diverse" in sentences.answer(asked(change=change))
    assert "more diverse" not in sentences.answer(asked(seeds=(10,), change=change))
    assert "more diverse" not in sentences.answer(asked())


def test_the_map_of_weights_brackets_what_the_rule_refuses():
    tried = Runs(
        result({"dataset": "digits", **ONES, "orthogonality": d}, vendi=d, worst_class_accuracy=w)
        for d, w in ((1.0, 1.0), (4.0, 0.9))
    )
    texts = {text.get_text() for text in figures.tried_weights(tried).axes[0].texts}
    assert texts == {"1.0", "(4.0)"}
    assert "δ = 1" in sentences.tuned(asked(), tried, design.chosen_weights(tried))


def test_live_images_stand_below_real_ones():
    labels = torch.arange(20) % 10
    images = torch.zeros(20, 1, 4, 4)
    samples = Samples(images, labels, torch.zeros(20, 10), torch.zeros(20, 10), images.flatten(1))
    assert len(figures.live(samples, images, labels, draws=2).axes) == 30


def test_real_images_are_one_a_class_of_every_set_that_is_there():
    values = {name: images.numpy() for name, images in runs.examples("digits").items()}
    there = Result("examples", {"dataset": "digits"}, "computed", arrays=values)
    gone = Result("examples", {"dataset": "gone"}, "missing")
    found = reading.real_images(Runs([there, gone]))
    assert list(found) == ["digits"] and found["digits"].shape == (10, 1, 20, 20)
    assert 0 <= found["digits"].min() and found["digits"].max() <= 1
