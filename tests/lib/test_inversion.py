"""Conditioning, the generator, the watched classifier, and inversions of planted classifiers."""

import copy
import inspect
import math
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lib import inversion, losses
from lib.checkpoints import load_checkpoint
from lib.inversion import (
    CONDITIONINGS,
    LOSS_TERMS,
    Conditions,
    Diverged,
    Generator,
    complaint,
    generate,
    hot_matrix,
    hot_vectors,
    invert,
    sample,
    soft_vectors,
    watched,
)
from lib.models import CNN, MLP, RegularisedCNN, ViT

HISTORY = {
    "step", "accuracy", "worst_class", "confidence", "diversity", "pixel_std", *LOSS_TERMS,
}  # fmt: skip


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(n: int, channels: int, size: int, seed: int = 9) -> Tensor:
    return torch.randn(n, channels, size, size, generator=seeded(seed))


def made(classes: int = 3, channels: int = 1, size: int = 8, **settings) -> Generator:
    """The same narrow generator every time."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return Generator(classes, channels, size, **{"width": 8} | settings)


def easy(classes: int = 3, size: int = 8) -> nn.Module:
    """A classifier whose classes are orthogonal directions."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(size**2, classes, bias=False))
    with torch.no_grad():
        directions = torch.randn(size**2, classes, generator=seeded(0))
        net[1].weight.copy_(torch.linalg.qr(directions).Q.T)
    return net


def attacked(classifier: nn.Module | None = None, generator: Generator | None = None, **settings):
    defaults = {"steps": 3, "weights": {"ce": 1.0}, "batch": 6, "observed": 6}
    return invert(classifier or easy(), generator or made(), **defaults | settings)


def equal(one: dict, other: dict) -> bool:
    """Two histories, in which NaN equals NaN."""
    return one.keys() == other.keys() and all(
        torch.equal(*(torch.tensor(h[name]).nan_to_num(-1) for h in (one, other))) for name in one
    )


# --- conditioning --------------------------------------------------------------------------------


def test_soft_vectors_are_distributions_whose_largest_entry_is_the_label():  # I02
    torch.manual_seed(0)
    labels = torch.arange(5000) % 10
    vectors = soft_vectors(labels, 10)
    assert vectors.shape == (5000, 10) and vectors.min() > 0
    assert torch.allclose(vectors.sum(1), torch.ones(5000), atol=1e-6)
    assert torch.equal(vectors.argmax(1), labels)


def test_soft_vectors_are_softmaxed_normal_ones_given_their_largest_entry():
    """Against the definition: vectors are drawn until one has the label."""
    torch.manual_seed(0)
    drawn = torch.randn(100_000, 4).softmax(1)
    expected = drawn[drawn.argmax(1) == 2]
    found = soft_vectors(torch.full((25_000,), 2), 4)
    for moment in (1, 2):
        means = [x.pow(moment).mean(0) for x in (expected, found)]
        assert torch.allclose(*means, atol=0.005)
    sizes = [x.sort(1).values.mean(0) for x in (expected, found)]
    assert torch.allclose(*sizes, atol=0.005)
    assert (found[:, 0] * found[:, 1]).mean().item() == pytest.approx(
        (expected[:, 0] * expected[:, 1]).mean().item(), abs=0.002
    )


def test_the_largest_of_ten_entries_is_a_third():
    torch.manual_seed(0)
    largest = soft_vectors(torch.arange(20_000) % 10, 10).amax(1).mean().item()
    drawn = torch.randn(20_000, 10).softmax(1).amax(1).mean().item()
    assert largest == pytest.approx(drawn, abs=0.005)
    assert largest == pytest.approx(0.32, abs=0.02)


def test_hot_vectors_by_hand():
    found = hot_vectors(torch.tensor([2, 0]), 3)
    assert found.tolist() == [[0, 0, 1], [1, 0, 0]] and found.dtype == torch.float32


