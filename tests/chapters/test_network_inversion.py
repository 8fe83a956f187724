"""The runs of chapter 3: their parts by hand, and whole tiny runs on digits."""

import json
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from chapters import shared
from chapters.network_inversion import runs
from harness.store import split_values
from lib import data, inversion, train
from lib.generator import Generator

SCALARS = {
    "failure",
    "diverged",
    "generator_seconds",
    "inversion_accuracy",
    "worst_class_accuracy",
    "confidence",
    "asked_confidence",
    "test_accuracy",
    "test_confidence",
    "images_compared",
    "intra",
    "inter",
    "vendi",
    "vendi_all",
    "effective_rank",
    "pixel_std",
    "clusters",
    "oracle_accuracy",
    "oracle_test_accuracy",
    "oracle_intra",
    "oracle_test_intra",
    "kid",
    "test_kid",
    "nearest_auroc",
    "steps_to_half",
    "steps_to_95",
    "jump",
}
OBEYED = {"follows_matrix", "follows_vector", "accuracy_blank_matrix"}
HISTORY = {
    f"at_{name}"
    for name in (
        "step", "accuracy", "worst_class", "confidence", "diversity", "pixel_std", "kl", "ce",
        "cosine", "orthogonality",
    )
}  # fmt: skip
ARRAYS = {"accuracy_by_class", "images", "shown_labels"} | HISTORY
SMALL = {
    "seed": 0, "steps": 3, "n": 100, "classifier_steps": 3, "width": 8, "fresh": 100, "batch": 16,
}  # fmt: skip


def run(**settings) -> dict:
    return runs.inverted("digits", **SMALL | settings)


