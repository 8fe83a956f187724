"""Chapter 5: what its figures, claims and sentences make of made results."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from chapters.out_of_distribution import design, evidence, figures, reading, sentences
from harness import ledger
from harness.claims import judge
from harness.embedding import light_and_dark
from harness.results import Result, Runs

TITLES = {"mnist": "MNIST", "shoes": "Shoes", "coloured-digits": "coloured digits", "svhn": "SVHN"}
CLAIMS = Path(__file__).resolve().parents[2] / "claims"
AUROC = {"plain": 0.8, "outlier exposure": 0.85, "noise": 0.9, "untrained generator": 0.92}
THERE, BACK = ("mnist", "shoes"), ("shoes", "mnist")


def refuse(pair: tuple[str, str], seed: int, arm: str, **scalars) -> Result:
    """A run of `refusing`, in which inversion is best and no threshold separates."""
    random = np.random.default_rng(seed)
    garbage = arm in design.GARBAGE
    auroc = AUROC.get(arm, 0.95) + 0.001 * seed
    values = {
        "auroc": auroc,
        "aupr": auroc,
        "fpr95": 1 - auroc,
        "accuracy": 0.9 + 0.001 * seed,
        "refused": 0.6 + 0.01 * seed if garbage else 0.0,
        "refused_known": 0.002 if garbage else 0.0,
        "least_confident_known": 0.3,
        "most_confident_accepted": 0.999,
        **{name: -0.7 for name in ("gap", "gap_1", "gap_01", "gap_all", "gap_all_1")},
        "auroc_by_round": list(np.linspace(0.7, auroc, 10)),
        "refused_by_round": list(np.linspace(0.1, 0.6, 10)) if garbage else [0.0] * 10,
        "growth_deviation": 0.0,
        "class_weight_deviation": 0.0,
        "foreign_images_trained_on": 0,
    }
    if arm == "plain":
        values |= {f"{measure}_{name}": 0.9 for measure in ("auroc", "aupr", "fpr95")
                   for name in reading.DETECTORS.values()}  # fmt: skip
    if garbage:
        values |= {"auroc_garbage": 0.97, "refused_garbage_by_round": [1.0] + [0.98] * 9}
    if arm == "inversion":
        values |= {"obeyed_by_round": [0.9] * 9, "failures_by_round": [""] * 8 + ["It failed."]}
    arrays = {
        "odds_known": random.normal(5, 2, 300).astype(np.float16),
        "odds_foreign": random.normal(0, 3, 300).astype(np.float16),
        "known_wrong": random.integers(0, 2, 300, dtype=np.uint8),
        "foreign_refused": random.integers(0, 2, 300, dtype=np.uint8) * garbage,
        "slipped": random.integers(0, 255, (5, 1, 8, 8), dtype=np.uint8),
        "slipped_confidence": np.array([0.9, 0.8, 0.7, 0.6, 0.5]),
        "garbage_shown": random.integers(0, 255, (10, 1, 8, 8), dtype=np.uint8),
        "known_shown": random.integers(0, 255, (10, 1, 8, 8), dtype=np.uint8),
    }
    parameters = {"dataset": pair[0], "foreign": pair[1], "seed": seed, "arm": arm}
    return Result("refusing", parameters, "computed", values | scalars, arrays)


def of(results: list[Result]) -> Runs:
    return Runs(results, title=lambda name: TITLES.get(name, name))


def every(pairs=(THERE, BACK), seeds=range(5), **by_arm) -> Runs:
    """All arms; by_arm: scalars of an arm, by its name with _ for blanks."""
    return of([
        refuse(pair, seed, arm, **by_arm.get(arm.replace(" ", "_"), {}))
        for pair in pairs for seed in seeds for arm in design.ARMS
    ])  # fmt: skip


def failed(result: Result) -> Result:
    return replace(result, status="failed", scalars={}, arrays={}, error="ValueError: no")


ALL = every()
ONE = every([THERE], [0])
PLAIN_ONLY = ALL.where(arm="plain")
EMPTY = of([failed(refuse(THERE, 0, "inversion"))])
DRAWN = (
    figures.thresholds, figures.told_apart, figures.turned_away, figures.rounds, figures.slipped,
    figures.garbage,
)  # fmt: skip


# --- figures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("draw", DRAWN)
@pytest.mark.parametrize("runs", [ALL, ONE, every([THERE, BACK, ("a", "b")], [0, 1])])
def test_every_figure_is_drawn_from_what_there_is(draw, runs):
    figure = draw(runs)
    assert isinstance(figure, Figure)
    light_and_dark(figure)


@pytest.mark.parametrize("draw", DRAWN)
def test_no_figure_without_runs(draw):
    assert draw(EMPTY) is None and draw(of([])) is None


@pytest.mark.parametrize("draw", [figures.thresholds, figures.rounds, figures.slipped])
def test_no_figure_of_inversion_without_it(draw):
    assert draw(PLAIN_ONLY) is None


def test_a_bar_joins_the_ends_only_where_they_overlap():
    def bars(runs: Runs) -> int:
        return sum(len(line.get_xdata()) == 2 for ax in figures.thresholds(runs).axes
                   for line in ax.lines)  # fmt: skip

    apart = {"least_confident_known": 0.9, "most_confident_accepted": 0.2}
    assert bars(ONE) == 2
    assert bars(every([THERE], [0], inversion=apart)) == 1


def test_what_slips_through_stands_under_the_name_of_its_set():
    figure = figures.slipped(ALL)
    assert {text.get_text() for text in figure.texts} == {"Shoes", "MNIST"}
    assert [ax.get_title() for ax in figure.axes[:6]] == [
        "0.900", "0.800", "0.700", "0.600", "0.500", "",
    ]  # fmt: skip


# --- evidence ------------------------------------------------------------------------------------


def test_evidence_is_by_pair_with_a_value_a_seed_in_order():
    found = evidence.I18(ALL)
    assert found.keys() == {"MNIST → Shoes", "Shoes → MNIST"}
    assert found["MNIST → Shoes"]["garbage_rate"] == pytest.approx([0.6, 0.61, 0.62, 0.63, 0.64])
    assert evidence.I19(ALL)["Shoes → MNIST"] == {"confidence_gap": [-0.7] * 5}
    added = evidence.I20(ALL)["MNIST → Shoes"]
    assert added["auroc_minus_noise_only"] == pytest.approx([0.05] * 5)
    assert added["auroc_minus_plain"] == pytest.approx([0.15] * 5)
    assert added["accuracy_drop"] == pytest.approx([0] * 5)
    assert evidence.I20_untrained(ALL)["MNIST → Shoes"] == {
        "auroc_minus_untrained": pytest.approx([0.03] * 5)
    }
    ranks = evidence.I21(ALL)["MNIST → Shoes"]["rank_correlation_round_auroc"]
    assert ranks == pytest.approx([1.0] * 5)
    for claim in (evidence.I17, evidence.I18, evidence.I19, evidence.I20, evidence.I21):
        assert claim(EMPTY) == {} == claim(PLAIN_ONLY)


def test_the_best_detector_is_that_of_each_seed():
    runs = of([
        *ALL.where(arm="inversion"),
        refuse(THERE, 0, "plain", auroc_energy=0.99),
        refuse(THERE, 1, "plain", auroc_knn=0.5, auroc_norm=1.0),
    ])  # fmt: skip
    found = evidence.I20_detectors(runs)["MNIST → Shoes"]["auroc_minus_best_detector"]
    assert found == pytest.approx([0.95 - 0.99, 0.951 - 0.9])


def test_the_trend_needs_ten_rounds_and_is_0_without_a_change():
    few = every([THERE], [0], inversion={"auroc_by_round": [0.1, 0.2]})
    assert reading.rank_by_seed(few, THERE) == []
    flat = every([THERE], [0], inversion={"auroc_by_round": [0.5] * 10})
    assert reading.rank_by_seed(flat, THERE) == [0.0]


def test_what_stands_for_svhn_is_a_part_only_without_it():
    pairs = [("svhn", "cifar10"), ("coloured-digits", "cifar10-jpeg")]
    assert reading.judged_pairs(every(pairs, [0])) == pairs[:1]
    assert reading.judged_pairs(every(pairs[1:], [0])) == pairs[1:]


def test_every_measure_is_one_that_the_ledger_asks_for():
    claims = ledger.load(CLAIMS)
    names = [name for name in vars(evidence) if re.fullmatch(r"I\d\d\w*", name)]
    assert len(names) == 10
    for name in names:
        found = getattr(evidence, name)(ALL)
        verdict = judge(name.replace("_", "-"), found, claims=claims)
        assert verdict.verdict != "NOT-RUN", (name, verdict.notes)


def test_verdicts_follow_from_the_runs():
    claims = ledger.load(CLAIMS)
    said = {name: judge(name, getattr(evidence, name)(ALL), claims=claims).verdict
            for name in ("I17", "I18", "I19", "I20", "I21")}  # fmt: skip
    assert said == {"I17": "REPRODUCED", "I18": "REPRODUCED", "I19": "NOT-REPRODUCED",
                    "I20": "REPRODUCED", "I21": "REPRODUCED"}  # fmt: skip
    poisoned = every(inversion={"foreign_images_trained_on": 1})
    assert judge("I17", evidence.I17(poisoned), claims=claims).verdict == "NOT-REPRODUCED"


# --- sentences -----------------------------------------------------------------------------------

WORSE = every(inversion={"auroc": 0.5})


def test_counts_of_pairs_follow_the_intervals():
    assert "noise alone on 2 of 2 pairs, below that of the best" in sentences.answer(ALL)
    assert "noise alone on 0 of 2 pairs" in sentences.answer(WORSE)
    assert sentences.answer(WORSE).endswith("three detectors on 2.")
    assert "noise alone on 0 of 1 pairs" in sentences.answer(ONE)  # one seed carries nothing
    assert "below 0 on 2" in sentences.added(WORSE) and "below 0 on 2" not in sentences.added(ALL)


def test_the_answer_is_hardly_only_where_a_minority_is_refused_everywhere():
    assert not sentences.answer(ALL).startswith("Hardly")
    few = {"refused": 0.1}
    assert sentences.answer(every(inversion=few)).startswith("Hardly")
    assert not sentences.answer(every([THERE], [0], inversion=few)).startswith("Hardly")


def test_a_length_that_points_the_wrong_way_is_named():
    assert "on 0 of 2 pairs that length" in sentences.detectors(ALL)
    assert "on 2 of 2 pairs that length" in sentences.detectors(every(plain={"auroc_norm": 0.3}))


def test_the_probability_of_garbage_is_praised_only_where_it_ranks_better():
    assert "ranks foreign images better" in sentences.other_score(ALL)
    worse = every(inversion={"auroc_garbage": 0.6})
    assert "ranks" not in sentences.other_score(worse) and "below 0 on 2" in (
        sentences.other_score(worse)
    )


def test_the_inversion_is_credited_only_where_it_beats_the_control():
    assert "add to an untrained generator everywhere" in sentences.in_short(ALL)
    assert "is not shown" not in sentences.in_short(ALL)
    worse = sentences.in_short(WORSE)
    assert "everywhere" not in worse and "ahead on 0 of 2 pairs" in worse


def test_a_threshold_is_denied_only_where_no_run_has_one():
    assert "in 0 of 10 runs" in sentences.thresholds(ALL)
    assert sentences.thresholds(every(inversion={"gap": 0.1})) == ""
    assert "above 0 in 10 of 10 runs" in sentences.gaps(every(inversion={"gap": 0.1}))
    assert sentences.thresholds(EMPTY) == ""


TOLD = (
    sentences.turned_away, sentences.gaps, sentences.added, sentences.in_short, sentences.kept,
    sentences.over_rounds, sentences.other_score, sentences.detectors,
)  # fmt: skip


@pytest.mark.parametrize("runs", [ALL, ONE, EMPTY, PLAIN_ONLY, ALL.where(arm="inversion")])
def test_every_sentence_can_be_said_of_what_there_is(runs):
    for tell in TOLD:
        assert tell(runs) and "nan" not in tell(runs), tell
    assert 0 < len(sentences.answer(runs).split()) <= 60
    assert "nan" not in sentences.answer(runs)


def test_the_race_is_told_with_its_failures():
    told = sentences.over_rounds(ALL)
    for words in ("90 % of cases", "98.0 %", "10 of 90 rounds", "+1.00 [+1.00, +1.00]"):
        assert words in told
    few = every(inversion={"auroc_by_round": [0.1, 0.2]})
    assert "fewer than 10 rounds" in sentences.over_rounds(few)


def test_what_limits_the_chapter_names_small_and_made_sets():
    pairs = [("cifar10-jpeg", "coloured-digits"), ("fashion-mnist-900", "mnist")]
    text = sentences.limits(every(pairs), 5000, "bfloat16")
    for words in ("5 seeds;", "at most 5,000", "bfloat16", "in the place of SVHN", "a hard one",
                  "(600 of Fashion-MNIST (900))"):  # fmt: skip
        assert words in text
    plain = sentences.limits(ONE, 600, "float32")
    assert "SVHN" not in plain and "hard one" not in plain and "1 seed;" in plain


# --- tables --------------------------------------------------------------------------------------


def test_tables_have_a_row_a_pair_and_an_arm():
    table = reading.by_arm(ALL, reading.COLUMNS)
    assert len(table) == 10 and table["AUROC"][0] == pytest.approx(0.802)
    assert np.isnan(table["by P(garbage)"][0])
    assert len(reading.by_arm(PLAIN_ONLY, reading.GAPS)) == 2
    detectors = reading.by_detector(ALL)
    assert len(detectors) == 10 and detectors["detector"][0] == "largest probability"
    assert reading.by_arm(EMPTY, reading.GAPS).empty and reading.by_detector(EMPTY).empty
    differences = reading.differences(ALL)
    assert len(differences) == 10
    assert differences["difference [95 % interval]"][1] == "+0.050 [+0.050, +0.050]"
    assert reading.differences(PLAIN_ONLY).empty and len(reading.differences(ONE)) == 5


def test_every_arm_of_every_pair_is_asked_for():
    cases = design.cases([["a", "b"], ["c", "d"]])
    assert len(cases) == 10 and cases[0] == {"dataset": "a", "foreign": "b", "arm": "plain"}
