"""Initialisation, homogeneity and invariances of the classifiers, and their parameter counts."""

import functools
import math

import pytest
import torch
import torch.nn.functional as F

from lib.models import (
    CNN,
    MLP,
    Attention,
    Block,
    RegularisedCNN,
    ViT,
    count_parameters,
    matched_width,
)


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


@pytest.mark.parametrize(("widths", "count"), [((1000, 1000), 4_074_000), ((100, 100), 317_400)])
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


# --- CNN and ViT ---------------------------------------------------------------------------------

NETWORKS = {
    "CNN": CNN,
    "CNN average": functools.partial(CNN, pool="average"),
    "CNN circular": functools.partial(CNN, padding="circular"),
    "CNN average circular": functools.partial(CNN, pool="average", padding="circular"),
    "ViT": ViT,
    "ViT no positions": functools.partial(ViT, positions="none"),
}


def pictures(n: int, channels: int, size: int) -> torch.Tensor:
    return torch.randn(n, channels, size, size, generator=seeded(9))


def permuted_tokens(images: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """The same 4 x 4 squares of each image, in another order."""
    n, c, size, _ = images.shape
    side = size // 4
    squares = images.reshape(n, c, side, 4, side, 4).permute(0, 2, 4, 1, 3, 5)
    squares = squares.reshape(n, side**2, c, 4, 4)[:, order].reshape(n, side, side, c, 4, 4)
    return squares.permute(0, 3, 1, 4, 2, 5).reshape(n, c, size, size)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [20, 28, 32])
def test_logits_are_features_and_a_linear_head(name, channels, size):
    model = NETWORKS[name](channels, size, 7, generator=seeded(0))
    x = pictures(3, channels, size)
    features = model.features(x)
    assert features.shape == (3, 64) and features.std() > 0
    assert model(x).shape == (3, 7)
    expected = features @ model.head.weight.T + model.head.bias
    assert torch.allclose(model(x), expected, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_seed_gives_the_same_cnn_or_vit_and_another_seed_another(name):
    first, again, other = (NETWORKS[name](1, 20, generator=seeded(s)) for s in (3, 3, 4))
    for key, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[key])
        if value.std() > 0:  # layer norms start at 1 and 0
            assert not torch.equal(value, other.state_dict()[key])
    x = pictures(2, 1, 20)
    assert not torch.allclose(first(x), other(x), atol=1e-3)


@pytest.mark.parametrize("name", ["CNN", "ViT"])
def test_the_global_random_state_does_not_matter(name):
    models = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        models.append(NETWORKS[name](3, 20, generator=seeded(3)))
    for a, b in zip(models[0].parameters(), models[1].parameters()):
        assert torch.equal(a, b)


def test_weights_of_a_cnn_start_uniform_within_one_over_the_root_of_fan_in():
    model = CNN(3, 32, widths=(200, 300), hidden=500, generator=seeded(0))
    fan_in = {"features.0": 27, "features.3": 1800, "features.7": 300 * 64, "head": 500}
    for name, fan in fan_in.items():
        weight = model.get_submodule(name).weight
        assert weight.abs().max() <= fan**-0.5
        assert weight.std().item() == pytest.approx((3 * fan) ** -0.5, rel=0.03)
        assert 0 < model.get_submodule(name).bias.abs().max() <= fan**-0.5


def test_a_cnn_by_hand():
    """One stage on 2 x 2 pixels: every kernel that shifts the image, then the largest pixel."""
    model = CNN(1, 2, 3, widths=(2,), hidden=4, generator=seeded(0))
    x = pictures(5, 1, 2)
    convolution, hidden = model.features[0], model.features[-2]
    padded = torch.zeros(5, 4, 4)
    padded[:, 1:3, 1:3] = x[:, 0]
    seen = torch.stack(
        [
            torch.stack(
                [
                    (padded[:, i : i + 3, j : j + 3] * kernel[0]).sum((1, 2))
                    for i in (0, 1)
                    for j in (0, 1)
                ]
            ).amax(0)
            for kernel in convolution.weight
        ],
        dim=1,
    )
    pooled = (seen + convolution.bias).clamp(min=0)
    features = (pooled @ hidden.weight.T + hidden.bias).clamp(min=0)
    assert torch.allclose(model.features(x), features, atol=1e-6)


