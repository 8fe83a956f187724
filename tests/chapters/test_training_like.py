"""Chapter 6's runs, on digits and on planted candidates; what it asks."""

import pytest
import torch
from torch import nn

from chapters.training_like import design
from chapters.training_like import runs as chapter
from chapters.victims import Training, Victim, parts, victim
from harness.results import Result
from harness.store import split_values
from lib import likeness

FOUR = {"kl": 1.0, "ce": 1.0, "cosine": 1.0, "orthogonality": 4.0}
SMALL = {
    "n": 100,
    "aside": {"held_out": 100, "known": 200},
    "classifier_steps": 5,
    "steps": 2,
}


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def of(tmp_path_factory) -> Victim:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("networks"))
        return victim(parts("digits", 3, 100, 100, 200), Training(5), seed=0, architecture="MLP")


def run(**settings) -> dict:
    settings = {"weights": {**FOUR, **design.FIXED, "variation": 0.01}, **settings}
    return chapter.reconstructed("digits", seed=1, fresh=60, **SMALL, **settings)


# --- reconstructions ------------------------------------------------------------------------------


def test_a_whole_run_can_be_stored():
    scalars, arrays = split_values(run(pictures=True), "reconstructed")
    assert arrays["images"].shape == (30, 1, 20, 20)
    assert arrays["pairs"].shape == (3, chapter.PAIRS, 1, 20, 20)
    assert arrays["oracle_by_class"].shape == (10,)
    assert {"strangers_auroc", "means_hits", "kid", "own_half_share"} <= scalars.keys()
    assert "patch_intensity" not in scalars and "rows_auroc" not in scalars


def test_pictures_are_kept_only_where_they_are_asked_for():
    assert not {"images", "pairs"} & run().keys()


def test_equal_runs_are_equal_and_other_generators_others():
    one, again, other = run(), run(), run(generator=1)
    assert {k: v for k, v in one.items() if isinstance(v, float)} == {
        k: v for k, v in again.items() if isinstance(v, float)
    }
    assert one["kid"] != other["kid"] and one["membership_auroc"] == other["membership_auroc"]


def test_the_attack_never_sees_its_truth(monkeypatch):
    """What is handed to the attack are the classifier and the shape of an image."""
    seen = {}
    invert = chapter.inversion.invert

    def noted(*given, **settings):
        seen.update(settings, given=given)
        return invert(*given, **settings)

    monkeypatch.setattr(chapter.inversion, "invert", noted)
    run()
    tensors = [value for value in (*seen["given"], *seen.values()) if torch.is_tensor(value)]
    assert not tensors
    assert not any(torch.is_tensor(value) for value in vars(seen["objective"]).values())


def test_a_network_on_patches_is_looked_at_where_they_are():
    planted, control = (run(shortcut=kind, architecture="MLP") for kind in ("planted", "control"))
    assert planted["patch_intensity"] != control["patch_intensity"]
    assert {"rows_auroc", "span_auroc"} <= planted.keys()


def test_a_generator_that_diverges_says_so_and_loses_nothing(monkeypatch):
    def diverges(*_, **__):
        raise chapter.NonFiniteLoss("the loss is not finite at step 1")

    monkeypatch.setattr(chapter.inversion, "invert", diverges)
    assert run() == {"failure": "the loss is not finite at step 1", "diverged": 1}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"output": "sigmoid"}, "output is 'sigmoid', known: 'tanh', 'linear'"),
        ({"perturbation": "pgd"}, "'pgd' is not one of"),
        ({"unregularised": "mixup"}, "no regulariser 'mixup'"),
        ({"weights": {"tv": 1.0}}, "at least one step and one weight"),
        ({"architecture": "VGG"}, "unknown architecture 'VGG'"),
    ],
)
def test_a_wrong_setting_is_one_sentence(wrong, message):
    with pytest.raises(ValueError, match=message):
        run(**wrong)