def test_a_matrix_of_row_and_column_by_hand():
    found = hot_matrix(torch.tensor([0, 2]), 3)
    assert found.shape == (2, 1, 3, 3) and found.dtype == torch.float32
    assert found[0, 0].tolist() == [[1, 1, 1], [1, 0, 0], [1, 0, 0]]
    assert found[1, 0].tolist() == [[0, 0, 1], [0, 0, 1], [1, 1, 1]]
    assert torch.equal(found, hot_matrix(torch.tensor([0, 2]), 3, "row and column"))


def test_a_matrix_of_row_or_column_is_one_of_two_by_a_fair_coin():
    torch.manual_seed(0)
    found = hot_matrix(torch.full((2000,), 1), 3, "row or column")[:, 0]
    row = torch.tensor([[0.0, 0, 0], [1, 1, 1], [0, 0, 0]])
    rows, columns = (found == row).all((1, 2)), (found == row.T).all((1, 2))
    assert (rows ^ columns).all()
    assert rows.float().mean().item() == pytest.approx(0.5, abs=0.04)
    found = hot_matrix(torch.arange(70) % 7, 7, "row or column")
    assert (found.sum((1, 2, 3)) == 7).all()


@pytest.mark.parametrize("vector", ["soft", "hot"])
@pytest.mark.parametrize("matrix", ["row and column", "row or column"])
def test_vector_and_matrix_name_the_same_label(vector, matrix):  # I02
    torch.manual_seed(0)
    labels = torch.randint(7, (100,))
    given = made(7, vector=vector, matrix=matrix).conditions(labels)
    assert torch.equal(given.labels, labels)
    assert torch.equal(given.vectors.argmax(1), labels)
    ones = given.matrices[:, 0] == 1
    assert ((given.matrices == 0) | (given.matrices == 1)).all()
    for label, row, column in zip(labels.tolist(), ones.all(2), ones.all(1)):
        whole = row.nonzero().flatten().tolist() + column.nonzero().flatten().tolist()
        assert whole == [label] * (2 if matrix == "row and column" else 1)


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
@pytest.mark.parametrize("vector", ["soft", "hot"])
def test_vectors_are_soft_only_where_the_generator_sees_them(conditioning, vector):
    labels = torch.arange(3)
    vectors = made(conditioning=conditioning, vector=vector).conditions(labels).vectors
    soft = vector == "soft" and "vector" in conditioning
    assert torch.equal(vectors, torch.eye(3)) != soft


# --- generator -----------------------------------------------------------------------------------

SIZES = [
    (2, 1, 28), (3, 3, 32), (7, 1, 28), (10, 1, 28), (10, 3, 32), (10, 1, 20), (11, 3, 32),
    (43, 3, 32), (100, 3, 32), (4, 1, 8), (5, 1, 4), (10, 1, 64),
]  # fmt: skip


