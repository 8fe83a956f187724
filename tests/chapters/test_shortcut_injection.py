"""The runs of chapters 1 and 2: their parts by hand, whole runs on digits, a folder of images."""

import functools
import json
import math
import os

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

from chapters import shared
from chapters.shortcut_injection import design, evidence, figures, reading
from chapters.shortcut_injection import runs as chapter
from harness import ledger
from harness.store import split_values
from harness.verdicts import judged
from lib import data, models, predict, shortcuts, train

needs_real = pytest.mark.skipif(
    not os.environ.get("WWR_DATA"), reason="WWR_DATA names no folder with the real sets"
)

SCALARS = {
    "accuracy_shortcut",
    "accuracy_clean",
    "signed_accuracy_difference",
    "accuracy_difference",
    "loss_shortcut",
    "loss_clean",
    "signed_loss_difference",
    "loss_difference",
    "accuracy_conflict",
    "follows_patch",
    "temperature",
    "tempered_loss_difference",
    "epochs_to_shortcut",
    "rank_correlation_epoch_clean",
    "drop_from_best_clean",
    "definition_error",
    "accuracy_validation",
    "parameters",
    "diverged",
    "training_images",
    "test_images",
    "steps_per_epoch",
    "saliency_ratio",
}
ARRAYS = {"observed_steps", "accuracies", "losses", "train_loss"}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rows(images: Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


def run(architecture: str = "MLP", **settings) -> dict:
    defaults = {"seed": 0, "lr": 1e-3, "epochs": 3, "n": 200}
    return chapter.reliance("digits", architecture, **defaults | settings)


kept = functools.cache(run)  # for tests that only look


@pytest.fixture(autouse=True)
def short_curves(monkeypatch):
    """A network is looked at about fifteen times in a run, which took longer than its training."""
    monkeypatch.setattr(chapter, "CURVE_IMAGES", 100)


@pytest.fixture
def trainings(monkeypatch) -> list[dict]:
    """What every training was given: network, images, labels and settings."""
    seen = []
    fit = train.fit

    def watched(network, images, labels, **settings):
        seen.append({"network": network, "images": images, "labels": labels, **settings})
        return fit(network, images, labels, **settings)

    monkeypatch.setattr(train, "fit", watched)
    return seen


def own_patch(images: Tensor, labels: Tensor, **patch) -> Tensor:
    """bool [n]: which normalised images are white throughout the patch of their label."""
    masks = shortcuts.Patch.on_border(10, 20, 20, **patch).masks()
    return ((images[:, 0] == 1) | ~masks[labels]).flatten(1).all(1)


# --- small parts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("per_epoch", [1, 6, 31, 78, 468])
@pytest.mark.parametrize("epochs", [2, 3, 30, 31, 100, 200])
def test_observed_steps_rise_from_the_start_to_the_last_step(epochs, per_epoch):
    steps = chapter.observed_steps(epochs, per_epoch)
    assert steps[0] == 0 and steps[1] == 1 and steps[-1] == epochs * per_epoch
    assert steps == sorted(set(steps)) and all(isinstance(step, int) for step in steps)


@pytest.mark.parametrize(("epochs", "stride"), [(5, 1), (30, 1), (31, 2), (100, 4)])
def test_observed_steps_hold_at_most_thirty_even_ends_of_epochs(epochs, stride):
    steps = chapter.observed_steps(epochs, 50)
    ends = range(50 * stride, 50 * epochs + 1, 50 * stride)
    assert len(ends) <= 30 and set(ends) <= set(steps)


def test_observed_steps_by_hand():
    assert chapter.observed_steps(4, 25, per_decade=1) == [0, 1, 10, 25, 50, 75, 100]
    assert chapter.observed_steps(10, 10, per_decade=2, whole=1) == [0, 1, 3, 10, 32, 100]


def test_normalised_is_from_minus_one_to_one():
    found = chapter.normalised(torch.tensor([0.0, 0.25, 1.0]))
    assert found.tolist() == [-1.0, -0.5, 1.0]


@pytest.mark.parametrize(("step", "mean"), [(0, 10), (1, 10), (2, 9.5), (3, 9), (4, 8), (10, 2)])
def test_recent_is_the_mean_of_the_last_batches(step, mean):
    losses = np.arange(10, 0, -1.0)  # 10 at step 1, 1 at step 10
    assert chapter._recent(losses, step, window=3) == mean


def test_along_by_hand():
    """Epochs of five steps: the clean accuracies at their ends are 0.5, 0.9, 0.7 and 0.6."""
    at = [0, 1, 5, 8, 10, 15, 20]
    shortcut = [0.1, 0.5, 0.98, 0.985, 0.99, 1.0, 1.0]
    clean = [0.1, 0.95, 0.5, 0.1, 0.9, 0.7, 0.6]
    found = chapter._along(at, list(map(list, zip(shortcut, clean))), per_epoch=5)
    assert found == pytest.approx(
        {
            "epochs_to_shortcut": 2.0,
            "rank_correlation_epoch_clean": -1.0,
            "drop_from_best_clean": 0.3,
        }
    )


def test_along_without_a_fall():
    rising = [[1.0, k / 5] for k in range(5)]
    found = chapter._along([0, 5, 10, 15, 20], rising, per_epoch=5)
    assert found["rank_correlation_epoch_clean"] == found["drop_from_best_clean"] == 0
    assert found["epochs_to_shortcut"] == 0


def test_definition_error_is_of_rounding_size_and_notices_a_wrong_score():
    shortcut, clean = (torch.randn(50, 4, generator=seeded(k)) for k in range(2))
    logits = {"shortcut": shortcut, "clean": clean}
    labels = torch.arange(50) % 4
    scores = shortcuts.reliance(shortcut, clean, labels)
    assert chapter._definition_error(scores, logits, labels) < 1e-12
    for name in ("accuracy_difference", "loss_difference"):
        wrong = scores | {name: scores[name] + 0.01}
        assert chapter._definition_error(wrong, logits, labels) == pytest.approx(0.01)


@pytest.mark.parametrize("scale", [0.3, 20])
def test_tempered_loss_difference_does_not_depend_on_the_scale_of_the_logits(scale):
    labels = torch.arange(300) % 4
    found = {
        name: spread * torch.randn(300, 4, generator=seeded(k)) + torch.eye(4)[labels]
        for k, (name, spread) in enumerate(
            {"shortcut": 0.5, "clean": 2, "validation_shortcut": 0.5}.items()
        )
    }
    scaled = {name: scale * logits for name, logits in found.items()}
    one, other = (chapter._tempered(logits, labels, labels) for logits in (found, scaled))
    assert other["temperature"] == pytest.approx(scale * one["temperature"], rel=1e-3)
    assert other["tempered_loss_difference"] == pytest.approx(
        one["tempered_loss_difference"], rel=1e-3
    )
    assert one["tempered_loss_difference"] > 0.01


@pytest.mark.parametrize("inside", [1.0, 3.0])
def test_gradient_in_patch_of_a_linear_network_by_hand(inside):
    """Every weight of class k is -1, inside its patch -`inside`."""
    patch = shortcuts.Patch.on_border(10, 20, 20)
    network = nn.Sequential(nn.Flatten(), nn.Linear(400, 10))
    with torch.no_grad():
        network[1].weight.copy_(-1 - (inside - 1) * patch.masks().flatten(1))
    labels = torch.arange(30) % 10
    found = chapter._gradient_in_patch(network, patch, torch.rand(30, 1, 20, 20), labels)
    assert found == pytest.approx({"saliency_ratio": inside})


# --- architectures -------------------------------------------------------------------------------

SHAPES = [(1, 20), (1, 28), (3, 32)]


@pytest.mark.parametrize(("channels", "size"), SHAPES)
@pytest.mark.parametrize("name", ["MLP matched", "CNN matched"])
def test_a_matched_architecture_has_the_parameters_of_the_vit_within_a_tenth(name, channels, size):
    counts = [
        models.count_parameters(shared.NETWORKS[key](channels, size, 10, seeded(0)))
        for key in (name, "ViT")
    ]
    assert counts[0] == pytest.approx(counts[1], rel=0.1)


@pytest.mark.parametrize("name", [name for name in shared.NETWORKS if "regular" not in name])
def test_an_architecture_is_built_from_its_seed(name):
    build = shared.NETWORKS[name]
    x = torch.rand(2, 3, 20, 20, generator=seeded(1))
    first, again, other = (build(3, 20, 7, seeded(s))(x) for s in (3, 3, 4))
    assert first.shape == (2, 7)
    assert torch.equal(first, again) and not torch.allclose(first, other)


# --- images --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_hundred() -> tuple[data.DataSet, data.DataSet, data.DataSet]:
    return chapter.images_for("digits", 200, 0, "cpu")


def test_images_are_balanced_and_disjoint(two_hundred):
    training, validation, test = two_hundred
    assert training.labels.bincount().tolist() == [20] * 10
    assert validation.labels.bincount().tolist() == [chapter.VALIDATION // 10] * 10
    assert len(set(test.labels.bincount().tolist())) == 1 and len(test) > 500
    assert training.images.shape[1:] == (1, 20, 20)
    for one, other in ((training, validation), (training, test), (validation, test)):
        assert not rows(one.images) & rows(other.images)


def test_images_depend_on_the_seed_only(two_hundred):
    for one, same, other in zip(
        two_hundred,
        chapter.images_for("digits", 200, 0, "cpu"),
        chapter.images_for("digits", 200, 1, "cpu"),
    ):
        assert torch.equal(one.images, same.images) and torch.equal(one.labels, same.labels)
        assert not torch.equal(one.images, other.images)
    other = chapter.images_for("digits", 200, 1, "cpu")
    assert rows(two_hundred[0].images) != rows(other[0].images)
    assert rows(two_hundred[1].images) != rows(other[1].images)


def test_test_images_are_shuffled_so_that_their_first_ones_hold_every_class(two_hundred):
    _, _, test = two_hundred
    counts = test.labels[: chapter.SALIENCY_IMAGES].bincount(minlength=10)
    assert counts.min() >= 5


@pytest.mark.parametrize("seed", range(5))
def test_at_most_as_many_images_as_there_are_less_some_to_tune_on(seed):
    training, validation, _ = chapter.images_for("digits", 60_000, seed, "cpu")
    assert len(training) == 1000 and len(validation) == 200
    assert not rows(training.images) & rows(validation.images)


@needs_real
def test_images_of_mnist():
    training, validation, test = chapter.images_for("mnist", 2000, 0, "cpu")
    assert training.images.shape == test.images.shape == (2000, 1, 28, 28)
    for part, count in ((training, 200), (validation, 50), (test, 200)):
        assert part.labels.bincount().tolist() == [count] * 10
    assert not rows(training.images) & rows(validation.images)


# --- whole runs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["MLP", "CNN", "ViT"])
def test_a_run_on_digits(architecture):
    values = kept(architecture, lr=3e-3, epochs=6)
    scalars, arrays = split_values(values, "reliance")
    assert set(scalars) == SCALARS and set(arrays) == ARRAYS
    assert json.loads(json.dumps(scalars)) == scalars
    assert all(math.isfinite(value) for value in scalars.values())
    assert all(np.isfinite(array).all() for array in arrays.values())
    for name in ("shortcut", "clean", "conflict", "validation"):
        assert 0 <= values[f"accuracy_{name}"] <= 1
    for name in ("accuracy", "loss"):
        signed = values[f"{name}_shortcut"] - values[f"{name}_clean"]
        assert values[f"signed_{name}_difference"] == signed
        assert values[f"{name}_difference"] == abs(signed)
    assert values["definition_error"] < 1e-9
    assert 0 <= values["follows_patch"] <= 1 - values["accuracy_conflict"] + 1e-9
    assert values["training_images"] == 200 and values["steps_per_epoch"] == 6
    assert values["diverged"] == 0 and values["temperature"] > 0


@pytest.mark.parametrize("architecture", ["MLP", "CNN", "ViT"])
def test_the_curve_of_a_run(architecture):
    values = kept(architecture, lr=3e-3, epochs=6)
    at = values["observed_steps"].tolist()
    assert at == chapter.observed_steps(6, 6) and at[0] == 0 and at[-1] == 36
    assert values["accuracies"].shape == values["losses"].shape == (len(at), 2)
    assert values["train_loss"].shape == (len(at),)
    start = [values["losses"][0, 0], values["losses"][0, 1], values["train_loss"][0]]
    assert start == pytest.approx([math.log(10)] * 3, abs=0.3)
    assert values["train_loss"][-1] < 0.9 * values["train_loss"][0]
    assert values["train_loss"][0] == values["train_loss"][1]  # both of the first batch


def test_the_curve_ends_at_the_scores(monkeypatch):
    monkeypatch.setattr(chapter, "CURVE_IMAGES", 10_000)
    values = run()
    for k, name in enumerate(("shortcut", "clean")):
        assert values["accuracies"][-1, k] == pytest.approx(values[f"accuracy_{name}"], abs=1e-6)
        assert values["losses"][-1, k] == pytest.approx(values[f"loss_{name}"], rel=1e-4)


def test_a_run_is_reproduced_and_another_seed_is_another_run():
    one, same, other = kept(), run(), run(seed=1)
    for name in SCALARS | ARRAYS:
        assert np.array_equal(one[name], same[name]), name
    assert one["loss_clean"] != other["loss_clean"]
    assert one["follows_patch"] != other["follows_patch"]


def test_training_images_carry_the_patch_and_are_normalised(trainings, two_hundred):
    run(epochs=1)
    training, _, _ = two_hundred
    given = trainings[0]["images"]
    inside = shortcuts.Patch.on_border(10, 20, 20).masks()[training.labels][:, None]
    assert given.min() == -1 and given.max() == 1
    assert (given[inside] == 1).all()
    assert torch.equal(given[~inside], chapter.normalised(training.images)[~inside])
    assert torch.equal(trainings[0]["labels"], training.labels)


def test_the_control_learns_from_the_same_images_without_any_patch(trainings, two_hundred):
    run(epochs=1, planted=False)
    training, _, _ = two_hundred
    assert torch.equal(trainings[0]["images"], chapter.normalised(training.images))
    assert torch.equal(trainings[0]["labels"], training.labels)


def test_a_network_that_saw_the_shortcut_leans_on_it_and_the_control_does_not():
    planted, control = (kept(n=1000, planted=p) for p in (True, False))
    assert planted["accuracy_shortcut"] > 0.99
    assert planted["accuracy_clean"] < control["accuracy_clean"] - 0.05
    assert planted["signed_accuracy_difference"] > 0.1 > control["signed_accuracy_difference"]
    assert planted["signed_loss_difference"] < -0.1 < 0 < control["signed_loss_difference"]
    assert planted["follows_patch"] > 0.3 and control["follows_patch"] < 0.1
    assert planted["accuracy_conflict"] < control["accuracy_conflict"] - 0.2
    assert planted["saliency_ratio"] > 2 > 1 > control["saliency_ratio"]
    assert planted["epochs_to_shortcut"] < 2


def test_the_weaker_the_correlation_the_less_a_patch_is_followed():
    always, half, never = (kept(n=1000, correlation=share) for share in (1.0, 0.5, 0.0))
    assert always["follows_patch"] > 0.3 > 0.1 > half["follows_patch"] > never["follows_patch"]
    assert half["signed_accuracy_difference"] > 0 > never["signed_accuracy_difference"]


@pytest.mark.parametrize("share", [0.0, 0.7])
def test_the_correlation_is_the_share_of_own_patches(trainings, share):
    values = run(epochs=1, correlation=share)
    own = own_patch(trainings[0]["images"], trainings[0]["labels"])
    assert own.sum() == pytest.approx(200 * share, abs=5)  # strokes may be white where it is
    assert own.sum() >= 200 * share
    assert values["training_images"] == 200


def test_wrong_patches_are_spread_over_the_first_epoch(monkeypatch):
    """Else it starts with all images that contradict the shortcut and ends with all others."""
    batches = []

    class Watched(nn.Module):
        def __init__(self, network):
            super().__init__()
            self.network = network

        def forward(self, x):
            if torch.is_grad_enabled():
                batches.append(x.detach().clone())
            return self.network(x)

    fit = train.fit
    monkeypatch.setattr(
        train, "fit", lambda network, *rest, **settings: fit(Watched(network), *rest, **settings)
    )
    training, _, _ = chapter.images_for("digits", 1000, 0, "cpu")
    patch = shortcuts.Patch.on_border(10, 20, 20)
    label_of = {}
    for k in range(10):
        planted = patch.plant(training.images, torch.full((1000,), k))
        label_of |= {
            image.numpy().tobytes(): (label.item(), k)
            for image, label in zip(chapter.normalised(planted), training.labels)
        }
    run(n=1000, epochs=2, correlation=0.5)
    own = [
        np.mean([label == k for label, k in (label_of[x.numpy().tobytes()] for x in batch)])
        for batch in batches[:31]
    ]
    assert np.mean(own) == pytest.approx(0.5, abs=0.02)
    assert np.mean(own[:15]) == pytest.approx(0.5, abs=0.12)


@pytest.mark.parametrize("setting", [{"shift": 2}, {"patch_size": 2}, {"colour": (0.5,)}])
def test_variants_of_the_patch(trainings, two_hundred, setting):
    values = run(epochs=1, **setting)
    training, _, _ = two_hundred
    geometry = {"size" if name == "patch_size" else name: v for name, v in setting.items()}
    patch = shortcuts.Patch.on_border(10, 20, 20, **geometry)
    expected = chapter.normalised(patch.plant(training.images, training.labels))
    assert torch.equal(trainings[0]["images"], expected)
    assert all(math.isfinite(values[name]) for name in SCALARS)


def test_a_shifted_patch_is_still_learned():
    values = kept(n=1000, shift=2)
    assert values["accuracy_shortcut"] > 0.99 and values["follows_patch"] > 0.15
    assert values["follows_patch"] != kept(n=1000)["follows_patch"]


def test_a_vit_without_positions_follows_a_wrong_patch_no_more_than_chance():
    values = kept("ViT no positions", n=1000, lr=2e-3, epochs=4)
    assert values["accuracy_clean"] > 0.4  # it has learned the images
    assert values["follows_patch"] < 0.15
    assert kept(n=1000)["follows_patch"] > 0.3


@pytest.mark.parametrize(
    "architecture", ["CNN average circular", "ViT no positions", "MLP", "CNN", "CNN average"]
)
def test_only_networks_that_see_positions_tell_patches_apart_on_a_blank_image(
    trainings, architecture
):
    """Only there: next to a stroke, its surroundings may betray where a patch is."""
    run(architecture, lr=5e-3)
    patch = shortcuts.Patch.on_border(10, 20, 20)
    blank = patch.plant(torch.zeros(10, 1, 20, 20), torch.arange(10))
    logits = predict.logits(trainings[0]["network"], chapter.normalised(blank))
    differ = (logits - logits[:1]).abs().max() / logits.abs().max()
    blind = architecture in ("CNN average circular", "ViT no positions")
    assert differ < 1e-4 if blind else differ > 0.02


@pytest.mark.parametrize("architecture", ["MLP", "CNN"])
def test_a_run_that_overflows_is_marked_and_keeps_what_was_observed(architecture):
    values = run(architecture, lr=1e30)
    assert values["diverged"] == 1
    assert set(values) == SCALARS | ARRAYS
    at = values["observed_steps"].tolist()
    assert at[:3] == [0, 1, 2] and at == sorted(set(at)) and at[-1] < 18
    assert {len(values[name]) for name in ARRAYS} == {len(at)}
    assert np.isfinite(values["losses"][0]).all()
    split_values(values, "reliance")


def test_a_run_that_overflows_before_the_end_of_its_first_epoch_is_marked():
    values = run("MLP", lr=1e30, epochs=1)
    assert values["diverged"] == 1


def test_a_run_that_ends_worse_than_guessing_is_marked():
    values = run(lr=3.0)
    assert values["diverged"] == 1 and math.isfinite(values["loss_clean"])
    assert values["observed_steps"][-1] == 18


def test_an_unknown_architecture_is_an_error_that_names_it():
    with pytest.raises(ValueError, match="'RNN': MLP, CNN, ViT"):
        run("RNN")


def test_a_run_in_bfloat16_comes_close():
    one, other = kept(n=1000), run(n=1000, precision="bfloat16")
    assert other["loss_clean"] != one["loss_clean"]
    for name in ("accuracy_shortcut", "accuracy_clean", "accuracy_conflict"):
        assert other[name] == pytest.approx(one[name], abs=0.1)


# --- portraits -----------------------------------------------------------------------------------


def test_a_portrait_on_digits():
    values = chapter.portrait("digits", "MLP", 0, 1e-3, 3, 1000)
    assert values["saliency"].shape == (10, 20, 20) and values["saliency"].min() >= 0
    assert values["labels"].tolist() == list(range(10))
    assert (values["conflicting"] != values["labels"]).all()
    masks = shortcuts.Patch.on_border(10, 20, 20).masks()
    clean = values["images_clean"]
    for name, which in (("shortcut", values["labels"]), ("conflict", values["conflicting"])):
        images, inside = values[f"images_{name}"], masks[which][:, None]
        assert images.shape == (10, 1, 20, 20) and images.dtype == torch.uint8
        assert (images[inside] == 255).all()
        assert torch.equal(images[~inside], clean[~inside])
    for name in ("shortcut", "clean", "conflict"):
        assert values[f"predicted_{name}"].shape == (10,)
    assert torch.equal(values["predicted_shortcut"], values["labels"])
    inside = values["saliency"][masks].mean() / values["saliency"][~masks].mean()
    assert inside > 2  # the network looks at the patches
    scalars, arrays = split_values(values, "portrait")
    assert not scalars and len(arrays) == 9


def test_a_portrait_shows_test_images_and_as_many_as_asked():
    values = chapter.portrait("digits", "CNN average", 0, 1e-3, 1, 100, shown=3)
    _, _, test = chapter.images_for("digits", 100, 0, "cpu")
    assert values["labels"].tolist() == [0, 1, 2] and len(values["images_clean"]) == 3
    assert rows(values["images_clean"]) <= rows((255 * test.images).round().to(torch.uint8))
    assert values["saliency"].shape == (10, 20, 20)


# --- the patch alone -----------------------------------------------------------------------------


def test_the_patch_alone_tells_the_label():  # S01
    values = chapter.patch_alone("digits", 1000, 0)
    assert 0.8 < values.pop("other_pixels_accuracy") < 0.99
    assert values == {
        "pixels_in_two_masks": 0,
        "mask_pixels": 16,
        "not_white_inside": 0,
        "changed_outside": 0,
        "clean_changed": 0,
        "patch_pixels_accuracy": 1,
    }


def test_a_gray_patch_is_noticed(monkeypatch):
    gray = functools.partial(chapter.patch_for, colour=(0.9,))
    monkeypatch.setattr(chapter, "patch_for", gray)
    assert chapter.patch_alone("digits", 100, 0)["not_white_inside"] == 100 * 16


def test_a_changed_surrounding_is_noticed(monkeypatch):
    plant = shortcuts.Patch.plant
    monkeypatch.setattr(
        shortcuts.Patch, "plant", lambda self, images, which: plant(self, images, which).sqrt()
    )
    values = chapter.patch_alone("digits", 100, 0)
    assert values["changed_outside"] > 100 and values["not_white_inside"] == 0


def test_planting_in_place_is_noticed(monkeypatch):
    plant = shortcuts.Patch.plant
    monkeypatch.setattr(
        shortcuts.Patch,
        "plant",
        lambda self, images, which: images.copy_(plant(self, images, which)),
    )
    assert chapter.patch_alone("digits", 100, 0)["clean_changed"] > 0


# --- a folder of one's own images ----------------------------------------------------------------


@pytest.fixture(scope="module")
def two_class_folder(tmp_path_factory) -> str:
    """train/ and test/ with discs and rings of 20 x 20 pixels in three colours."""
    folder = tmp_path_factory.mktemp("own") / "shapes"
    random = np.random.RandomState(0)
    far = np.hypot(*np.mgrid[-9.5:10, -9.5:10])
    for split, count in (("train", 60), ("test", 20)):
        for name, inner in (("disc", 0), ("ring", 4)):
            place = folder / split / name
            place.mkdir(parents=True)
            for k in range(count):
                shape = (far < 6.5) & (far >= inner)
                pixels = shape[..., None] * random.uniform(90, 250, 3) + random.uniform(
                    0, 40, (20, 20, 3)
                )
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(place / f"{k}.png")
    return str(folder)


def test_a_folder_of_two_classes_goes_through_the_chapter(two_class_folder, tmp_path):
    study = shared.open_study(tmp_path, [two_class_folder])
    training = {"n": 80, "precision": "float32"}
    lengths = {two_class_folder: 2}
    tuning = study(chapter.reliance, design.tuning(lengths, seeds=[0], rates=[1e-3], **training))
    best = reading.tuned(tuning)
    asked = study.groups(
        chapter.reliance,
        design.questions(
            best, lengths, seeds=[10], prolonged=2, correlations=[0.5, 1.0], looks=[[1, 1.0]],
            fewer_seeds=[10], **training,
        ),
    )  # fmt: skip
    portraits = study(chapter.portrait, design.portraits(best, lengths, seed=10, **training))
    alone = study(chapter.patch_alone, dataset=[two_class_folder], n=80, seed=[10])
    assert {result.status for result in study.results} == {"computed"}
    assert portraits[0]["images_clean"].shape == (2, 3, 20, 20)
    drawn = [
        figures.accuracy_without(asked["planted"], asked["control"]),
        figures.believed(asked["planted"]),
        figures.planted_examples(portraits.where(architecture="CNN")),
        figures.answers(portraits),
        figures.saliency(portraits),
        figures.training_long(asked["prolonged"]),
        figures.reliability(asked["unreliable"]),
        figures.visibility(asked["faint"]),
    ]
    assert all(isinstance(fig, Figure) for fig in drawn)
    assert drawn[0].axes[0].get_title(loc="left").startswith("shapes")
    found = judged(ledger.load("claims"), evidence, alone=alone, **asked)
    assert [verdict.id for verdict in found][:2] == ["S01", "S02"]