def rows(images: Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


@pytest.fixture
def trainings(monkeypatch) -> list[dict]:
    """What every training of a classifier was given."""
    seen = []
    fit = train.fit

    def watch(network, images, labels, **settings):
        seen.append({"network": network, "images": images, "labels": labels, **settings})
        return fit(network, images, labels, **settings)

    monkeypatch.setattr(train, "fit", watch)
    shared.subject.cache_clear()
    return seen


# --- small parts ---------------------------------------------------------------------------------


def test_the_first_of_each_class_class_by_class():
    labels = torch.tensor([2, 0, 0, 2, 1, 0])
    assert shared.first_of_each(labels, 2, 3).tolist() == [1, 2, 4, 0, 3]
    assert shared.first_of_each(labels, 9, 4).tolist() == [1, 2, 5, 4, 0, 3]
    assert shared.first_of_each(labels, 1, 2).tolist() == [1, 4]


def test_images_span_minus_one_to_one_and_bytes_all_of_their_range():
    images = torch.tensor([0.0, 0.5, 1.0])
    assert shared.normalised(images).tolist() == [-1, 0, 1]
    found = shared.as_bytes(shared.normalised(torch.arange(256) / 255))
    assert found.dtype == torch.uint8 and found.tolist() == list(range(256))


def curve(accuracy: list[float], step: list[int] | None = None) -> dict[str, float]:
    step = list(range(0, 10 * len(accuracy), 10)) if step is None else step
    return runs._convergence({"step": step, "accuracy": accuracy})


def test_an_even_rise_has_a_jump_of_1():
    found = curve([0.1 * i for i in range(11)])
    assert found["jump"] == pytest.approx(1)
    assert found["steps_to_half"] == 50 and found["steps_to_95"] == 100
    uneven = curve([0, 0.01, 0.02, 0.1, 0.5, 1], [0, 1, 2, 10, 50, 100])
    assert uneven["jump"] == pytest.approx(1)


def test_a_plateau_and_a_sudden_rise_have_a_large_jump():
    found = curve([0.1] * 10 + [1.0] * 5)
    assert found["jump"] == pytest.approx(10)  # 0.9 in the last of ten intervals
    assert found["steps_to_half"] == found["steps_to_95"] == 100
    assert curve([0.1] * 20 + [1.0])["jump"] == pytest.approx(10)  # the most there can be


def test_the_noise_of_single_observations_is_no_jump():
    random = np.random.default_rng(0)
    step = [0, *(k for k in shared.OBSERVED_AT if k <= 500)]
    even = 0.1 + 0.8 * np.array(step) / 500
    noisy = even + random.normal(0, 0.03, len(step))
    assert curve(noisy.tolist(), step)["jump"] < 3


def test_what_comes_after_the_rise_does_not_count():
    rise = [0.1 * i for i in range(11)]
    assert curve(rise + [1.0] * 50)["jump"] == pytest.approx(1)


def test_an_accuracy_that_is_never_reached_counts_as_the_last_step():
    found = curve([0.1, 0.2, 0.6])
    assert found["steps_to_half"] == 20 and found["steps_to_95"] == 20
    assert curve([0.1, 0.2, 0.3])["steps_to_half"] == 20


@pytest.mark.parametrize("accuracy", [[0.1, 0.1, 0.1], [0.0, 0.0, 0.0], [0.5, 0.2, 0.1]])
def test_without_a_rise_there_is_no_jump(accuracy):
    assert curve(accuracy)["jump"] == 1


def test_few_images_of_a_class_form_no_cluster():
    """Class 0 has two clusters, class 1 too few images, class 2 none."""
    torch.manual_seed(0)
    seen = torch.randn(59, 3) + 100 * (torch.arange(59) % 2)[:, None]
    labels = torch.tensor([0] * 40 + [1] * 19)
    assert shared.clusters_by_class(seen, labels, 3) == [2, 0, 0]


def test_accuracy_by_class():
    labels = torch.tensor([0, 1, 0, 1, 2, 0])
    logits = torch.eye(3)[torch.tensor([0, 2, 1, 1, 2, 1])]
    empty = torch.zeros(6, 1)
    found = runs._by_class(inversion.Samples(empty, labels, logits, logits, empty))
    assert found.tolist() == pytest.approx([1 / 3, 1 / 2, 1])


# --- classifier and oracle -----------------------------------------------------------------------


def test_classifier_and_oracle_learn_from_disjoint_images(trainings):
    of = shared.subject("digits", 0, "MLP", 200, 2, "float32", "cpu")
    own, others = trainings
    assert own["network"] is of.classifier and others["network"] is of.oracle
    assert not rows(own["images"]) & rows(others["images"])
    assert rows(own["images"]) == rows(of.training.images)
    for given in trainings:
        assert given["labels"].bincount().tolist() == [20] * 10
        assert given["images"].min() == -1 and given["images"].max() == 1
    test = data.load("digits", split="test", size=20)
    assert rows(of.test.images) == rows(shared.normalised(test.images))
    assert own["seed"] != others["seed"]
    assert not of.classifier.training and not of.oracle.training


def test_images_are_shuffled_and_keep_their_labels(trainings):
    of = shared.subject("digits", 0, "MLP", 600, 2, "float32", "cpu")
    for images in (of.training, of.test):
        assert len(images.labels[:100].unique()) == 10
        assert images.labels[:100].bincount().max() < 25
    label_of = {
        image.numpy().tobytes(): label.item()
        for image, label in zip(trainings[0]["images"], trainings[0]["labels"])
    }
    told = [label_of[image.numpy().tobytes()] for image in of.training.images]
    assert told == of.training.labels.tolist()


def test_of_a_small_set_half_is_left_for_the_oracle(trainings):
    of = shared.subject("digits", 0, "MLP", 10_000, 1, "float32", "cpu")
    assert len(of.training) == 600
    assert [len(given["labels"]) for given in trainings] == [600, 600]


def test_several_attacks_meet_the_same_classifier(trainings):
    one, two = run(fresh=40, steps=1), run(fresh=40, steps=1, generator=1)
    assert len(trainings) == 2
    assert one["test_accuracy"] == two["test_accuracy"]
    assert not np.array_equal(one["images"], two["images"])
    run(fresh=40, steps=1, seed=1)
    assert len(trainings) == 4


def test_the_global_random_state_does_not_matter_to_a_classifier(trainings):
    networks = []
    for seed in (5, 6):
        shared.subject.cache_clear()
        torch.manual_seed(seed)
        of = shared.subject("digits", 0, "regularised CNN", 100, 2, "float32", "cpu")
        networks.append(of.classifier)
    assert len(trainings) == 4
    for a, b in zip(*(network.parameters() for network in networks)):
        assert torch.equal(a, b)


def test_an_unknown_architecture_is_an_error_that_lists_the_known():
    with pytest.raises(ValueError, match="'RNN': MLP, CNN, ViT, .*regularised CNN"):
        run(architecture="RNN")


# --- whole runs ----------------------------------------------------------------------------------


def test_a_run_returns_plain_results():
    scalars, arrays = split_values(run(), "inverted")
    assert set(scalars) == SCALARS | OBEYED
    assert set(arrays) == ARRAYS
    json.dumps(scalars)
    assert scalars["failure"].startswith("The generator has") and scalars["diverged"] == 0
    assert len(scalars["clusters"]) == 10
    assert scalars["asked_confidence"] == pytest.approx(0.32, abs=0.04)
    for name in SCALARS - {"failure", "clusters", "inter"}:
        assert math.isfinite(scalars[name]), name
    for name in ("inversion_accuracy", "oracle_accuracy", "nearest_auroc", *OBEYED):
        assert 0 <= scalars[name] <= 1, name
    assert scalars["inversion_accuracy"] == pytest.approx(arrays["accuracy_by_class"].mean())
    assert scalars["worst_class_accuracy"] == arrays["accuracy_by_class"].min()
    assert arrays["at_step"].tolist() == [0, 1, 2, 3]
    assert {len(arrays[name]) for name in HISTORY} == {4}
    images, labels = arrays["images"], arrays["shown_labels"]
    assert images.dtype == np.uint8 and images.shape == (len(labels), 1, 20, 20)
    assert np.bincount(labels).max() <= runs.SHOWN


def test_a_run_is_reproduced():
    one, same = run(), run()
    for name in (SCALARS | ARRAYS | OBEYED) - {"generator_seconds"}:
        assert np.array_equal(one[name], same[name], equal_nan=name in HISTORY | {"inter"}), name


@pytest.mark.parametrize("conditioning", ["label", "vector", "matrix"])
def test_only_a_vector_and_a_matrix_can_disagree(conditioning):
    assert set(run(conditioning=conditioning)) == SCALARS | ARRAYS
    of = shared.subject("digits", 0, "regularised CNN", 100, 3, "float32", "cpu")
    made = Generator(10, 1, 20, conditioning=conditioning, width=8)
    assert runs._obeyed(made, of, 0) == {}


@pytest.mark.parametrize("architecture", ["CNN", "MLP tapering", "ViT"])
def test_every_architecture_can_be_inverted(architecture):
    assert set(run(architecture=architecture)) == SCALARS | ARRAYS | OBEYED


def test_whom_a_generator_obeys(monkeypatch):
    """One paints the label of its vector, one that of its matrix; the classifier reads it."""
    of = shared.subject("digits", 0, "regularised CNN", 100, 3, "float32", "cpu")
    made = Generator(10, 1, 20, width=8)

    def follows(name):
        def paint(generator, conditions):
            place = getattr(conditions, name).flatten(1)
            return place[:, :: 11 if name == "matrices" else 1]  # ones of the diagonal

        monkeypatch.setattr(runs, "generate", paint)
        return runs._obeyed(made, of, 0)

    monkeypatch.setattr(runs, "logits_and_features", lambda network, images: (images, None))
    assert follows("vectors") == {
        "follows_matrix": 0, "follows_vector": 1, "accuracy_blank_matrix": 1,
    }  # fmt: skip
    assert follows("matrices") == {
        "follows_matrix": 1, "follows_vector": 0, "accuracy_blank_matrix": 0.1,
    }  # fmt: skip


def test_a_generator_that_nobody_obeys_is_a_failure(monkeypatch):
    class Wrong(inversion.Samples):
        correct = property(lambda self: torch.zeros_like(self.labels, dtype=torch.bool))

    taken = inversion.sample
    monkeypatch.setattr(
        inversion, "sample", lambda *given, **settings: Wrong(**vars(taken(*given, **settings)))
    )
    found = run()
    assert set(found) == {"failure", "diverged"} and found["diverged"] == 0
    assert found["failure"].startswith("The generator has")


def test_a_run_that_diverges_in_its_last_step_is_a_failure():
    found = run(lr=1e30, steps=1)
    assert set(found) == {"failure", "diverged"} and found["diverged"] == 1


def test_a_run_that_diverges_is_a_failure():
    found = run(lr=1e30)
    assert set(found) == {"failure", "diverged"} and found["diverged"] == 1
    assert "not finite after step 1: lower the learning rate" in found["failure"]
    split_values(found, "inverted")