@pytest.mark.parametrize(("classes", "channels", "size"), SIZES)
@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_images_have_the_asked_size_and_range(conditioning, classes, channels, size):
    generator = made(classes, channels, size, conditioning=conditioning, width=4)
    early, joined = [], []
    generator.early.register_forward_hook(lambda module, x, y: early.append(y))
    generator.late.register_forward_hook(lambda module, x, y: joined.append(x[0]))
    given = generator.conditions(torch.tensor([0, 1, 1]))
    images = generator(10 * torch.randn(3, 64, generator=seeded(0)), given)
    assert images.shape == (3, channels, size, size)
    assert images.abs().max() <= 1 and images.std() > 0
    assert early[0].shape == (3, 4, classes, classes)  # I02: N × N
    if "matrix" in conditioning:
        assert joined[0].shape == (3, 5, classes, classes)
        assert torch.equal(joined[0][:, -1:], given.matrices)
        assert torch.equal(joined[0][:, :-1], early[0])
    else:
        assert torch.equal(joined[0], early[0])


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_a_generator_sees_its_conditioning_and_nothing_else(conditioning):
    generator = made(conditioning=conditioning).eval()
    latent = torch.randn(3, 64, generator=seeded(0))
    a, b = (generator.conditions(torch.tensor(labels)) for labels in ([0, 1, 2], [1, 2, 0]))
    before = generator(latent, a)
    others = {
        "label": Conditions(b.labels, a.vectors, a.matrices),
        "vector": Conditions(a.labels, b.vectors, a.matrices),
        "matrix": Conditions(a.labels, a.vectors, b.matrices),
    }
    seen = {name for name, c in others.items() if not torch.equal(generator(latent, c), before)}
    assert seen == set(conditioning.split("-"))
    assert not torch.equal(generator(latent + 1, a), before)


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_every_weight_of_a_generator_gets_a_gradient(conditioning):
    generator = made(conditioning=conditioning)
    images = generator(torch.randn(9, 64), generator.conditions(torch.arange(9) % 3))
    (images * pictures(9, 1, 8)).sum().backward()
    for name, parameter in generator.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_dropout_is_a_share_of_channels_and_can_be_left_out():
    rates = {m.p for m in made(10, 1, 28, dropout=0.5).modules() if isinstance(m, nn.Dropout2d)}
    assert rates == {0.5}
    without = made(10, 1, 28, dropout=0.0)
    assert not any(isinstance(module, nn.Dropout2d) for module in without.modules())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"conditioning": "none"}, "conditioning is 'none', known: 'label', 'vector', 'matrix'"),
        ({"vector": "warm"}, "vector is 'warm', known: 'soft', 'hot'"),
        ({"matrix": "row"}, "matrix is 'row', known: 'row and column', 'row or column'"),
        ({"classes": 1}, "1 classes and 8 pixels: at least 2 and 4 are needed"),
        ({"size": 3}, "3 classes and 3 pixels"),
    ],
)
def test_unknown_conditionings_and_small_sizes_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        made(**settings)


def test_an_unknown_matrix_is_refused_without_a_generator_too():
    with pytest.raises(ValueError, match="matrix is 'column'"):
        hot_matrix(torch.tensor([0]), 2, "column")


# --- the watched classifier ----------------------------------------------------------------------

CLASSIFIERS: dict[str, Callable[[], nn.Module]] = {
    "MLP": lambda: MLP(64, (9, 7), 3, first_std=None, generator=seeded(0)),
    "CNN": lambda: CNN(1, 8, 3, widths=(4,), hidden=7, generator=seeded(0)),
    "ViT": lambda: ViT(1, 8, 3, dim=8, depth=1, generator=seeded(0)),
    "RegularisedCNN": lambda: RegularisedCNN(1, 8, 3, width=4, hidden=7, generator=seeded(0)),
}


def mixed(classifier: nn.Module) -> nn.Module:
    """Some layers in training and some in evaluation mode, some weights frozen."""
    for i, module in enumerate(classifier.modules()):
        module.training = i % 2 == 0
    for i, parameter in enumerate(classifier.parameters()):
        parameter.requires_grad_(i % 3 > 0)
    return classifier


def condition_of(classifier: nn.Module) -> tuple:
    """Everything about a classifier that watching might change."""
    return (
        [module.training for module in classifier.modules()],
        [parameter.requires_grad for parameter in classifier.parameters()],
        [parameter.grad is None for parameter in classifier.parameters()],
        [len(module._forward_hooks) for module in classifier.modules()],
        [value.numpy().tobytes() for value in classifier.state_dict().values()],
    )


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_features_enter_the_last_linear_layer(name):
    classifier, x = CLASSIFIERS[name](), pictures(5, 1, 8)
    classifier.eval()
    if name == "MLP":
        hidden = x.flatten(1)
        for layer in classifier.layers[:-1]:
            hidden = layer(hidden).relu()
    else:
        hidden = classifier.features(x)
    with watched(classifier) as look:
        logits, features = look(x)
    assert torch.allclose(logits, classifier(x), atol=1e-6)
    assert features.shape == (5, 8 if name == "ViT" else 7)
    assert torch.allclose(features, hidden, atol=1e-6)