SHIFTS = [(4, 0), (0, 8), (-4, 12)]


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("size", [20, 28, 32])
def test_an_averaging_circular_cnn_cannot_see_a_shift_by_its_period(shift, size):
    model = NETWORKS["CNN average circular"](3, size, generator=seeded(0))
    x = pictures(4, 3, size)
    assert torch.allclose(model(x.roll(shift, (2, 3))), model(x), atol=1e-6)
    assert not torch.allclose(model(x.flip(0)), model(x), atol=1e-3)


def test_it_does_see_a_shift_by_less_than_its_period():
    model = NETWORKS["CNN average circular"](3, 20, generator=seeded(0))
    x = pictures(4, 3, 20)
    for shift in (1, 2, 3):
        assert not torch.allclose(model(x.roll(shift, 2)), model(x), atol=1e-4)


@pytest.mark.parametrize("name", ["CNN", "CNN average", "CNN circular"])
@pytest.mark.parametrize("shift", SHIFTS)
def test_other_cnns_see_every_shift(name, shift):
    model = NETWORKS[name](3, 20, generator=seeded(0))
    x = pictures(4, 3, 20)
    assert not torch.allclose(model(x.roll(shift, (2, 3))), model(x), atol=1e-4)


@pytest.mark.parametrize("size", [20, 28, 32])
def test_a_vit_without_positions_cannot_see_the_order_of_its_tokens(size):
    x = pictures(3, 3, size)
    order = torch.randperm((size // 4) ** 2, generator=seeded(2))
    moved = permuted_tokens(x, order)
    assert not torch.equal(moved, x)
    assert torch.equal(permuted_tokens(moved, order.argsort()), x)
    blind, seeing = (ViT(3, size, positions=p, generator=seeded(0)) for p in ("none", "learned"))
    assert torch.allclose(blind(moved), blind(x), atol=1e-5)
    assert not torch.allclose(seeing(moved), seeing(x), atol=1e-4)


def test_a_vit_without_positions_sees_what_is_inside_a_token():
    model = NETWORKS["ViT no positions"](1, 20, generator=seeded(0))
    x = pictures(3, 1, 20)
    assert not torch.allclose(model(x.roll(2, 3)), model(x), atol=1e-4)


def test_the_two_vits_differ_in_their_positions_alone():
    learned, none = (ViT(1, 28, positions=p, generator=seeded(0)) for p in ("learned", "none"))
    assert learned.positions.shape == (49, 64) and none.positions is None
    assert learned.positions.std().item() == pytest.approx(0.02, rel=0.05)
    x = pictures(3, 1, 28)
    assert not torch.allclose(learned(x), none(x), atol=1e-5)
    with torch.no_grad():
        learned.positions.zero_()
    assert torch.equal(learned(x), none(x))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("patch", [2, 4])
def test_tokens_are_a_strided_convolution(channels, patch):
    model = ViT(channels, 20, patch=patch, generator=seeded(0))
    seen = []
    model.embed.register_forward_hook(lambda module, inputs, output: seen.append(output))
    x = pictures(3, channels, 20)
    model(x)
    kernels = model.embed.weight.reshape(64, channels, patch, patch)
    expected = F.conv2d(x, kernels, model.embed.bias, stride=patch).flatten(2).transpose(1, 2)
    assert seen[0].shape == (3, (20 // patch) ** 2, 64)
    assert torch.allclose(seen[0], expected, atol=1e-5)


def test_without_blocks_the_features_are_the_mean_of_normalised_tokens():
    model = ViT(1, 20, depth=0, generator=seeded(0))
    x = pictures(3, 1, 20)
    tokens = F.unfold(x, 4, stride=4).transpose(1, 2) @ model.embed.weight.T + model.embed.bias
    tokens = tokens + model.positions
    centred = tokens - tokens.mean(2, keepdim=True)
    normal = centred / (centred.square().mean(2, keepdim=True) + 1e-5).sqrt()
    assert torch.allclose(model.features(x), normal.mean(1), atol=1e-5)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attention_equals_pytorchs(heads):
    module = Attention(8, heads).double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, generator=seeded(1))
    x = torch.randn(3, 5, 8, generator=seeded(0), dtype=torch.float64)
    query, key, value = (
        part.reshape(3, 5, heads, 8 // heads).transpose(1, 2)
        for part in (x @ module.inward.weight.T + module.inward.bias).chunk(3, dim=2)
    )
    mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(3, 5, 8)
    expected = mixed @ module.outward.weight.T + module.outward.bias
    assert torch.allclose(module(x), expected, rtol=1e-10, atol=1e-12)


def test_attention_by_hand_in_one_dimension():
    """Query, key and value are x itself: two tokens 0 and log 3 attend to each other."""
    module = Attention(1, 1).double()
    for parameter, value in zip(module.parameters(), (1.0, 0.0, 1.0, 0.0)):
        torch.nn.init.constant_(parameter, value)
    a = math.log(3) ** 0.5
    x = torch.tensor([[[0.0], [a]]], dtype=torch.float64)
    assert module(x).flatten().tolist() == pytest.approx([a / 2, 3 * a / 4], rel=1e-12)


def test_a_block_adds_attention_and_then_an_mlp_each_of_normalised_tokens():
    block = Block(8, 2, 12)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, generator=seeded(1))
    x = torch.randn(3, 5, 8, generator=seeded(0))
    (norm, attention), (second, rise, _, fall) = block.attention, block.mlp
    middle = x + attention(F.layer_norm(x, (8,), norm.weight, norm.bias))
    hidden = F.layer_norm(middle, (8,), second.weight, second.bias) @ rise.weight.T + rise.bias
    expected = middle + hidden.clamp(min=0) @ fall.weight.T + fall.bias
    assert rise.out_features == 12
    assert torch.allclose(block(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [*NETWORKS, "MLP"])
def test_every_parameter_gets_a_gradient(name):
    build = NETWORKS.get(name, lambda c, s, **k: MLP(c * s * s, (9, 8), 10, first_std=None, **k))
    model = build(1, 20, generator=seeded(0))
    x, labels = pictures(20, 1, 20), torch.arange(20) % 10
    F.cross_entropy(model(x), labels).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, key
        assert torch.isfinite(parameter.grad).all(), key


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: CNN(1, 20, pool="max"), "pool is 'max', known: 'flatten', 'average'"),
        (lambda: CNN(1, 20, padding="same"), "padding is 'same', known: 'zeros', 'circular'"),
        (lambda: ViT(1, 20, positions="sine"), "positions is 'sine', known: 'learned', 'none'"),
        (lambda: CNN(1, 30), "2 stages cannot halve an image of 30 pixels"),
        (lambda: CNN(1, 20, widths=(4, 4, 4)), "3 stages cannot halve an image of 20"),
        (lambda: CNN(1, 20, widths=()), "0 stages"),
        (lambda: ViT(1, 30), "patches of 4 pixels do not tile an image of 30"),
        (lambda: ViT(1, 20, dim=64, heads=3), "3 heads do not divide 64"),
    ],
)
def test_unknown_switches_and_sizes_that_do_not_divide_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


# --- sizes ---------------------------------------------------------------------------------------


def test_parameters_are_counted_by_hand():
    assert count_parameters(MLP(6, (5, 4), 3)) == 6 * 5 + 5 + 5 * 4 + 4 * 3
    cnn = CNN(3, 8, 10, widths=(2, 4), hidden=5)
    assert count_parameters(cnn) == 3 * 2 * 9 + 2 + 2 * 4 * 9 + 4 + 4 * 2 * 2 * 5 + 5 + 5 * 10 + 10
    block = 2 * 16 + 8 * 24 + 24 + 8 * 8 + 8 + 8 * 16 + 16 + 16 * 8 + 8
    vit = ViT(3, 8, 10, dim=8, depth=2, heads=2)
    assert count_parameters(vit) == 48 * 8 + 8 + 4 * 8 + 2 * block + 16 + 8 * 10 + 10


@pytest.mark.parametrize(("channels", "size"), [(1, 20), (1, 28), (3, 32)])
@pytest.mark.parametrize("family", ["MLP", "CNN"])
def test_a_matched_width_has_the_parameters_of_the_vit_within_a_tenth(family, channels, size):
    def build(width: int):
        if family == "CNN":
            return CNN(channels, size, hidden=width)
        return MLP(channels * size**2, (width, width), 10, homogeneous=False)

    target = count_parameters(ViT(channels, size))
    width = matched_width(build, target)
    off = {w: abs(count_parameters(build(w)) - target) for w in (width - 1, width, width + 1)}
    assert off[width] <= 0.1 * target
    assert off[width] == min(off.values())


@pytest.mark.parametrize("target", [8, 9, 11, 12, 17, 500, 12345])
def test_the_matched_width_is_the_closest_of_all(target):
    def build(width: int) -> torch.nn.Module:
        return torch.nn.Linear(3, width)  # 4 w parameters

    width = matched_width(build, target, within=0.5)
    assert abs(4 * width - target) == min(abs(4 * w - target) for w in range(1, target))


def test_a_match_that_is_impossible_is_refused():
    def build(width: int) -> torch.nn.Module:
        return torch.nn.Linear(99, width)

    with pytest.raises(ValueError, match="closest to 50 parameters is 100, at width 1"):
        matched_width(build, 50)
    with pytest.raises(ValueError, match="closest to 260 parameters is 300, at width 3"):
        matched_width(build, 260)
    assert matched_width(build, 260, within=0.2) == matched_width(build, 300) == 3


# --- the regularised CNN -------------------------------------------------------------------------


def regularised(channels: int, size: int, *, seed: int = 0, **settings) -> RegularisedCNN:
    settings = {"width": 4, "hidden": 9} | settings
    return RegularisedCNN(channels, size, 7, generator=seeded(seed), **settings)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [4, 7, 20, 28, 30, 32])
