"""Chapter 4: what its figures, claims and sentences make of made results."""

import math
import re
from dataclasses import replace
from inspect import signature
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from chapters.interpretability import evidence, figures, reading, sentences
from harness import ledger
from harness.claims import judge
from harness.embedding import light_and_dark
from harness.results import Result, Runs

TITLES = {"digits": "Digits", "mnist": "MNIST"}
CLAIMS = Path(__file__).resolve().parents[2] / "claims"


def look(dataset: str, seed: int, **scalars) -> Result:
    """A run of `interpreted` with values that random numbers could have."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(10), 6).astype(np.uint8)
    arrays = {
        "portrait_units": np.arange(6),
        "portrait_images": random.integers(0, 255, (48, 1, 8, 8), dtype=np.uint8),
        "portrait_is_inverted": random.integers(0, 2, (6, 8), dtype=np.uint8),
        "portrait_share_inverted": np.array([0, 0, 0, 0.3, 0.4, 0.5]),
        "portrait_share_training": np.array([0.5, 0.5, 0.5, 0, 0, 0.3]),
        "tsne_labels": labels,
    }
    for kind in ("inverted", "training", "test"):
        arrays[f"norms_{kind}"] = random.uniform(1, 2, 50).astype(np.float16)
        for basis in ("inverted", "training"):
            name = f"{basis}_plane_{kind}"
            arrays[name] = random.normal(size=(60, 2)).astype(np.float16)
            arrays[f"{name}_labels"] = labels
            arrays[f"{name}_kept"] = random.integers(0, 2, 60).astype(np.uint8)
    for kind in ("inverted", "training"):
        arrays[f"shown_{kind}"] = random.integers(0, 255, (10, 1, 8, 8), dtype=np.uint8)
        arrays[f"{kind}_xs"] = arrays[f"{kind}_ys"] = np.linspace(-3, 3, 20)
        arrays[f"{kind}_regions"] = random.integers(0, 10, (20, 20)).astype(np.uint8)
    for perplexity in (5, 30, 100):
        arrays[f"tsne_{perplexity}"] = random.normal(size=(60, 2)).astype(np.float16)
    values = {
        "inverted_agreement": 0.3 + 0.01 * seed,
        "training_agreement": 0.5,
        "inverted_explained": [0.1, 0.1],
        "training_explained": [0.2, 0.1],
        "clusters_in_features": [1] * 9 + [2],
        **{f"clusters_in_tsne_{p}": [1] * 9 + [2] for p in (5, 30, 100)},
        "overlap_test": [0.5] * 10,
        "overlap_inverted": [0.1] * 9 + [0.7],
        **{measure: 0.9 for measure in reading.SCORES.values()},
        "auroc_norm": 1.0,
        "probe_codes": 0.6,
        "probe_features": 0.9,
    } | scalars
    return Result("interpreted", {"dataset": dataset, "seed": seed}, "computed", values, arrays)


def invert(
    dataset: str, seed: int, counts: list[int], cosine: float = 1.0, accuracy: float = 0.96
) -> Result:
    """A run of chapter 3."""
    scalars = {"clusters": counts, "inversion_accuracy": accuracy}
    parameters = {"dataset": dataset, "seed": seed, "cosine": cosine}
    return Result("inverted", parameters, "computed", scalars)


def of(results: list[Result]) -> Runs:
    return Runs(results, title=lambda name: TITLES.get(name, name))


def failed(result: Result) -> Result:
    return replace(result, status="failed", scalars={}, arrays={}, error="ValueError: no")


LOOKED = of([look("digits", 1), look("digits", 0), look("mnist", 0), failed(look("mnist", 1))])
ONE_SEED = of([look("digits", 0)])
EMPTY = of([failed(look("digits", 0))])
SWEPT = of(
    [invert("digits", 0, [1] * (10 - k) + [2] * k, w) for w, k in ((0.0, 0), (1.0, 3), (4.0, 3))]
    + [invert("digits", 1, [1] * 10, w) for w in (0.0, 1.0, 4.0)]
    + [invert("mnist", 0, [1] * 10, 0.0), failed(invert("mnist", 0, [], 1.0))]
)
TOO_MUCH = of([invert("digits", 0, [1] * 9 + [2], 64.0, accuracy=0.4)])
ASKED = {
    "by cosine": SWEPT,
    "too much cosine": TOO_MUCH,
    "matrix": of([invert("digits", s, [1] * 10) for s in (0, 1, 2)]),
    "matrix, row or column": of([invert("digits", s, [2] * 10) for s in (0, 1)]),
    "vector-matrix": of([invert("mnist", 0, [1] * 10)]),
    "vector-matrix, row or column": of([failed(invert("digits", 0, []))]),
}
NOTHING = {name: of([]) for name in ASKED}
OF_LOOKED = [
    figures.lengths,
    figures.planes,
    lambda runs: figures.planes(runs, "training", ("training", "inverted")),
    figures.maps,
    lambda runs: figures.maps(runs, perplexities=(5, 30, 100)),
    figures.overlap,
    figures.portraits,
    figures.detectors,
]


@pytest.mark.parametrize("draw", OF_LOOKED)
@pytest.mark.parametrize("runs", [LOOKED, ONE_SEED])
def test_every_figure_is_drawn_from_what_there_is(draw, runs):
    figure = draw(runs)
    assert isinstance(figure, Figure)
    light_and_dark(figure)


@pytest.mark.parametrize("draw", [*OF_LOOKED, figures.by_weight])
def test_no_figure_without_runs(draw):
    assert draw(EMPTY) is None and draw(of([])) is None


def test_figures_of_chapter_3s_runs_name_each_data_set():
    for figure in (figures.by_weight(SWEPT), figures.coin(ASKED)):
        assert {ax.get_title(loc="left") for ax in figure.axes} >= {"Digits", "MNIST"}
    assert figures.coin(NOTHING) is None


def test_a_point_has_the_colour_of_what_became_of_it():
    run = look("digits", 0)
    run.arrays["inverted_plane_inverted_kept"][:] = 1
    [axes] = figures.planes(of([run])).axes
    colours = {
        tuple(c.get_facecolor()[0][:3]) for c in axes.collections if len(c.get_offsets()) > 1
    }
    assert colours == {tuple(figures.MADE)}


def test_evidence_is_by_data_set_with_a_value_a_seed_in_order():
    assert evidence.I12(LOOKED)["Digits"]["region_agreement"] == [0.3, 0.31]
    assert evidence.I12(LOOKED).keys() == {"Digits", "MNIST"}
    assert evidence.I15_counted(LOOKED)["Digits"] == {
        "classes_with_less_overlap": [9, 9],
        "detector_auroc": [0.9, 0.9],
    }
    assert evidence.I15(LOOKED) == {
        "Digits": {"classes_with_clearly_less_overlap": [9, 9], "detector_auroc": [0.9, 0.9]},
        "MNIST": {"classes_with_clearly_less_overlap": [], "detector_auroc": [0.9]},
    }
    assert evidence.I16(LOOKED)["MNIST"] == {"probe_accuracy": [0.6]}
    assert evidence.I12(EMPTY) == evidence.I15(EMPTY) == evidence.I16(EMPTY) == {}


def test_clusters_are_judged_at_the_weight_with_most_pairs_the_smallest_of_equals():
    assert reading.most_with_two(SWEPT, "digits") == (1.0, [3, 0])
    assert evidence.I13(ASKED) == {
        "Digits": {"classes_with_two": [3, 0]},
        "MNIST": {"classes_with_two": [0]},
    }


def test_the_rank_correlation_needs_all_weights_and_is_0_without_a_change():
    first, second = reading.rank_by_seed(SWEPT, "digits")
    assert first == pytest.approx(math.sqrt(3) / 2) and second == 0
    assert reading.rank_by_seed(SWEPT, "mnist") == []


def test_the_cosine_is_judged_on_all_weights_and_on_those_that_work():
    [one] = evidence.I14(ASKED)["Digits"]["rho_clusters"]  # one seed has the largest weight
    assert one == pytest.approx(math.sqrt(0.1))
    assert evidence.I14_working(ASKED) == {
        "Digits": {"rho_clusters": pytest.approx([math.sqrt(3) / 2, 0])},
        "MNIST": {"rho_clusters": []},
    }
    unheard = ASKED | {"too much cosine": of([invert("digits", 0, [0] * 10, 64.0, accuracy=0.1)])}
    assert evidence.I14(unheard)["Digits"] == {"rho_clusters": []}
    assert "nan" not in sentences.clusters(LOOKED, unheard)
    low = of([*SWEPT, invert("digits", 2, [1] * 10, 4.0, accuracy=0.5)])
    assert evidence.I14_working({**ASKED, "by cosine": low})["Digits"] == {"rho_clusters": []}
    assert "0.43 (Digits) over those" in sentences.clusters(LOOKED, ASKED)
    assert reading.ranks(NOTHING) == reading.ranks(NOTHING, of_working=True) == "–"


def test_what_stands_for_svhn_is_a_part_only_without_it():
    both = of([look("svhn", 0), look("coloured-digits", 0)])
    assert len(evidence.I12(both)) == len(evidence.I16(both)) == 1
    assert len(evidence.I12(of([look("coloured-digits", 0)]))) == 1


def test_every_measure_is_one_that_the_ledger_asks_for():
    claims = ledger.load(CLAIMS)
    looked = of([look(d, s) for d in TITLES for s in range(5)])
    swept = of([invert("mnist", s, [1] * 10, w) for s in range(5) for w in (0.0, 1.0, 4.0)])
    asked = {"by cosine": swept, "too much cosine": of([])}
    for name in (name for name in vars(evidence) if re.fullmatch(r"I\d\d\w*", name)):
        function = getattr(evidence, name)
        given = {"looked": looked, "asked": asked}[next(iter(signature(function).parameters))]
        verdict = judge(name.replace("_", "-"), function(given), claims=claims)
        assert verdict.verdict != "NOT-RUN", (name, verdict.notes)


def test_a_class_without_enough_images_counts_for_no_mean():
    assert reading.average([1, 2, 0]) == 1.5 and math.isnan(reading.average([0]))


TWO = of([look(d, s) for d in TITLES for s in (0, 1, 2)])


def test_a_sentence_needs_the_difference_on_every_data_set():
    assert reading.above_everywhere(TWO, "auroc_norm", "auroc_units").low > 0
    mixed = of([*TWO, look("mnist", 3, auroc_norm=0.1)])
    assert not reading.above_everywhere(mixed, "auroc_norm", "auroc_units").low > 0
    for few in (EMPTY, LOOKED):  # one seed on MNIST
        assert not reading.above_everywhere(few, "auroc_norm", "auroc_units").low > 0


def with_(**scalars) -> Runs:
    return of([look(d, s, **scalars) for d in TITLES for s in (0, 1, 2)])


COINED = ASKED | {
    "matrix": of([invert("digits", s, [1] * 10) for s in (0, 1)]),
}
COMPARISONS = [  # (words, sentence, runs that say so, runs that say the opposite)
    ("shorter", sentences.lengths, TWO, with_(auroc_norm=0.1)),
    ("wrong side", sentences.planes, TWO, with_(inverted_agreement=0.9)),
    ("not the borders", sentences.plane, TWO, with_(inverted_agreement=0.9)),
    ("fire other units", sentences.overlap_caption, TWO, with_(overlap_inverted=[0.8] * 10)),
    ("the units differ", sentences.overlap, TWO, with_(overlap_inverted=[0.8] * 10)),
    ("Length alone tells more", sentences.detectors_caption, TWO, with_(auroc_units=1.0)),
    ("better detector", sentences.detectors, TWO, with_(auroc_units=1.0)),
    ("not length alone", sentences.directions, TWO, with_(auroc_reconstruction_direction=0.4)),
    ("handwriting", lambda runs: sentences.makers(runs, 3), TWO, with_(probe_features=0.2)),
    ("better detector", lambda runs: sentences.answer(runs, ASKED), TWO, with_(auroc_units=1.0)),
    ("Less than they seem", lambda runs: sentences.answer(runs, COINED), TWO,
     with_(inverted_agreement=0.9)),
]  # fmt: skip


@pytest.mark.parametrize(("words", "tell", "so", "opposite"), COMPARISONS)
def test_a_comparison_stands_only_where_the_seeds_carry_it(words, tell, so, opposite):
    assert words in tell(so)
    for runs in (opposite, ONE_SEED):
        assert words not in tell(runs)


def test_the_coin_is_credited_only_where_it_makes_the_clusters():
    assert "the coin makes the clusters" in sentences.coin_caption(COINED)
    assert "own input" in sentences.coin(COINED)
    swapped = COINED | {"matrix": COINED["matrix, row or column"],
                        "matrix, row or column": COINED["matrix"]}  # fmt: skip
    for asked in (swapped, ASKED | {"matrix": of([])}):
        assert sentences.coin_caption(asked) == "" and "own input" not in sentences.coin(asked)


@pytest.mark.parametrize("runs", [LOOKED, ONE_SEED, EMPTY])
def test_every_sentence_can_be_said_of_what_there_is(runs):
    for tell in (sentences.plane, sentences.overlap, sentences.portraits, sentences.detectors,
                 sentences.directions):  # fmt: skip
        assert tell(runs) and "nan" not in tell(runs)
    for asked in (ASKED, NOTHING):
        assert sentences.clusters(runs, asked) and sentences.coin(asked)
        assert 0 < len(sentences.answer(runs, asked).split()) <= 60
    assert sentences.makers(runs, 3)


def test_what_limits_the_chapter_names_what_stands_for_svhn():
    text = sentences.limits(of([look("coloured-digits", 0)]), 10_000, "bfloat16")
    for words in ("1 seed;", "bfloat16", "(3,000 of", "in the place of SVHN", "are ours"):
        assert words in text
    assert "SVHN" not in sentences.limits(LOOKED, 600, "float32")
    assert "1 to 2 seeds" in sentences.limits(LOOKED, 600, "float32")


def test_the_coin_is_compared_on_the_seeds_that_both_have():
    tossed, plain = ASKED["matrix, row or column"], ASKED["matrix"]
    assert reading.more_with_two(tossed, plain).estimate == 10
    assert not reading.more_with_two(tossed, of([])).low > 0
    assert (reading.with_coin(ASKED), reading.without_coin(ASKED)) == ("10.0", "0.0")
    assert reading.with_coin(NOTHING) == "–"


def test_numbers_in_words():
    assert reading.spread(LOOKED, "auroc_norm", ".3f") == "1.000"
    assert reading.spread(LOOKED, "inverted_agreement", ".1%") == "30.0% to 30.5%"
    assert reading.spread(EMPTY, "auroc_norm", ".3f") == "–"
    assert reading.spread(ONE_SEED, "portrait_share_inverted", ".0%", reading.preferred) == "40%"


def test_tables_have_a_row_a_data_set():
    table = reading.by_dataset(LOOKED, reading.CLUSTERS, reading.average)
    assert table["data set"].tolist() == ["Digits", "MNIST"]
    assert table["in the features"].tolist() == [1.1, 1.1]
    planes = reading.lost_on_planes(LOOKED)
    assert len(planes) == 4 and planes["variance in the plane"][0] == pytest.approx(0.2)
    assert reading.by_dataset(EMPTY, reading.SCORES).empty and reading.lost_on_planes(EMPTY).empty
