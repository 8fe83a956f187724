"""Chapter 2 on small made results: what is asked, read, drawn, judged and said."""

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from chapters.architecture_comparison import design, evidence, figures, reading
from harness import ledger
from harness.page import judged
from harness.results import Result, Runs

SETS = {"mnist": "MNIST", "cifar10-jpeg": "CIFAR-10 (JPEG)"}
LEVELS = {"ViT": 0.8, "MLP": 0.2, "CNN": 0.5}


def run(dataset="mnist", architecture="MLP", seed=10, lr=1e-3, *, diverged=0, **scalars) -> Result:
    """One made run of `reliance`; its Accuracy Difference is that of `LEVELS`, but for the seed."""
    gap = LEVELS[architecture.split()[0]] + 0.01 * (seed - 10)
    values = {
        "diverged": diverged,
        "accuracy_shortcut": 1.0,
        "accuracy_clean": 1.0 - gap,
        "accuracy_conflict": 0.1,
        "follows_patch": 0.9,
        "accuracy_difference": gap,
        "loss_difference": 4 * gap,
        "tempered_loss_difference": gap,
        "parameters": 1000,
        "training_images": 500,
        "steps_per_epoch": 10,
        **scalars,
    }
    arrays = {
        "observed_steps": np.array([0, 10, 20]),
        "accuracies": np.array([[0.1, 0.1], [0.9, 0.8], [1.0, 1.0 - gap]]),
        "losses": np.array([[2.3, 2.3], [0.5, 0.6], [0.01, 1.0]]),
        "train_loss": np.array([2.3, 0.3, 0.005]),
    }
    parameters = {"dataset": dataset, "architecture": architecture, "seed": seed, "lr": lr}
    return Result("shortcut_injection.reliance", parameters, "computed", values, arrays)


def of(architectures, seeds=(10, 11), datasets=tuple(SETS), **scalars) -> Runs:
    cells = itertools.product(datasets, architectures, seeds)
    return Runs([run(d, a, s, **scalars) for d, a, s in cells], title=SETS.get)


@pytest.fixture
def asked() -> dict[str, Runs]:
    plain = of(design.ARCHITECTURES, accuracy_clean=0.95)
    rates = [
        run(d, a, s, lr)
        for d, a, s, lr in itertools.product(
            SETS, design.ARCHITECTURES, (10, 11), (1e-4, 1e-3, 1e-2)
        )
    ]
    return {
        "fooled": of(design.ARCHITECTURES),
        "control": plain,
        "matched": of(design.MATCHED),
        "ablated": of(design.VARIANTS.values()),
        "shifted": of(design.ARCHITECTURES),
        "paced": Runs(rates, title=SETS.get),
    }


EMPTY = Runs([])
FAILED = Runs([Result("shortcut_injection.reliance", {"dataset": "mnist"}, "failed", error="x")])


# --- what is asked ------------------------------------------------------------------------------


def test_every_question_is_asked_at_the_best_rate_and_rates_at_their_own():
    best = {("mnist", a): rate for a, rate in zip(design.ARCHITECTURES, (0.1, 0.2, 0.3))}
    asked = design.groups(best, {"mnist": 4}, seeds=[1, 2], pace={1e-3: 1, 1e-4: 2}, n=50)
    assert [len(asked[q]) for q in ("fooled", "control", "matched", "shifted")] == [6, 6, 4, 6]
    assert len(asked["ablated"]) == 2 * len(design.VARIANTS)
    assert {(r["architecture"], r["lr"]) for r in asked["matched"]} == {
        ("MLP matched", 0.1),
        ("CNN matched", 0.2),
    }
    assert all(r["n"] == 50 for runs in asked.values() for r in runs)
    assert {(r["lr"], r["epochs"]) for r in asked["paced"]} == {(1e-3, 4), (1e-4, 8)}
    assert all(r["shift"] == 2 for r in asked["shifted"])


def test_a_data_set_without_tuned_networks_is_asked_for_learning_rates_only():
    asked = design.groups({}, {"svhn": 4}, seeds=[1], pace={1e-3: 1})
    assert {q: len(runs) for q, runs in asked.items() if runs} == {"paced": 3}


# --- what is read -------------------------------------------------------------------------------


def test_gaps_are_paired_by_seed_and_leave_diverged_runs_out():
    runs = Runs(
        [run(architecture="ViT", seed=s) for s in (10, 11)]
        + [run(architecture="MLP", seed=s, diverged=int(s == 11)) for s in (10, 11)]
    )
    found = reading.gap(runs, "accuracy_difference", "mnist", "ViT", "MLP")
    assert found == pytest.approx([0.6])


def test_the_order_is_said_only_where_the_paired_interval_carries_it(asked):
    assert "ViT > CNN > MLP on MNIST, CIFAR-10 (JPEG)" in reading.answer(asked["fooled"])
    crossing = [run(architecture="CNN", seed=s, accuracy_difference=d) for s, d in ((10, 0.1), (11, 0.9))]
    others = [run(architecture=a, seed=s) for a in ("ViT", "MLP") for s in (10, 11)]
    said = reading.answer(Runs(crossing + others, title=SETS.get))
    assert "ViT ≈ CNN ≈ MLP on MNIST" in said and "holds on 0 of 1" in said


def test_the_answer_never_exceeds_its_sixty_words(asked):
    assert len(reading.answer(asked["fooled"]).split()) <= 60
    assert reading.answer(EMPTY).startswith("Not run")