def test_features_of_a_named_layer_are_its_output_flattened():
    classifier, x = CLASSIFIERS["CNN"]().eval(), pictures(5, 1, 8)
    for layer in ("features.0", "features.2", "features", "head"):
        with watched(classifier, layer) as look:
            logits, features = look(x)
        if layer.startswith("features."):
            expected = classifier.features[: int(layer[-1]) + 1](x).flatten(1)
        else:
            expected = classifier.features(x) if layer == "features" else classifier(x)
        assert torch.equal(features, expected) and torch.equal(logits, classifier(x)), layer


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("raises", [False, True])
def test_afterwards_a_classifier_is_as_it_was(name, raises):
    classifier = mixed(CLASSIFIERS[name]())
    before = condition_of(classifier)
    try:
        with watched(classifier) as look:
            assert not any(module.training for module in classifier.modules())
            assert not any(parameter.requires_grad for parameter in classifier.parameters())
            look(pictures(5, 1, 8))
            if raises:
                raise KeyError("inside")
    except KeyError:
        assert raises
    assert condition_of(classifier) == before


def test_gradients_reach_the_images_and_not_the_classifier():
    classifier, x = CLASSIFIERS["RegularisedCNN"](), pictures(5, 1, 8).requires_grad_()
    with watched(classifier) as look:
        logits, features = look(x)
        (logits.sum() + features.sum()).backward()
    assert x.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in classifier.parameters())


def test_each_look_has_its_own_features():
    classifier = easy()
    with watched(classifier) as look:
        for seed in range(3):
            x = pictures(2, 1, 8, seed)
            assert torch.equal(look(x)[1], x.flatten(1))


def test_of_a_layer_that_is_used_twice_the_last_output_counts():
    classifier, x = nn.Sequential(nn.Linear(4, 4)), torch.randn(2, 4, generator=seeded(0))
    inner = classifier[0]
    classifier.forward = lambda x: inner(inner(x))
    for layer, expected in (("0", inner(inner(x))), (None, inner(x))):
        with watched(classifier, layer) as look:
            for _ in range(2):
                assert torch.equal(look(x)[1], expected)


def test_a_layer_that_does_not_exist_is_refused_with_those_that_do():
    classifier = mixed(CLASSIFIERS["MLP"]())
    before = condition_of(classifier)
    with pytest.raises(LookupError, match="no layer 'fc'; its layers: layers, layers.0, layers"):
        with watched(classifier, "fc"):
            pass
    assert condition_of(classifier) == before


def test_without_a_linear_layer_the_layer_must_be_named():
    classifier = nn.Sequential(nn.Conv2d(1, 3, 8), nn.Flatten())
    with pytest.raises(LookupError, match="no linear layer, so .* named; its layers: 0, 1"):
        with watched(classifier):
            pass
    with watched(classifier, "0") as look:
        logits, features = look(pictures(2, 1, 8))
    assert logits.shape == features.shape == (2, 3)


class HeadFirst(nn.Module):
    """It registers its last layer first."""

    def __init__(self):
        super().__init__()
        self.head, self.body = nn.Linear(5, 3), nn.Linear(64, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x.flatten(1)).relu())


def test_the_last_linear_layer_is_the_one_called_last():
    classifier, images = HeadFirst(), torch.rand(4, 1, 8, 8)
    with watched(classifier) as look:
        logits, features = look(images)
    assert features.shape == (4, 5)
    assert torch.equal(classifier.head(features), logits)


def test_a_layer_that_is_not_used_is_refused():
    classifier = easy()
    classifier.forward = lambda x: x.flatten(1) @ classifier[1].weight.T
    before = condition_of(classifier)
    with pytest.raises(LookupError, match="does not call its layer '1'"):
        attacked(classifier, layer="1")
    assert condition_of(classifier) == before


# --- images --------------------------------------------------------------------------------------


def test_samples_are_balanced_and_judged_by_the_classifier():
    classifier, generator = CLASSIFIERS["CNN"](), made()
    for seed in range(3):
        found = sample(generator, classifier, 11, seed=seed, batch=4)
        assert found.labels.bincount().tolist() == [4, 4, 3]
    assert found.images.shape == (11, 1, 8, 8) and not found.images.requires_grad
    assert torch.equal(found.vectors.argmax(1), found.labels)
    with torch.no_grad():
        assert torch.allclose(found.logits, classifier(found.images), atol=1e-6)
        assert torch.allclose(found.features, classifier.features(found.images), atol=1e-6)
    assert torch.equal(found.correct, found.logits.argmax(1) == found.labels)
    assert torch.allclose(found.confidence, found.logits.softmax(1).max(1).values)
    named = sample(generator, classifier, 11, seed=seed, batch=4, layer="head")
    assert torch.equal(named.features, found.logits)