def test_a_linear_output_leaves_the_range_of_pixels():
    made = chapter._generator(parts("digits", 3, 100, 100, 200), 0, "hot", "linear", "cpu")
    assert isinstance(made.late[-1], nn.Identity)


# --- scores ---------------------------------------------------------------------------------------


def test_stolen_images_are_found_and_told_from_others(of):
    noise = 0.02 * torch.randn(of.images.shape, generator=torch.Generator().manual_seed(0))
    found = chapter._calibrated(of, of.images + noise, 0)
    assert found["auroc"] > 0.99 and found["hits"] == 100
    assert abs(found["strangers_auroc"] - 0.5) < 0.15 and found["strangers_hits"] < 15
    assert chapter._nearer(of, of.images)["own_half_share"] == 1


def test_images_of_others_are_no_memory(of):
    strangers = 2 * of.parts.known.images - 1
    assert abs(chapter._calibrated(of, strangers, 0)["auroc"] - 0.5) < 0.15
    assert 0.3 < chapter._nearer(of, strangers)["own_half_share"] < 0.7


def test_a_set_without_rivals_has_no_halves(of):
    alone = Victim(of.classifier, parts("digits", 3, 1000, 100, 200))
    assert chapter._nearer(alone, of.images) == {}


def test_real_images_are_alike_and_noise_is_not(of):
    judges = chapter.oracles(of.parts, Training(60), seed=0)
    real = chapter._alike(of, judges, of.held_out, of.parts.held_out.labels)
    noise = torch.rand(of.held_out.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    made = chapter._alike(of, judges, noise, of.parts.held_out.labels)
    assert real["kid"] < 0.1 < made["kid"]
    assert real["oracle_accuracy"] > 0.7 and made["oracle_accuracy"] < 0.3
    assert real["kid"] == pytest.approx(real["test_kid"])


def test_pictures_show_the_nearest_real_images(of):
    found = chapter._pictures(of, of.images, of.labels)
    made, trained, _ = found["pairs"]
    assert torch.equal(made, trained) and torch.allclose(
        found["pairs_ncc"][0], torch.ones(6).double()
    )


def test_bright_patches_are_intense():
    of = parts("digits", 3, 100, 100, 200)
    patch = chapter.patch_for(of)
    grey = torch.full((10, 1, 20, 20), 0.5)
    labels = torch.arange(10)
    assert chapter._patch_intensity(of, 2 * grey - 1, labels) == pytest.approx(1)
    assert chapter._patch_intensity(of, 2 * patch.plant(grey, labels) - 1, labels) == pytest.approx(
        2
    )


# --- premises and formulas ------------------------------------------------------------------------


def test_premises_of_four_kinds_can_be_stored():
    scalars, arrays = split_values(
        chapter.premises("digits", seed=1, weights=FOUR, **SMALL), "premises"
    )
    for kind in ("training", "held_out", "inverted_soft", "inverted_hot"):
        assert arrays[f"weight_gradient_{kind}"].min() >= 0
        assert 0 <= scalars[f"confidence_{kind}_mean"] <= 1
    assert 0 <= scalars["loss_gradient_membership_auroc"] <= 1


def test_formulas_agree_with_their_definitions():
    found = chapter.formulas("digits", seed=2)
    assert found["finite_difference_error"] < 1e-4 and found["batch_and_single_differ"] > 0
    assert found["variation_deviation"] < 1e-6 and found["pixels_deviation"] < 1e-6
    assert found["pixels_inside_range"] == 0 and found["moved_beyond_bound"] < 1e-6
    assert found["labels_agree_row_and_column"] == found["labels_agree_row_or_column"] == 1


def test_a_matrix_that_names_another_class_is_noticed(monkeypatch):
    from lib import generator

    right = generator.hot_matrix
    monkeypatch.setattr(
        generator, "hot_matrix", lambda labels, k, kind: right((labels + 1) % k, k, kind)
    )
    assert set(chapter._labels_agree(10, 0).values()) == {0.0}


def test_a_wrong_gradient_is_noticed(monkeypatch):
    right = likeness.weight_gradient_norms
    monkeypatch.setattr(likeness, "weight_gradient_norms", lambda *given: 1.01 * right(*given))
    assert chapter.formulas("digits", seed=2)["finite_difference_error"] > 1e-4


def test_examples_carry_a_patch_where_they_are_planted():
    plain, planted = (chapter.examples("digits", planted)["images"] for planted in (False, True))
    assert plain.shape == planted.shape == (10, 1, 20, 20)
    assert ((plain != planted).flatten(1).any(1)).all()
    assert (planted[plain != planted] == 255).all()


# --- design ---------------------------------------------------------------------------------------

SIZES = {"digits": [100, 200, 400], "mnist": [1000, 2000, 3000]}
ASIDE = {name: {"held_out": 100, "known": 200} for name in SIZES}


@pytest.fixture
def questions() -> dict[str, design.Cases]:
    best = dict.fromkeys(SIZES, design.default(FOUR))
    return design.questions(
        best, SIZES, ASIDE, seeds=[10, 11], order_seeds=[10, 11, 12], generators=2, widths=[4, 8],
        regularisers=["dropout"], classifier_steps=1, steps=1,
    )  # fmt: skip


def test_a_loss_without_a_term_differs_by_that_term_alone(questions):
    full = questions[design.FULL][0]
    for name, out in design.LEFT_OUT.items():
        case = questions[name][0]
        assert full["weights"].keys() - case["weights"].keys() == set(out)
        assert {**case, "weights": full["weights"]} == full
    for name, out in design.SOFT.items():
        case = questions[name][0]
        assert case["vector"] == "soft"
        assert full["weights"].keys() - case["weights"].keys() == set(out)


def test_the_full_loss_has_nine_terms(questions):
    assert set(questions[design.FULL][0]["weights"]) == set(likeness.TERMS)
    assert set(questions[design.INVERSION][0]["weights"]) == set(FOUR)


def test_ranked_losses_have_more_seeds(questions):
    assert {case["seed"] for case in questions["no gradient"]} == {10, 11, 12}
    assert {case["seed"] for case in questions["no pixels"]} == {10, 11}


def test_sizes_are_those_of_each_data_set(questions):
    ns = {(case["dataset"], case["n"]) for case in questions["by size"]}
    assert ns == {(d, n) for d, sizes in SIZES.items() for n in sizes}
    assert {case["n"] for case in questions["few, MLP"]} == {100, 1000}
    assert {case["n"] for case in questions[design.FULL]} == {200, 2000}


def test_pictures_are_kept_of_one_seed_and_generator(questions):
    kept = [case for case in questions["by size"] if case["pictures"]]
    assert {case["seed"] for case in kept} == {10}
    assert {case.get("generator", 0) for case in kept} == {0}


def test_every_case_fits_its_run(questions):
    import inspect

    known = inspect.signature(chapter.reconstructed).parameters
    for cases in questions.values():
        assert cases and all(case.keys() <= known.keys() for case in cases)


def tried(dataset: str, kid: float | None, **settings) -> Result:
    case = {"dataset": dataset, "weights": FOUR, "perturbation": "random", "radius": 0.1}
    scalars = {} if kid is None else {"kid": kid}
    return Result("reconstructed", {**case, **settings}, "reused", scalars)


def test_the_smallest_kid_is_chosen_and_what_failed_is_not():
    found = design.chosen(
        [
            tried("digits", 0.5),
            tried("digits", 0.2, perturbation="adversarial", radius=0.03),
            tried("digits", 0.2, radius=0.3),
            tried("mnist", None),
        ]
    )
    assert found == {"digits": design.Chosen(FOUR, "adversarial", 0.03)}


def test_tuning_is_on_a_seed_of_its_own():
    cases = design.tuning(FOUR, SIZES, ASIDE)
    assert {case["seed"] for case in cases} == {design.TUNING_SEED}
    assert len(cases) == 2 * 8 and {case["n"] for case in cases} == {200, 2000}
