"""Chapter 3 from made results: what is run, what is said, drawn and judged."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from chapters.network_inversion import design, evidence, figures, reading, runs, sentences
from harness import ledger
from harness.claims import judge
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
CLAIMS = [name for name in vars(evidence) if re.fullmatch(r"[IT]\d\d\w*", name)]
FIGURES = ("conditionings", "terms", "confidence", "unlike", "steps", "by_cosine")
SENTENCES = (
    "answer", "doubt", "matching", "confidence", "terms", "cosine", "unlike", "pace", "obeyed",
    "carried_over", "findings", "training_like",
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
        cosine_weights=[0.0, 1.0, 4.0],
        failing_weights=[64.0],
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
        kl_weights=[1.0], cosine_weights=[1.0], failing_weights=[64.0], **TRAINING,
    )  # fmt: skip
    ranked = {name for name, runs in cases.items() if len(runs) == 2}
    assert ranked == design.RANKED | {"by cosine"}


def test_the_weight_at_which_generators_fail_is_a_question_of_its_own():
    runs = {name: list(own.all) for name, own in asked().items()}
    assert {r.parameters["cosine"] for r in runs["by cosine"]} == {0, 1, 4}
    assert {r.parameters["cosine"] for r in runs["too much cosine"]} == {64}
    assert len(reading.over_cosine(asked())) == 12


def test_names_of_published_runs_depend_on_their_parameters_alone():
    """Weights that moved to another question are the runs that they were."""
    cases = design.questions(
        ONES, ["mnist"], seeds=[10], order_seeds=[10, 11], generators=1, other_classifiers=[],
        kl_weights=[], cosine_weights=[0.0, 64.0], failing_weights=[64.0], **TRAINING,
    )  # fmt: skip
    [failing] = cases["too much cosine"]
    assert failing in cases["by cosine"]


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


def accurate(**values):
    """Inversion accuracy by name of a question, in all seeds; others stay as they are."""
    names = {name.replace("_", " "): value for name, value in values.items()}

    def change(name, run):
        return {"inversion_accuracy": names[name]} if name in names else {}

    return change


def test_arms_match_within_one_point_and_from_95_percent_on_in_every_seed():
    told = asked()
    assert reading.matched_arms(told, ("vector", "label"), "digits") == ["vector", "label"]
    assert reading.accuracy_gap(told, ("vector", "label"), "digits") == [0, 0, 0]
    low = asked(change=accurate(vector=0.96))  # above 95 %, and three points from the label
    assert reading.matched_arms(low, ("vector", "label"), "digits") == ["vector, hot", "label"]
    one = asked(change=lambda n, r: {"inversion_accuracy": 0.975} if (n, r["seed"]) == ("label", 11)
                else {})  # fmt: skip
    assert reading.matched_arms(one, ("vector", "label"), "digits") == []
    assert reading.matched_gap(one, "vector", "label", "intra", "digits") == []
    poor = asked(change=lambda n, r: {"inversion_accuracy": 0.9})
    assert reading.matched_arms(poor, design.FOUR, "digits") == []
    assert reading.agree(poor, design.FOUR, "digits", at_least=0.0)


def test_a_generator_that_diverged_is_not_left_out_of_its_arm():
    told = asked()
    runs = list(told["vector"].all)
    runs[1] = Result(
        runs[1].function, runs[1].parameters, "reused", {"failure": "no", "diverged": 1}
    )
    told["vector"] = Runs(runs, title=told["vector"].title)
    assert reading.matched(told, ["vector", "label"], "digits") == ["label"]
    assert reading.matched_arms(told, ("vector", "label"), "digits") == ["vector, hot", "label"]


def test_weights_that_work_are_those_at_which_no_generator_fails():
    def low_at_4(name, run):
        return {"inversion_accuracy": 0.9} if (run["cosine"], run["seed"]) == (4, 12) else {}

    works = reading.working(asked(), "digits")
    assert {r.parameters["cosine"] for r in works.all} == {0, 1, 4}
    assert not reading.working(asked(change=low_at_4), "digits").all  # two are left: too few
    told = asked(datasets=("digits", "mnist"), change=low_at_4)
    told["by cosine"] = Runs(
        [r for r in told["by cosine"].all if r.parameters["dataset"] == "digits"]
        + [
            result(r.parameters)
            for r in told["by cosine"].all
            if r.parameters["dataset"] == "mnist"
        ]
    )
    assert reading.working(told, "mnist").all and not reading.working(told, "digits").all


def test_the_lowest_accuracy_is_of_seeds_that_have_all_weights():
    def change(name, run):
        return {"inversion_accuracy": 0.3} if run["cosine"] == 64 else {}

    told = asked(change=change)
    told["too much cosine"] = told["too much cosine"].where(seed=[10, 11])
    found = reading.lowest_accuracy(reading.over_cosine(told), "cosine", "digits")
    assert found == [0.3, 0.3]


def test_a_set_that_stands_for_another_does_not_count_beside_it():
    assert reading.judged_on(["mnist", "coloured-digits"]) == ["mnist", "coloured-digits"]
    assert reading.judged_on(["svhn", "coloured-digits"]) == ["svhn"]
    assert reading.seen(["mnist", "coloured-digits"], 10_000) == {"coloured-digits": 3000}
    assert reading.seen(["coloured-digits"], 1000) == {}


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

    told = asked(change=change)
    assert evidence.I03_unmatched(told) == {
        "Digits": {"vector_minus_label": pytest.approx([0.3] * 3)}
    }
    assert evidence.I05_unmatched(told) == {
        "Digits": {"vector_matrix_minus_best_other": pytest.approx([-0.1] * 3)}
    }
    assert evidence.I02(told)["Digits"] == {
        "labels_agree": [1.0] * 3,
        "accuracy_lost_without_matrix": pytest.approx([0.29] * 3),
    }
    assert evidence.I09(told)["Digits"]["kid_minus_five_test"] == pytest.approx([0.5] * 3)
    assert evidence.I10_hot(told) == {"Digits": {"confidence": [0.6] * 3}}
    assert evidence.I28(told) == {"seconds": [30.0] * 3}


def test_claims_use_every_seed_that_there_is():
    told = asked((10, 11, 12, 13, 14))
    for name in ("I02", "I08", "I09", "I10", "I10_hot", "T14"):
        [measures] = getattr(evidence, name)(told).values()
        assert {len(values) for values in measures.values()} == {5}, name


def test_rows_that_ask_for_matched_arms_have_none_where_soft_vectors_do_not_match():
    low = accurate(vector=0.86)
    told = asked(change=lambda n, r: low(n, r) | {"intra": {"vector, hot": 0.5}.get(n, 0.3)})
    for name in ("I03", "I04", "I05"):
        assert getattr(evidence, name)(told) == {}
        assert getattr(evidence, f"{name}_unmatched")(told).keys() == {"Digits"}
    assert evidence.I03_matched(told)["Digits"] == {
        "vector_minus_label": pytest.approx([0.2] * 3), "accuracy_gap": [0.0] * 3,
    }  # fmt: skip
    assert evidence.I04_matched(told)["Digits"] == {
        "matrix_minus_vector": pytest.approx([-0.2] * 3), "steps_saved": [0.0] * 3,
        "accuracy_gap": [0.0] * 3,
    }  # fmt: skip
    assert evidence.I05_matched(told)["Digits"]["vector_matrix_minus_best_other"] == pytest.approx(
        [-0.2] * 3
    )
    nowhere = asked(change=lambda n, r: {"inversion_accuracy": 0.9})
    assert evidence.I03_matched(nowhere) == evidence.I05_matched(nowhere) == {}


def test_rows_are_judged_where_the_soft_vector_matches():
    def change(name, run):
        return {
            "intra": 0.4 + {10: 0.0, 11: 0.01, 12: 0.02}[run["seed"]] * (name == "vector-matrix")
        }

    told = asked(change=change)
    assert evidence.I03(told)["Digits"]["accuracy_gap"] == [0.0] * 3
    found = evidence.I05(told)["Digits"]["vector_matrix_minus_best_other_plus_width"]
    interval = reading.sure([0.0, 0.01, 0.02])
    assert found == pytest.approx([0.01 + interval.high - interval.low] * 3)
    alone = evidence.I05(asked(seeds=(10,)))["Digits"]
    assert alone["vector_matrix_minus_best_other_plus_width"] == []


def test_the_jump_is_judged_by_both_measures():
    told = asked(change=lambda n, r: {"jump": 5.0} if n == "vector" else {})
    for r in told["vector"]:
        r.arrays["at_accuracy"][:] = [0.1, 0.1, 0.1, 1.0]
    steeper = 3.0 - 0.5 / 0.3
    assert evidence.I07(told)["Digits"] == {
        "later": [0.0] * 3, "steeper": pytest.approx([steeper] * 3),
    }  # fmt: skip
    assert evidence.I07_tenths(told)["Digits"] == {"later": [0.0] * 3, "more_of_a_jump": [3.0] * 3}
    text = sentences.pace(told)
    assert "above 0 in 3 of 3 seeds" in text and text.index("I07.") < text.index("I07-tenths")


def test_the_cosine_is_judged_on_all_weights_and_on_those_that_work():
    def change(name, run):
        failed = {"inversion_accuracy": 0.3} if run["cosine"] == 64 else {}
        return {"intra": -run["cosine"], "inter": run["cosine"]} | failed

    told = asked((10, 11, 12, 13, 14), change=change)
    told["too much cosine"] = told["too much cosine"].where(seed=[10, 11, 12])
    assert evidence.I11(told)["Digits"] == {
        "rho_intra": pytest.approx([-1] * 3), "rho_inter": pytest.approx([1] * 3),
        "lowest_accuracy": [0.3] * 3,
    }  # fmt: skip
    assert evidence.I11_working(told)["Digits"] == {
        "rho_intra": pytest.approx([-1] * 5), "rho_inter": pytest.approx([1] * 5),
    }  # fmt: skip
    assert "fails there" in sentences.cosine(told) and "fails there" not in sentences.cosine(
        asked()
    )


def test_what_stands_for_svhn_is_a_part_only_without_it():
    both = asked(datasets=("digits", "svhn", "coloured-digits"))
    assert evidence.I08(both).keys() == {"Digits", "svhn"}
    assert evidence.I08(asked(datasets=("coloured-digits",))).keys() == {"coloured-digits"}


def test_every_measure_is_one_that_the_ledger_asks_for():
    claims = ledger.load(Path(__file__).resolve().parents[2] / "claims")
    told = asked((10, 11, 12, 13, 14))
    for name in CLAIMS:
        measures = getattr(evidence, name)([10, 11, 12] if name == "I01" else told)
        verdict = judge(name.replace("_", "-"), measures, claims=claims)
        assert verdict.verdict != "NOT-RUN", (name, verdict.notes)


@pytest.mark.parametrize("status", ["missing", "failed"])
def test_without_runs_there_is_no_evidence(status):
    told = asked(status=status)
    for name in CLAIMS:
        assert name == "I01" or getattr(evidence, name)(told) == {}, name


# --- figures and sentences ----------------------------------------------------------------------


def diverged(name, run):
    return {"failure": "The generator has collapsed."} if name == "vector" else {}


@pytest.mark.parametrize(
    "told",
    [
        asked(datasets=("digits", "mnist")),
        asked(datasets=("digits", "mnist", "fashion-mnist-900", "coloured-digits")),
        asked(seeds=(10,)),
        asked(change=diverged),
        asked(change=lambda n, r: {"intra": float("nan")} if n == "matrix" else {}),
    ],
    ids=["two sets", "four sets", "one seed", "a failure", "a hole"],
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
    assert len(sentences.training_like(told).split()) <= 60
    for name in ("conditionings", "losses", "slow"):
        assert "nan" not in getattr(sentences, name)(told)


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
    assert "more diverse" in sentences.conditionings(asked(change=change))
    for told in (asked(seeds=(10,), change=change), asked()):
        assert "more diverse" not in sentences.answer(told) + sentences.conditionings(told)
        assert "Doubt makes diversity" not in sentences.findings(told)


def test_what_is_not_matched_is_not_compared():
    hot = accurate(**{"vector-matrix, hot": 0.96})
    told = asked(change=lambda n, r: hot(n, r) | ({"intra": 0.3} if n.endswith("hot") else {}))
    assert "more diverse" not in sentences.answer(told)
    assert "doubt changes the diversity by – on Digits" in sentences.doubt(told)
    soft = sentences.matching(asked(change=accurate(vector=0.86)))
    assert "the hot vector, which asks for certainty, stands in for the soft one" in soft
    assert "not matched, and not compared" in sentences.matching(
        asked(change=lambda n, r: {"inversion_accuracy": 0.9})
    )


def test_features_and_pixels_of_cross_entropy_alone_are_told_apart():
    def change(intra, pixels):
        own = {"intra": intra, "pixel_std": pixels}
        return lambda n, r: own if n == design.CE_ONLY else {}

    collapsed = asked(change=change(0.1, 0.05))
    assert "less diverse with cross-entropy alone" in sentences.terms(collapsed)
    assert "By its pixels, too" in sentences.terms(collapsed)
    blind = asked(change=change(0.1, 0.2))
    assert "By its pixels a class varies more" in sentences.terms(blind)
    assert "its pixels more" in sentences.losses(blind)
    spread = asked(change=change(0.6, 0.1))
    assert "less diverse" not in sentences.terms(spread) and "By its pixels" not in (
        sentences.terms(spread)
    )
    assert "differ less" not in sentences.losses(spread)


def test_findings_beside_the_papers_stand_on_differences():
    def change(name, run):
        return {
            "vector-matrix, hot": {"intra": 0.3, "oracle_intra": 0.03, "oracle_accuracy": 0.5},
            "no KL divergence": {"confidence": 0.99},
            "no orthogonality": {"intra": 0.2},
        }.get(name, {})

    text = sentences.findings(asked(change=change))
    for words in ("Doubt makes", "less of it in those of another", "is set, not found",
                  "carries over** to another network on Digits", "Orthogonality spreads"):  # fmt: skip
        assert words in text
    assert sentences.findings(asked()).startswith("No difference")
    opposite = asked(change=lambda n, r: {"intra": 0.3} if n == "no cosine" else {})
    assert "Orthogonality" not in sentences.findings(opposite)


def test_what_is_like_the_training_set_is_said_of_both_kinds_of_vectors():
    text = sentences.training_like(asked())
    assert text.startswith("Not by inverting alone") and "20 %" in text and "chapter 6" in text
    close = asked(change=lambda n, r: {"oracle_accuracy": 0.95} if n.endswith("hot") else {})
    assert "Not by inverting alone" not in sentences.training_like(close)


def test_what_limits_the_chapter_names_what_stands_for_svhn():
    text = sentences.limits(asked(datasets=("coloured-digits",)), 10_000, 500, "bfloat16")
    for words in ("3,000 of coloured-digits", "in the place of SVHN", "are ours", "bfloat16",
                  "3 seeds"):  # fmt: skip
        assert words in text
    assert "SVHN" not in sentences.limits(asked(), 600, 60, "float32")
    assert "0 seeds" not in sentences.limits(asked(), 600, 60, "float32")


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


def test_a_set_in_the_place_of_another_is_disclosed_only_where_the_other_was_not_run():
    assert "in the place of SVHN, which was not run" in reading.in_its_place(["coloured-digits"])
    assert reading.in_its_place(["coloured-digits", "svhn"]) == ""
    assert reading.in_its_place(["mnist"]) == ""