def test_a_seed_gives_the_same_images_and_another_seed_others():
    classifier, generator = easy(), made()
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one = sample(generator, classifier, 6, seed=1).images
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    assert torch.equal(sample(generator, classifier, 6, seed=1).images, one)
    assert not torch.equal(sample(generator, classifier, 6, seed=2).images, one)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_dropout_is_on_and_batch_norm_off_when_images_are_made(dropout, monkeypatch):
    generator = made(dropout=dropout)
    attacked(generator=generator)  # running statistics that are not 0 and 1
    given = generator.conditions(torch.zeros(40, dtype=torch.int64))
    given = Conditions(given.labels, given.vectors[:1].expand(40, 3), given.matrices)
    monkeypatch.setattr(torch, "randn", lambda *shape, **settings: torch.ones(*shape))
    before = condition_of(mixed(generator))
    images = generate(generator, given)
    assert condition_of(generator) == before
    differ = (images - images[:1]).abs().amax((1, 2, 3)) > 1e-4
    assert differ.any() == (dropout > 0)  # 40 equal latent vectors under equal conditions
    if not dropout:
        ones = torch.ones(40, generator.latent)
        assert torch.allclose(images, generator.eval()(ones, given), atol=1e-6)


def test_sampling_leaves_generator_and_classifier_as_they_were():
    classifier, generator = mixed(CLASSIFIERS["RegularisedCNN"]()), mixed(made())
    before = condition_of(classifier), condition_of(generator)
    sample(generator, classifier, 6, seed=0)
    assert (condition_of(classifier), condition_of(generator)) == before


# --- inversion -----------------------------------------------------------------------------------


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_an_easy_classifier_is_inverted(conditioning):
    generator = made(conditioning=conditioning, vector="hot", width=16, dropout=0.1)
    history = attacked(
        generator=generator, steps=60, batch=32, lr=0.01, observe_at=(20, 40), observed=60
    )
    assert history["step"] == [0, 20, 40, 60]
    assert history["accuracy"][0] < 0.7 and history["accuracy"][-1] == 1
    assert history["worst_class"][-1] == 1
    assert history["ce"][1] > history["ce"][2] > history["ce"][3]
    assert history["confidence"][-1] > history["confidence"][0]
    assert complaint(history) is None
    assert sample(generator, easy(), 60, seed=1).correct.float().mean() > 0.95


def test_the_history_has_every_name_and_all_observations():
    history = attacked(steps=5, observe_at=(2, 4, 9), weights={"kl": 1.0})
    assert set(history) == HISTORY
    assert history["step"] == [0, 2, 4, 5]
    assert {len(values) for values in history.values()} == {4}
    for name, values in history.items():
        assert all(isinstance(value, (int, float)) for value in values)
        assert math.isnan(values[0]) == (name in LOSS_TERMS)
        assert not any(math.isnan(value) for value in values[1:])
    assert attacked(steps=5, observe_at=(5,))["step"] == [0, 5]
    assert attacked(steps=1)["step"] == [0, 1]


def test_terms_are_means_since_the_last_observation(monkeypatch):
    seen = {"cross_entropy": [], "kl_divergence": []}
    for name, values in seen.items():
        term = getattr(losses, name)

        def watch(*given, term=term, values=values):
            values.append(term(*given))
            return values[-1]

        monkeypatch.setattr(losses, name, watch)
    history = attacked(steps=7, observe_at=(3,))
    for name, values in (("ce", seen["cross_entropy"]), ("kl", seen["kl_divergence"])):
        values = [value.item() for value in values]
        assert len(values) == 7
        expected = [sum(values[:3]) / 3, sum(values[3:]) / 4]
        assert history[name][1:] == pytest.approx(expected, rel=1e-5)