def test_logits_of_a_regularised_cnn_are_features_and_a_linear_head(channels, size):
    model, x = regularised(channels, size).eval(), pictures(5, channels, size)
    features = model.features(x)
    assert features.shape == (5, 9) and features.std() > 0
    assert model(x).shape == (5, 7)
    expected = features @ model.head.weight.T + model.head.bias
    assert torch.allclose(model(x), expected, atol=1e-6)


def test_a_regularised_cnn_in_evaluation_mode_by_hand():
    model, x = regularised(1, 8).eval(), pictures(5, 1, 8)
    hidden = x
    for at, stride, side in ((0, 2, 4), (4, 2, 2), (8, 1, 2)):
        convolution, norm = model.features[at], model.features[at + 1]
        with torch.no_grad():
            norm.running_mean.normal_(generator=seeded(at))
            norm.running_var.uniform_(0.5, 2, generator=seeded(at))
        hidden = F.conv2d(hidden, convolution.weight, convolution.bias, stride, padding=1)
        spread = (norm.running_var + 1e-5).sqrt()
        hidden = (hidden - norm.running_mean[:, None, None]) / spread[:, None, None]
        hidden = hidden.clamp(min=0) + 0.2 * hidden.clamp(max=0)
        assert hidden.shape == (5, convolution.out_channels, side, side)
    linear = model.features[-3]
    hidden = hidden.flatten(1) @ linear.weight.T + linear.bias
    expected = hidden.clamp(min=0) + 0.2 * hidden.clamp(max=0)
    assert torch.allclose(model.features(x), expected, atol=1e-5)


