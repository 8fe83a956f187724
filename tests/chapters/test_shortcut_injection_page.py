"""Chapter 1 on small made results: what is asked, read, drawn and judged."""

import itertools
import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from chapters.shortcut_injection import design, evidence, figures, reading, sentences
from harness import ledger
from harness.results import Result, Runs
from harness.verdicts import judged

SETS = {"mnist": "MNIST", "cifar10-jpeg": "CIFAR-10 (JPEG)"}
FIVE = (10, 11, 12, 13, 14)
FULL = {"planted": True, "correlation": 1.0, "patch_size": 4, "colour": [1.0]}


def run(
    dataset="mnist", architecture="MLP", seed=10, *, lr=1e-3, epochs=20, clean=0.4, status="computed",
    given=None, **scalars,
) -> Result:  # fmt: skip
    """One made run of `reliance`; given: more parameters. A scalar can be a function of the seed."""
    clean = clean(seed) if callable(clean) else clean + 0.01 * (seed - 10)
    scalars = {name: v(seed) if callable(v) else v for name, v in scalars.items()}
    values = {
        "diverged": 0,
        "accuracy_shortcut": 1.0,
        "accuracy_clean": clean,
        "accuracy_conflict": 0.1,
        "accuracy_validation": 0.9,
        "follows_patch": 0.8,
        "saliency_ratio": 3.0,
        "definition_error": 0.0,
        "epochs_to_shortcut": 1.5,
        "rank_correlation_epoch_clean": -0.8,
        "drop_from_best_clean": 0.1 + 0.001 * (seed - 10),
        "training_images": 500,
        "test_images": 300,
        "steps_per_epoch": 10,
        **scalars,
    }
    arrays = {
        "observed_steps": np.array([0, 5, 10, 20]),
        "accuracies": np.array([[0.1, 0.1], [0.5, 0.4], [0.9, 0.5], [1.0, clean]]),
        "losses": np.array([[2.3, 2.3], [1.0, 1.2], [0.5, 0.8], [0.1, 1.0]]),
        "train_loss": np.array([2.3, 1.0, 0.1, 0.01]),
    }
    parameters = {
        "dataset": dataset, "architecture": architecture, "seed": seed, "lr": lr, "epochs": epochs,
        **(given or {}),
    }  # fmt: skip
    there = status not in ("failed", "missing")
    return Result(
        "chapters.shortcut_injection.runs.reliance", parameters, status,
        values if there else {}, arrays if there else {},
        error="ValueError: a reason" if status == "failed" else None,
    )  # fmt: skip


def alternating(seed) -> float:
    """A value on which no seeds agree."""
    return 0.1 if seed % 2 else 0.9


def portrait(dataset="mnist", architecture="MLP", classes=10) -> Result:
    random = np.random.RandomState(0)
    labels = np.arange(classes)
    images = random.randint(0, 256, (classes, 1, 28, 28)).astype(np.uint8)
    arrays = {
        "saliency": random.rand(classes, 28, 28),
        "labels": labels,
        "conflicting": (labels + 1) % classes,
        **{f"images_{kind}": images for kind in ("shortcut", "clean", "conflict")},
        "predicted_shortcut": labels,
        "predicted_clean": np.zeros(classes, dtype=int),
        "predicted_conflict": (labels + 1) % classes,
    }
    return Result(
        "portrait", {"dataset": dataset, "architecture": architecture}, "computed", arrays=arrays
    )


def of(seeds=FIVE, datasets=tuple(SETS), given=None, **scalars) -> Runs:
    cells = itertools.product(datasets, reading.ARCHITECTURES, seeds)
    return Runs([run(d, a, s, given=given, **scalars) for d, a, s in cells], title=SETS.get)


def joined(groups) -> Runs:
    first, *others = groups
    return sum(others, start=first)