def test_terms_compare_the_asked_distribution_and_the_features(monkeypatch):
    given = {}
    for name in ("kl_divergence", "cross_entropy", "cosine_similarity", "orthogonality"):

        def watch(*tensors, name=name, term=getattr(losses, name)):
            if any(tensor.requires_grad for tensor in tensors):  # in a step, not an observation
                given[name] = tensors
            return term(*tensors)

        monkeypatch.setattr(losses, name, watch)
    attacked(CLASSIFIERS["CNN"]())
    (vectors, logits), (same, labels) = given["kl_divergence"], given["cross_entropy"]
    assert logits is same and logits.shape == vectors.shape == (6, 3)
    assert 1 / 3 < vectors.amax() < 1 and torch.equal(vectors.argmax(1), labels)
    assert given["cosine_similarity"][0] is given["orthogonality"][0]
    assert given["cosine_similarity"][0].shape == (6, 7)


def test_observations_are_those_of_samples_by_hand():
    correct = torch.tensor([[2.0, 0, 0], [0, 1, 0], [0, 1, 0], [3, 0, 0], [0, 0, 0], [0, 4, 0]])
    features = torch.tensor([[1.0, 0], [1, 1], [1, 0], [0, 2], [2, 2], [-3, 0]])
    images = torch.zeros(6, 1, 2, 2)
    images[3:] = torch.tensor([2.0, 4.0, 6.0])[:, None, None, None]  # std √2, 2√2, 3√2
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    found = inversion._observation(
        inversion.Samples(images, labels, torch.eye(3)[labels], correct, features)
    )
    assert found["accuracy"] == pytest.approx(3 / 6)
    assert found["worst_class"] == 0
    assert found["confidence"] == pytest.approx(correct.softmax(1).amax(1).mean().item())
    assert found["diversity"] == pytest.approx(1 - (0 + 1 - 1) / 3)
    assert found["pixel_std"] == pytest.approx(2 * 2**0.5, rel=1e-6)


@pytest.mark.parametrize("name", LOSS_TERMS)
def test_only_terms_with_a_weight_act(name, monkeypatch):
    functions = {
        "kl": "kl_divergence",
        "ce": "cross_entropy",
        "cosine": "cosine_similarity",
        "orthogonality": "orthogonality",
    }
    alone, named = made(), made()
    attacked(CLASSIFIERS["CNN"](), alone, weights={name: 1.0})
    for other in set(LOSS_TERMS) - {name}:
        term = getattr(losses, functions[other])
        monkeypatch.setattr(
            losses, functions[other], lambda *given, term=term: term(*given).detach()
        )
    everything = dict.fromkeys(LOSS_TERMS, 1.0)  # but the others have no gradient
    attacked(CLASSIFIERS["CNN"](), named, weights=everything)
    start = made().state_dict()
    for key, value in alone.named_parameters():
        assert torch.equal(value, named.get_parameter(key)), key
    assert not torch.equal(alone.get_parameter("late.0.weight"), start["late.0.weight"])


@pytest.mark.parametrize("name", LOSS_TERMS)
def test_a_term_alone_falls(name):
    history = attacked(
        CLASSIFIERS["CNN"](), made(vector="hot"), steps=40, weights={name: 1.0}, batch=32,
        lr=0.01, observe_at=(3, 35),
    )  # fmt: skip
    assert history[name][-1] < history[name][1]


def test_the_cosine_term_alone_does_not_make_labels():
    history = attacked(
        steps=40, weights={"cosine": 1.0}, batch=32, lr=0.01, observe_at=(5,), observed=60
    )
    assert history["cosine"][-1] < 0.5 * history["cosine"][1]
    assert history["diversity"][-1] > history["diversity"][0]
    assert history["accuracy"][-1] < 0.7