def test_widths_of_a_regularised_cnn_double():
    model = RegularisedCNN(3, 32)
    shapes = [tuple(m.weight.shape) for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    assert shapes == [(32, 3, 4, 4), (64, 32, 4, 4), (128, 64, 3, 3)]
    assert model.features[-3].weight.shape == (128, 128 * 8 * 8)
    assert model.head.weight.shape == (10, 128)


def test_a_seed_gives_the_same_regularised_cnn_and_another_seed_another():
    torch.manual_seed(0)
    first = regularised(1, 8, seed=3)
    torch.manual_seed(1)
    again, other = regularised(1, 8, seed=3), regularised(1, 8, seed=4)
    for key, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[key])
    x = pictures(2, 1, 8)
    assert torch.equal(first.eval()(x), again.eval()(x))
    assert not torch.allclose(first(x), other.eval()(x), atol=1e-3)


def test_dropout_and_batch_norm_act_in_training_alone():
    model, x = regularised(1, 8), pictures(5, 1, 8)
    torch.manual_seed(0)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))
    assert torch.allclose(model(x)[:1], model(x[:1]), atol=1e-6)  # whatever else is in the batch
    without = regularised(1, 8, dropout=0.0)
    assert torch.equal(without(x), without(x))
    assert not torch.allclose(without(x)[:2], without(x[:2]), atol=1e-3)


def test_every_parameter_of_a_regularised_cnn_gets_a_gradient():
    model = regularised(1, 8, dropout=0.0)
    F.cross_entropy(model(pictures(20, 1, 8)), torch.arange(20) % 7).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad.abs().max() > 0 and torch.isfinite(parameter.grad).all(), key


def test_a_regularised_cnn_needs_four_pixels():
    with pytest.raises(ValueError, match="an image of 3 pixels cannot be halved twice"):
        RegularisedCNN(1, 3)