def everything(seeds=FIVE, **scalars) -> dict[str, Runs]:
    """All groups of runs that figures take."""
    cells = itertools.product(SETS, reading.ARCHITECTURES)
    return {
        "planted": of(seeds, **scalars),
        "control": of(seeds, clean=0.9, **scalars),
        "prolonged": of(seeds, **scalars),
        "unreliable": joined(
            of(seeds, given={"correlation": c}, follows_patch=c**4, **scalars)
            for c in (0.5, 0.9, 1.0)
        ),
        "faint": joined(
            of(seeds, given={"patch_size": size, "colour": [grey]}, **scalars)
            for size, grey in ((1, 1.0), (4, 0.5), (4, 1.0))
        ).where(architecture="CNN"),
        "portraits": Runs([portrait(d, a) for d, a in cells], title=SETS.get),
    }


TAKES = {
    figures.accuracy_without: ("planted", "control"),
    figures.believed: ("planted",),
    figures.planted_examples: ("portraits",),
    figures.answers: ("portraits",),
    figures.saliency: ("portraits",),
    figures.training_long: ("prolonged",),
    figures.reliability: ("unreliable",),
    figures.visibility: ("faint",),
}
OF_RUNS = [draw for draw, taken in TAKES.items() if "portraits" not in taken]


def drawn(draw, groups) -> Figure | None:
    return draw(*(groups[name] for name in TAKES[draw]))


def words(fig: Figure) -> str:
    return " ".join(text.get_text() for text in fig.findobj(lambda a: hasattr(a, "get_text")))


# --- what is asked -------------------------------------------------------------------------------

BEST = {("mnist", a): lr for a, lr in zip(reading.ARCHITECTURES, (0.1, 0.2, 0.3))}


def asked(best=BEST, datasets=("mnist",)) -> design.Questions:
    return design.questions(
        best, dict.fromkeys(datasets, 5), seeds=[1, 2], prolonged=3, correlations=[0.5, 1.0], looks=[[1, 1.0]],
        fewer_seeds=[1], n=50,
    )  # fmt: skip


def test_networks_are_tuned_without_patches_at_every_rate():
    runs = design.tuning({"mnist": 4, "svhn": 6}, seeds=[0], rates=[0.1, 0.2], n=50)
    assert len(runs) == 2 * 3 * 2 and not any(r["planted"] for r in runs)
    assert {(r["dataset"], r["epochs"]) for r in runs} == {("mnist", 4), ("svhn", 6)}


def test_every_question_is_asked_at_the_best_rates():
    found = asked()
    assert {name: len(runs) for name, runs in found.items()} == {
        "planted": 6, "control": 6, "prolonged": 6, "unreliable": 6, "faint": 2,
    }  # fmt: skip
    for runs in found.values():
        assert all(r["lr"] == BEST["mnist", r["architecture"]] and r["n"] == 50 for r in runs)
    assert {name: {r["epochs"] for r in runs} for name, runs in found.items()} == {
        "planted": {5}, "control": {5}, "prolonged": {15}, "unreliable": {2}, "faint": {2},
    }  # fmt: skip
    assert [r["planted"] for r in found["control"]] == [False] * 6
    assert [(r["patch_size"], r["colour"]) for r in found["faint"]] == [(1, [1.0]), (4, [1.0])]


def test_what_has_no_rate_has_no_runs():
    assert not any(asked(best={}).values())
    only = {("mnist", "CNN"): 0.1}
    assert {r["architecture"] for r in asked(only, ["mnist", "svhn"])["planted"]} == {"CNN"}


def test_a_variant_has_the_rate_of_its_architecture():
    [only] = reading.tuned_runs(BEST, {"mnist": 5}, architectures=["ViT no positions"], seed=1)
    assert only["lr"] == 0.3 and only["architecture"] == "ViT no positions"


def test_the_best_rate_is_the_smaller_of_equals_and_never_one_that_diverged():
    runs = Runs([
        run(lr=0.1, accuracy_validation=0.8), run(lr=0.2, accuracy_validation=0.8),
        run(lr=0.3, accuracy_validation=0.99, diverged=1), run(lr=0.4, accuracy_validation=0.7),
        run(architecture="CNN", lr=0.5, diverged=1), run(lr=0.6, status="failed"),
    ])  # fmt: skip
    assert reading.tuned(runs) == {("mnist", "MLP"): 0.1}