def test_a_weight_scales_its_term():
    """Adam does not see the scale of the loss, but that of one term against another."""

    def after(**weights: float) -> Tensor:
        generator = made()
        attacked(CLASSIFIERS["CNN"](), generator, weights=weights)
        return generator.get_parameter("late.0.weight")

    assert torch.allclose(after(ce=1, cosine=2), after(ce=4, cosine=8), atol=1e-4)
    assert not torch.allclose(after(ce=1, cosine=2), after(ce=2, cosine=1), atol=1e-4)
    assert not torch.allclose(after(cosine=1), after(cosine=-1), atol=1e-4)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_classifier_is_not_changed(name):
    classifier = mixed(CLASSIFIERS[name]())
    before = condition_of(classifier)
    attacked(classifier, weights=dict.fromkeys(LOSS_TERMS, 1.0))
    assert condition_of(classifier) == before


def test_a_seed_gives_the_same_history_and_the_global_random_state_is_left_alone():
    classifier, weights = CLASSIFIERS["CNN"](), dict.fromkeys(LOSS_TERMS, 1.0)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one = attacked(classifier, weights=weights, seed=1)
    assert torch.equal(torch.get_rng_state(), state) and torch.initial_seed() == 5
    torch.manual_seed(6)
    assert equal(attacked(classifier, weights=weights, seed=1), one)
    assert not equal(attacked(classifier, weights=weights, seed=2), one)


def test_bfloat16_comes_close_and_float32_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exact = attacked(CLASSIFIERS["CNN"]())
    rounded = attacked(CLASSIFIERS["CNN"](), dtype=torch.bfloat16)
    assert rounded["ce"][-1] != exact["ce"][-1]
    assert rounded["ce"][-1] == pytest.approx(exact["ce"][-1], abs=0.05)
    generator = made()
    attacked(CLASSIFIERS["CNN"](), generator, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in generator.parameters()} == {torch.float32}


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    from torchvision.models import resnet18  # slow to import

    return resnet18(weights=None, num_classes=10)


@pytest.mark.parametrize("layer", [None, "avgpool"])
def test_a_network_of_torchvision_can_be_inverted(resnet, layer):
    generator = made(10, 3, 32)
    before = condition_of(resnet)
    found = attacked(
        resnet, generator, steps=1, weights=dict.fromkeys(LOSS_TERMS, 1.0), layer=layer, batch=4,
        observed=20,
    )  # fmt: skip
    assert set(found) == HISTORY and math.isfinite(found["ce"][-1])
    assert condition_of(resnet) == before
    assert sample(generator, resnet, 4, seed=0, layer=layer).features.shape == (4, 512)


def test_a_readers_checkpoint_can_be_inverted(tmp_path):
    def own(seed: int) -> nn.Module:
        return CNN(1, 8, 3, widths=(4,), hidden=7, generator=seeded(seed))

    state = {f"module.{name}": value for name, value in own(0).state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "mine.pt")
    loaded = load_checkpoint(tmp_path / "mine.pt", own(1))
    assert equal(attacked(loaded), attacked(own(0)))


# --- what is refused -----------------------------------------------------------------------------


class Single(nn.Module):
    """One logit an image, as [n]."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(1)).squeeze(1)


class Picky(nn.Sequential):
    """It asserts its size, as torchvision's vision transformers do."""

    def __init__(self):
        super().__init__(nn.Linear(64, 3))

    def forward(self, x: Tensor) -> Tensor:
        raise AssertionError("the height is wrong")


@pytest.mark.parametrize(
    ("classifier", "settings", "message"),
    [
        (easy(), {"weights": {"l2": 1.0}}, "weights {'l2': 1.0} .* kl, ce, cosine"),
        (easy(), {"weights": {}}, "at least one step and one weight that is not 0"),
        (easy(), {"weights": {"ce": 0, "kl": 0.0}}, "at least one step and one weight"),
        (easy(), {"steps": 0}, "in 0 steps"),
        (easy(size=7), {}, r"does not take images \[1, 8, 8\]"),
        (CNN(3, 8, 3), {}, r"does not take images \[1, 8, 8\]"),
        (easy(4), {}, r"output is \[4\] an image; the generator was made for 3 classes"),
        (Single(), {}, r"output is \[\] an image; the generator was made for 3 classes"),
        (easy(), {"batch": 1}, "n of at least 2"),
        (easy(), {"observed": 5}, "5 observed images are not two of each class"),
        (Picky(), {}, r"does not take images \[1, 8, 8\]: the height is wrong"),
    ],
)
def test_what_cannot_be_inverted_is_refused(classifier, settings, message):
    before = condition_of(classifier)
    state = torch.get_rng_state()
    with pytest.raises(ValueError, match=message):
        attacked(classifier, **settings)
    assert condition_of(classifier) == before
    assert torch.equal(torch.get_rng_state(), state)