def test_rates_are_compared_after_equal_epochs_and_at_equal_loss(asked):
    measured = reading.at_rates(
        asked["paced"], {"mnist": 2, "cifar10-jpeg": 2}, compared_loss=0.2, converged_loss=0.001
    )
    row = measured[(measured["architecture"] == "ViT") & (measured["seed"] == 10)].iloc[0]
    assert row["at equal epochs"] == pytest.approx(0.8)
    assert 0.1 < row["at equal loss"] < 0.8  # between the two observations
    assert np.isinf(row["epochs to converge"])
    assert len(reading.trends(measured)) == 2 * 3 * 2


def test_survival_asks_for_the_papers_order(asked):
    assert not reading.survival(**_parts(asked))["in order"].any()
    ordered = {"ViT": 0.9, "MLP": 0.5, "CNN": 0.1}
    runs = [
        run(architecture=a, seed=s, accuracy_difference=d)
        for a, d in ordered.items()
        for s in (10, 11)
    ]
    own = Runs(runs, title=SETS.get)
    found = reading.survival(own, EMPTY, EMPTY, own)
    assert found["change"].unique().tolist() == ["patches between tokens"] and found["in order"].all()


def _parts(asked):
    return {name: asked[name] for name in ("fooled", "matched", "ablated", "shifted")}


# --- what is drawn ------------------------------------------------------------------------------


DRAWN = {
    "overview": lambda runs: figures.overview(runs["fooled"]),
    "difference": lambda runs: figures.difference(runs["fooled"], "loss_difference", "nats"),
    "apart": lambda runs: figures.apart(runs["fooled"], runs["matched"], runs["ablated"]),
    "belief": lambda runs: figures.belief(runs["fooled"], runs["matched"], runs["ablated"]),
}


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_figures_name_every_data_set(draw, asked):
    drawn = draw(asked)
    assert isinstance(drawn, Figure)
    titles = [ax.get_title(loc="left").replace("\n", " ") for ax in drawn.axes]
    assert titles == list(SETS.values()) or len(drawn.axes) == 1


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
@pytest.mark.parametrize("runs", [EMPTY, FAILED], ids=["empty", "failed"])
def test_without_runs_there_is_no_figure(draw, runs):
    assert draw(dict.fromkeys(("fooled", "matched", "ablated"), runs)) is None


def test_figures_of_one_seed(asked):
    one = {name: runs.where(seed=10) for name, runs in asked.items()}
    for draw in DRAWN.values():
        assert isinstance(draw(one), Figure)


def test_figures_of_learning_rates(asked):
    measured = reading.at_rates(
        asked["paced"], {"mnist": 2, "cifar10-jpeg": 2}, compared_loss=0.2, converged_loss=0.01
    )
    assert isinstance(figures.rates(measured, "at equal epochs"), Figure)
    assert isinstance(figures.convergence(measured, 0.01), Figure)
    nothing = reading.at_rates(EMPTY, {}, compared_loss=0.2, converged_loss=0.01)
    assert figures.rates(nothing, "at equal epochs") is None
    assert figures.convergence(nothing, 0.01) is None


# --- what is judged -----------------------------------------------------------------------------


def test_every_claim_of_the_chapter_has_its_measures(asked):
    claims = ledger.load("claims")
    measured = reading.at_rates(
        asked["paced"], {"mnist": 2, "cifar10-jpeg": 2}, compared_loss=0.2, converged_loss=0.01
    )
    found = judged(
        claims,
        evidence,
        **asked,
        trends=reading.trends(measured),
        survives=reading.survival(**_parts(asked)),
    )
    ids = ["S03", "S04", "S05", "S06", "S07", "S07-matched", "S08", "S08-tempered", "S09", "S11", "S12", "S15"]
    assert [verdict.id for verdict in found] == ids
    by_id = {verdict.id: verdict for verdict in found}
    assert by_id["S05"].evidence["MNIST"]["vit_minus_next"] == pytest.approx([0.3, 0.3])
    assert by_id["S06"].evidence["MNIST"]["next_minus_cnn"] == pytest.approx([-0.3, -0.3])
    assert by_id["S09"].evidence == {"kendall_w": (1.0, 1.0), "datasets_in_order": (0, 0)}


def test_nothing_is_judged_without_runs():
    nothing = reading.trends(reading.at_rates(EMPTY, {}, compared_loss=0.2, converged_loss=0.01))
    survives = reading.survival(EMPTY, EMPTY, EMPTY, EMPTY)
    runs = dict.fromkeys(("fooled", "control", "matched", "ablated", "shifted", "paced"), EMPTY)
    found = judged(ledger.load("claims"), evidence, **runs, trends=nothing, survives=survives)
    assert found == []


def test_kendalls_w_is_one_for_one_order_and_less_for_others():
    assert evidence.kendall_w(np.array([[1, 2, 3], [1, 2, 3]])) == 1
    assert evidence.kendall_w(np.array([[1, 2, 3], [3, 2, 1]])) == 0


# --- what is said -------------------------------------------------------------------------------


def test_sentences_also_stand_without_runs():
    measured = reading.at_rates(EMPTY, {}, compared_loss=0.2, converged_loss=0.01)
    said = [
        reading.consistency(EMPTY, {}),
        reading.rising(reading.trends(measured), EMPTY),
        reading.whom_it_believes(EMPTY, EMPTY),
        reading.two_versions(EMPTY, measured),
    ]
    assert all(said)
    assert reading.survival_table(pd.DataFrame()).columns.tolist() == ["change"]


def test_the_unconditional_order_is_named_where_it_holds(asked):
    measured = reading.at_rates(
        asked["paced"], {"mnist": 2, "cifar10-jpeg": 2}, compared_loss=0.2, converged_loss=0.01
    )
    said = reading.two_versions(asked["fooled"], measured)
    assert "ViT, MLP, CNN holds on: none of the data sets" in said
    assert "largest Accuracy Difference on: MNIST, CIFAR-10 (JPEG)" in said