# --- what is read --------------------------------------------------------------------------------


def test_runs_that_diverged_are_left_out_and_those_that_are_absent_stay_known():
    runs = Runs([run(), run(seed=11, diverged=1), run(seed=12, status="failed")])
    assert [r.parameters["seed"] for r in reading.converged(runs)] == [10]
    assert [r.parameters["seed"] for r in reading.converged(runs).absent] == [12]


def test_numbers_of_sentences():
    runs = of((10,), follows_patch=0.5) + of((10,), datasets=("mnist",), follows_patch=0.7)
    assert reading.percent(runs, "follows_patch", dataset="cifar10-jpeg") == "50%"
    assert reading.spread(runs, "follows_patch") == "50% to 60%"
    assert reading.spread_of_sets(runs, "follows_patch", ".2f") == "0.50 to 0.60"
    assert reading.by_architecture(runs, "follows_patch", dataset="mnist") == (
        "60% (MLP), 60% (CNN), 60% (ViT)"
    )
    assert reading.last_network(runs) == "ViT on MNIST"


@pytest.mark.parametrize("runs", [Runs([]), Runs([run(status="failed")]), Runs([run(diverged=1)])])
def test_sentences_about_nothing_have_dashes(runs):
    assert reading.percent(runs, "follows_patch") == "–"
    assert reading.spread(runs, "follows_patch") == "–"
    assert reading.by_architecture(runs, "follows_patch") == "–"
    assert math.isnan(reading.paired(runs, runs, "follows_patch").estimate)


def test_pairs_are_of_one_network_data_set_and_seed():
    a = Runs([run(seed=s, clean=0.5) for s in (10, 11, 12)] + [run("cifar10-jpeg")])
    b = Runs([run(seed=s, clean=0.2) for s in (12, 10, 11)] + [run(architecture="CNN")])
    found = reading.paired(a, b, "accuracy_clean")
    assert (found.estimate, found.low, found.high) == pytest.approx((0.3, 0.3, 0.3))


def test_fewer_than_five_seeds_carry_no_claim():
    four = reading.paired_by_seed(of(FIVE[:4], clean=0.5), of(FIVE, clean=0.2), "accuracy_clean")
    five = reading.paired_by_seed(of(FIVE, clean=0.5), of(FIVE, clean=0.2), "accuracy_clean")
    assert four == pytest.approx([0.3] * 4) and not reading.clear(four) and reading.clear(five)
    assert reading.for_a_claim(four).low == -math.inf
    assert not reading.clear([-gap for gap in five]) and not reading.clear([])
    assert not reading.clear([alternating(seed) - 0.5 for seed in FIVE])


def test_losses_are_kept_by_cell():
    found = reading.lost(of(clean=0.2), of(clean=0.9).where(dataset="mnist"))
    assert list(found) == ["MLP, MNIST", "CNN, MNIST", "ViT, MNIST"]
    assert found["CNN, MNIST"] == pytest.approx([0.7] * 5)


def test_the_gradient_is_ranked_over_networks_by_seed():
    rising = Runs([
        run(architecture=a, seed=s, saliency_ratio=k, follows_patch=k / 10)
        for (k, a), s in itertools.product(enumerate(reading.ARCHITECTURES), (10, 11))
    ])  # fmt: skip
    assert reading.gradient_ranks(rising) == pytest.approx([1, 1])
    assert reading.gradient_ranks(of()) == []  # all alike
    assert reading.gradient_ranks(rising.where(architecture=["MLP", "CNN"])) == []


