"""What a classifier says of images, and that it is left as it was."""

import pytest
import torch
from small_networks import CLASSIFIERS, Fussy, condition_of, easy, mixed, pictures, seeded
from torch import Tensor, nn

from lib import predict
from lib.predict import one_output, watched

# --- logits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_logits_are_those_of_evaluation_mode_and_the_mode_comes_back(training):
    images = pictures(7, 2, 3)
    model = Fussy(18, 4).train(training)
    found = predict.logits(model, images)
    assert torch.allclose(found, model.linear(images.flatten(1)), atol=1e-6)
    assert model.training is training and model.dropout.training is training
    assert not any(model.modes) and not found.requires_grad


@pytest.mark.parametrize("batch", [1, 3, 7, 100])
def test_logits_in_batches_equal_one_pass(batch):
    images = pictures(7, 2, 3)
    model = Fussy(18, 4)
    once = predict.logits(model, images, batch=7)
    model.sizes.clear()
    assert torch.allclose(predict.logits(model, images, batch=batch), once, atol=1e-6)
    assert max(model.sizes) <= batch and sum(model.sizes) == 7
    assert not torch.allclose(once[0], once[1])


def test_logits_are_float32_in_any_precision():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).bfloat16()
    found = predict.logits(model, torch.rand(3, 1, 2, 2).bfloat16())
    assert found.dtype == torch.float32


def test_one_output_is_flattened_and_several_are_refused():
    outputs = torch.arange(3.0)
    assert torch.equal(one_output(outputs), outputs)
    assert torch.equal(one_output(outputs[:, None]), outputs)
    assert one_output(torch.zeros(1, 1)).shape == (1,)
    for shape in ((3, 2), (3, 0), (3, 1, 1), ()):
        with pytest.raises(ValueError, match="of one output, whose sign is the label"):
            one_output(torch.zeros(shape))


@pytest.mark.parametrize("outputs", [1, 3])
def test_logits_and_features_of_any_number_of_outputs(outputs):
    model, images = nn.Sequential(nn.Flatten(), nn.Linear(18, outputs)), pictures(7, 2, 3)
    found, features = predict.logits_and_features(model, images)
    assert found.shape == (7, outputs) and torch.equal(features, images.flatten(1))
    assert torch.equal(predict.logits(model, images), found)


# --- the watched classifier ----------------------------------------------------------------------


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