def test_one_logit_is_refused_for_two_classes_too():
    """Two images give two numbers, which are not the logits of two classes."""
    with pytest.raises(ValueError, match="made for 2 classes"):
        attacked(Single(), made(2))


class Breaks(nn.Module):
    """Its logits are NaN from some training step on."""

    def __init__(self, step: int):
        super().__init__()
        self.net, self.left = easy(), step

    def forward(self, x: Tensor) -> Tensor:
        self.left -= torch.is_grad_enabled()  # observations do not count
        return self.net(x) * (float("nan") if self.left <= 0 else 1)


@pytest.mark.parametrize(
    ("step", "observe_at"), [(1, ()), (4, ()), (4, (3, 6)), (5, (5,)), (7, (4,))]
)
def test_a_loss_that_is_not_finite_names_the_step(step, observe_at):
    with pytest.raises(Diverged, match=f"not finite at step {step}: lower the learning rate"):
        attacked(Breaks(step), steps=7, observe_at=observe_at)


def test_an_absurd_learning_rate_diverges():
    classifier = mixed(easy())
    before, state = condition_of(classifier), torch.get_rng_state()
    with pytest.raises(Diverged, match="at step 2"):
        attacked(classifier, steps=5, lr=1e30)
    assert condition_of(classifier) == before
    assert torch.equal(torch.get_rng_state(), state)
    assert issubclass(Diverged, ArithmeticError)


def test_a_run_whose_last_step_breaks_the_generator_has_diverged():
    with pytest.raises(Diverged, match="not finite after step 1"):
        attacked(steps=1, lr=1e30)


def test_divergence_is_noticed_within_a_hundred_steps():
    classifier = Breaks(2)
    with pytest.raises(Diverged, match="at step 2"):
        attacked(classifier, made(width=1, latent=1), steps=10_000, batch=2)
    assert classifier.left == 2 - 100


def history(**last: float) -> dict[str, list[float]]:
    good = {"step": 300, "accuracy": 0.97, "pixel_std": 0.3}
    return {name: [0.0, value] for name, value in (good | last).items()}


def test_a_good_run_has_no_complaint():
    assert complaint(history()) is None
    assert complaint(history(accuracy=0.95, pixel_std=0.02)) is None


def test_a_collapsed_run_is_named_before_anything_else():
    for accuracy in (1.0, 0.1):
        assert complaint(history(pixel_std=0.019, accuracy=accuracy)) == (
            "The generator has collapsed: after 300 steps the images of a class differ by 0.95% "
            "of the range of pixels."
        )


def test_a_run_that_did_not_converge_is_named():
    found = complaint(history(accuracy=0.949))
    assert found == (
        "The generator has not converged: after 300 steps the classifier names the wanted label "
        "for 94.9% of its images."
    )
    assert complaint(history(accuracy=0.949), accuracy=0.9) is None
    assert complaint(history(accuracy=0.99), accuracy=0.995) is not None


# --- what the attack is told ---------------------------------------------------------------------


TOLD = [invert, sample, generate, watched, Generator, Generator.forward, Generator.conditions]


@pytest.mark.parametrize("function", TOLD)
def test_the_attack_is_told_of_no_training_data(function):
    names = set(inspect.signature(function).parameters)
    assert not names & {"images", "x", "y", "data", "dataset", "training", "train", "truth"}
    assert "labels" not in names or function is Generator.conditions  # those it asks for


def test_generators_of_one_seed_are_equal():
    one, same = made(), made()
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters()))
    again = copy.deepcopy(one)
    assert equal(attacked(generator=one), attacked(generator=again))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), again.parameters()))