def test_a_set_that_stands_in_is_left_out_where_the_other_was_run():
    cells = {"MLP, coloured digits": 1, "MLP, MNIST": 2}
    assert reading.of_the_four(cells) == cells
    assert reading.of_the_four(cells | {"MLP, SVHN": 3}) == {"MLP, MNIST": 2, "MLP, SVHN": 3}
    assert reading.of_the_four({"coloured digits": 1, "SVHN": 2}) == {"SVHN": 2}


def test_along_has_a_row_for_every_observation_and_kind_of_image():
    table = reading.along([run()])
    assert len(table) == 8 and set(table["test images"]) == {"with the patch", "without"}
    last = table[table["epoch"] == 2].set_index("test images")["accuracy"]
    assert last["with the patch"] == 1 and last["without"] == 0.4


def test_differences_at_an_epoch_and_at_a_loss_by_hand():
    result = run()
    assert reading.difference_at_epoch(result, 1.5) == pytest.approx(0.4)
    assert reading.difference_at_epoch(result, 2, "losses") == pytest.approx(0.9)
    assert reading.epochs_to_loss(result, 1.0) == 0.5
    assert reading.epochs_to_loss(result, math.sqrt(0.1)) == pytest.approx(0.75)
    assert reading.difference_at_loss(result, math.sqrt(0.1)) == pytest.approx(0.25)
    assert reading.epochs_to_loss(result, 1e-5) == math.inf
    assert math.isnan(reading.difference_at_loss(result, 1e-5))


def test_the_loss_on_test_images_does_not_lag():
    result = run()  # shortcut test losses 2.3, 1.0, 0.5, 0.1 at epochs 0, 0.5, 1, 2
    assert reading.epochs_to_loss(result, 0.5, on="test") == 1
    assert reading.epochs_to_loss(result, math.sqrt(0.05), on="test") == pytest.approx(1.5)
    assert reading.difference_at_loss(result, 0.5, on="test") == pytest.approx(0.4)
    assert reading.epochs_to_loss(result, 0.01, on="test") == math.inf
    result.arrays["losses"][-1, 0] = 0.0  # rounded
    assert 1 < reading.epochs_to_loss(result, 0.1, on="test") < 2


def test_tables_have_a_row_for_every_network_and_none_without_runs():
    groups = everything()
    assert len(reading.settings(groups["planted"], groups["control"])) == 6
    gradients = reading.gradient_in_patch(groups["planted"], groups["control"])
    assert gradients["difference"].tolist() == ["0 [0, 0]"] * 6
    nothing = Runs([])
    for table in (reading.settings(nothing, nothing), reading.gradient_in_patch(nothing, nothing)):
        assert table.empty
    assert reading.patch_alone(nothing).empty


def test_one_seed_has_a_difference_without_an_interval():
    groups = everything((10,))
    table = reading.gradient_in_patch(groups["planted"], groups["control"])
    assert table["difference"].tolist() == ["0"] * 6


# --- what is drawn -------------------------------------------------------------------------------


@pytest.mark.parametrize("draw", TAKES)
@pytest.mark.parametrize("seeds", [FIVE, (10,)])
def test_a_figure_is_drawn_from_several_seeds_and_from_one(draw, seeds):
    fig = drawn(draw, everything(seeds))
    fig.canvas.draw()
    assert isinstance(fig, Figure) and fig.get_figwidth() < 6


@pytest.mark.parametrize("draw", TAKES)
def test_a_figure_of_nothing_is_none(draw):
    failed = Runs([run(status="failed")])
    assert drawn(draw, dict.fromkeys(everything(), Runs([]))) is None
    assert drawn(draw, dict.fromkeys(everything(), failed)) is None


@pytest.mark.parametrize("draw", OF_RUNS)
def test_runs_that_diverged_are_not_drawn(draw):
    assert drawn(draw, everything(diverged=1)) is None
    groups = everything()
    more = Runs([run(seed=13, diverged=1, clean=0.0, given=FULL, follows_patch=0.0)])
    mixed = {name: runs + more for name, runs in groups.items()}
    assert words(drawn(draw, mixed)) == words(drawn(draw, groups))


