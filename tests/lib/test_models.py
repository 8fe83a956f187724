"""Initialisation, homogeneity and parameter counts of the MLP."""

import pytest
import torch

from lib.models import MLP


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_shapes_of_one_and_of_many_outputs():
    images = torch.rand(5, 3, 4, 4)
    assert MLP(48, (7,))(images).shape == (5,)
    assert MLP(48, (7,), 10)(images.flatten(1)).shape == (5, 10)
    assert MLP(48, (7,))(images[:1]).shape == (1,)


def test_images_are_flattened_and_the_layers_are_relu():
    model = MLP(4, (3, 2), first_std=None, generator=seeded(0))
    x = torch.randn(6, 1, 2, 2, generator=seeded(1))
    w1, b1, w2, w3 = model.parameters()
    a1 = (x.reshape(6, 4) @ w1.T + b1).clamp(min=0)
    assert torch.allclose(model(x), ((a1 @ w2.T).clamp(min=0) @ w3.T)[:, 0], atol=1e-7)


def test_a_seed_gives_the_same_network_and_another_seed_another():
    first, again, other = (MLP(6, (5, 4), generator=seeded(s)) for s in (3, 3, 4))
    for a, b, c in zip(first.parameters(), again.parameters(), other.parameters()):
        assert torch.equal(a, b) and not torch.equal(a, c)


@pytest.mark.parametrize("std", [1e-4, 0.3])
def test_first_layer_has_the_given_deviation_and_the_others_pytorchs(std):
    model = MLP(400, (500, 300), first_std=std, generator=seeded(0))
    for parameter, tolerance in zip(model.layers[0].parameters(), (0.01, 0.1)):
        assert parameter.std().item() == pytest.approx(std, rel=tolerance)
    second = model.layers[1].weight
    assert second.abs().max() <= 500**-0.5
    assert second.std().item() == pytest.approx((3 * 500) ** -0.5, rel=0.01)


def test_without_a_deviation_the_first_layer_is_uniform():
    weight = MLP(400, (500,), first_std=None, generator=seeded(0)).layers[0].weight
    assert weight.abs().max() <= 1 / 20
    assert weight.std().item() == pytest.approx(1 / 20 / 3**0.5, rel=0.01)


def test_where_the_biases_are():
    def biases(**variant) -> list[bool]:
        return [layer.bias is not None for layer in MLP(4, (3, 3, 3), **variant).layers]

    assert biases() == [True, False, False, False]
    assert biases(homogeneous=False) == [True, True, True, False]


@pytest.mark.parametrize("widths", [(8,), (8, 6), (8, 6, 5)])
def test_the_output_is_homogeneous_of_the_networks_depth(widths):
    model = MLP(5, widths, first_std=1.0, generator=seeded(0), dtype=torch.float64)
    x = torch.randn(9, 5, generator=seeded(1), dtype=torch.float64)
    before = model(x).detach()
    c, depth = 1.7, len(widths) + 1
    with torch.no_grad():
        model.layers[0].bias.mul_(c)
        for layer in model.layers:
            layer.weight.mul_(c)
    assert before.abs().max() > 0.01
    assert torch.allclose(model(x), c**depth * before, rtol=1e-12)


def test_the_variant_with_all_biases_is_not_homogeneous():
    model = MLP(5, (8, 6), first_std=1.0, homogeneous=False, generator=seeded(0))
    x = torch.randn(9, 5, generator=seeded(1))
    before = model(x).detach()
    with torch.no_grad():
        model.layers[0].bias.mul_(2)
        for layer in model.layers:
            layer.weight.mul_(2)
    assert not torch.allclose(model(x), 8 * before, rtol=1e-3)


@pytest.mark.parametrize(
    ("widths", "count"), [((1000, 1000), 4_074_000), ((100, 100), 317_400)]
)
def test_parameter_counts_of_paper_004(widths, count):  # H04
    assert sum(p.numel() for p in MLP(3072, widths).parameters()) == count


def test_only_the_wide_network_has_more_equations_than_unknowns():  # H04
    assert 4_074_000 > 500 * 3072 > 317_400


def test_dtype_is_that_of_all_parameters():
    model = MLP(3, (4,), dtype=torch.float64)
    assert {p.dtype for p in model.parameters()} == {torch.float64}


def test_no_hidden_layer_is_refused():
    with pytest.raises(ValueError, match="at least one hidden layer"):
        MLP(3, ())