@pytest.mark.parametrize("draw", OF_RUNS)
def test_a_network_that_was_not_run_leaves_a_gap(draw):
    groups = {
        name: runs.filter(
            lambda r: r.parameters["architecture"] == "CNN" or r.parameters["dataset"] == "mnist"
        )
        for name, runs in everything().items()
    }
    drawn(draw, groups).canvas.draw()


def test_the_key_figure_says_what_is_lost():
    groups = everything()
    text = words(drawn(figures.accuracy_without, groups))
    assert "falls by 50 points" in text and "MNIST" in text


def test_the_key_figure_says_only_what_five_seeds_carry():
    def said(planted, control) -> str:
        return words(figures.accuracy_without(planted, control))

    assert "falls" not in said(of((10,)), of((10,), clean=0.9))
    assert "falls" not in said(of(clean=0.9), of(clean=0.4))
    mixed = of(datasets=["mnist"], clean=0.4) + of(datasets=["cifar10-jpeg"], clean=alternating)
    text = said(mixed, of(clean=0.9))
    assert "falls" not in text and "Less accurate without a patch: 3 of 6 networks" in text


def test_a_reliable_patch_that_is_not_believed_more_is_not_said_to_be():
    flat = joined(of(given={"correlation": c}) for c in (0.5, 1.0))
    vague = of(given={"correlation": 0.5}, follows_patch=alternating) + of(
        given={"correlation": 1.0}
    )
    few = drawn(figures.reliability, everything(FIVE[:3]))
    for fig in (figures.reliability(flat), figures.reliability(vague), few):
        assert "is believed less" not in words(fig)
    assert "Right in 90% of cases, a patch is believed less" in words(
        drawn(figures.reliability, everything())
    )


def test_answers_are_blue_for_the_object_and_orange_for_a_wrong_patch():
    fig = figures.answers(Runs([portrait(classes=3)]))
    colours = [ax.title.get_color() for ax in fig.axes]
    blue, orange = (figures.darker(c) for c in (figures.OBJECT, figures.PATCH))
    assert colours == [blue] * 3 + [blue, figures.MUTED, figures.MUTED] + [orange] * 3


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_pictures_of_few_classes(classes):
    portraits = Runs([portrait(classes=classes), portrait(architecture="ViT", classes=classes)])
    assert len(figures.saliency(portraits).axes) == 3 * min(classes, 6)
    mixed = Runs([portrait(), portrait("cifar10-jpeg", classes=classes)], title=SETS.get)
    assert len(figures.planted_examples(mixed).axes) == 20


# --- what is said --------------------------------------------------------------------------------


def test_the_answer_follows_the_intervals_and_has_at_most_sixty_words():
    titles = [*SETS.values(), "Fashion-MNIST (900)", "coloured digits"]
    sets = dict(zip("abcd", titles))

    def said(follows=0.8, never=0.05, clean=0.4, control=0.9, seeds=FIVE) -> str:
        planted, other = (
            Runs(of(seeds, datasets="abcd", clean=c, follows_patch=f).all, title=sets.get)
            for c, f in ((clean, follows), (control, never))
        )
        return sentences.answer(planted, other)

    assert said().startswith("**The patch, and less of the object.**")
    assert said(clean=alternating).startswith("**The patch.**")
    assert said(follows=alternating).startswith("**Less of the object.**")
    for vague in (said(follows=0.05, clean=0.9), said(follows=0.01, clean=0.95), said(seeds=(10,))):
        assert vague.startswith("Shown a *wrong* patch")
    assert len(said().split()) <= 60 and "coloured digits" in said()
    assert sentences.answer(Runs([]), Runs([])).startswith("Not run")


def test_two_kinds_of_patches_are_compared_where_five_seeds_carry_it():
    def said(a, b, seeds=FIVE) -> str:
        first, second = (of(seeds, follows_patch=share) for share in (a, b))
        return sentences.believed(first, second, of_a="right in 100%", of_b="right in 95%")

    assert "90% of cases (right in 100%) and in 40% (right in 95%)" in said(0.9, 0.4)
    assert "the first 50 points more often" in said(0.9, 0.4)
    assert "the first 50 points less often" in said(0.4, 0.9)
    assert "do not tell" in said(0.9, alternating)
    assert "too few here to compare" in said(0.9, 0.4, FIVE[:3])
    nothing = sentences.believed(of(), Runs([]), of_a="a", of_b="b")
    assert nothing == "Not run: a, against b."


def test_gradients_are_said_to_tell_what_they_tell():
    def planted(sign) -> Runs:
        ratio = dict(zip(reading.ARCHITECTURES, (3.0, 4.0, 5.0)))
        return Runs([
            run(architecture=a, seed=s, saliency_ratio=r, follows_patch=0.5 + 0.05 * sign(s) * r)
            for (a, r), s in itertools.product(ratio.items(), FIVE)
        ])  # fmt: skip

    control = of(datasets=["mnist"], saliency_ratio=1.0)
    up, down = (sentences.gradients(planted(sign), control) for sign in (lambda s: 1, lambda s: -1))
    assert "larger than in the control in 3 of 3 networks" in up
    assert up.endswith("a network with a larger ratio also believes more.")
    assert down.endswith("a network with a larger ratio believes less.")
    vague = sentences.gradients(planted(lambda s: 1 if s % 2 else -1), control)
    assert vague.endswith("does not tell which network believes more.")
    assert "in 0 of 6 networks" in sentences.gradients(
        of(saliency_ratio=1.0), of(saliency_ratio=3.0)
    )
    assert sentences.gradients(Runs([]), Runs([])) == "Not run: gradients."
    assert sentences.gradients(planted(lambda s: 1), Runs([])) == "Not run: gradients."


def test_a_fall_after_the_best_epoch_is_told_by_architecture():
    assert "0.10 (MLP), 0.10 (CNN), 0.10 (ViT)" in sentences.fallen(of())
    assert sentences.fallen(Runs([])) == "Not run: prolonged training."


# --- what is judged ------------------------------------------------------------------------------


def test_claims_have_one_part_a_data_set_or_cell():
    measures = dict.fromkeys(evidence.INJECTION, 0) | {"mask_pixels": 16.0}
    alone = Runs(
        [Result("patch_alone", {"dataset": d, "seed": s}, "computed", measures | {"patch_pixels_accuracy": 1.0})
         for d in SETS for s in (10, 11)],
        title=SETS.get,
    )  # fmt: skip
    groups = everything(range(10, 15))
    found = {v.id: v for v in judged(ledger.load("claims"), evidence, alone=alone, **groups)}
    assert list(found) == ["S01", "S02", "S10"]
    assert list(found["S01"].parts) == list(SETS.values())
    assert {p.verdict for p in found["S01"].parts.values()} == {"REPRODUCED"}
    assert len(found["S02"].parts) == len(found["S10"].parts) == 6
    assert {p.verdict for p in found["S10"].parts.values()} == {"REPRODUCED"}


def test_prolonged_training_is_judged_where_every_seed_was_long_enough():
    prolonged = Runs([
        run(epochs_to_shortcut=1), run(seed=11, epochs_to_shortcut=2),
        run(architecture="CNN", epochs_to_shortcut=1),
        run(architecture="CNN", seed=11, epochs_to_shortcut=2.1),
        run(architecture="ViT", epochs_to_shortcut=1),
        run(architecture="ViT", seed=11, epochs_to_shortcut=9, diverged=1),
    ])  # fmt: skip
    assert list(evidence.S10(prolonged)) == ["MLP, mnist", "ViT, mnist"]
    assert evidence.S10(prolonged)["ViT, mnist"]["drop_from_best_clean"] == [0.1]


def test_nothing_is_judged_without_runs():
    nothing = dict.fromkeys((*everything(), "alone"), Runs([]))
    assert judged(ledger.load("claims"), evidence, **nothing) == []
