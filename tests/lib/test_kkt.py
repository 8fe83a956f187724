"""Four routes to one loss and its gradient; planted KKT points with zero residual."""

import copy
import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import nnls
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from lib.kkt import (
    NoGradientPath,
    gram,
    gram_is_cheaper,
    kkt_residual,
    mlp_layers,
    multipliers,
    signals,
    smoothed_relu,
    squared_norms,
    stationarity,
    stationarity_autograd,
    stationarity_gram,
    stationarity_parameters,
)
from lib.models import MLP

F64 = torch.float64


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network(widths, *, homogeneous=True, dtype=F64, inputs=12) -> MLP:
    return MLP(
        inputs,
        widths,
        first_std=0.5,
        homogeneous=homogeneous,
        generator=seeded(0),
        dtype=dtype,
    )


def candidates(m: int, dtype=F64, inputs=12) -> tuple[Tensor, Tensor]:
    x = torch.randn(m, inputs, generator=seeded(1), dtype=F64).to(dtype)
    c = torch.randn(m, generator=seeded(2), dtype=F64).to(dtype)
    return x.requires_grad_(), c.requires_grad_()


def functional(layers, alpha):
    """The parameters as leaves, and the forward pass as a function of them."""
    parameters = [p.clone().requires_grad_() for pair in layers for p in pair if p is not None]

    def forward(x: Tensor) -> Tensor:
        remaining = iter(parameters)
        for depth, (_, bias) in enumerate(layers):
            weight = next(remaining)
            z = x @ weight.T if bias is None else x @ weight.T + next(remaining)
            x = smoothed_relu(z, alpha) if depth < len(layers) - 1 else z
        return x.squeeze(1)

    return forward, parameters


# --- the smoothed ReLU ---------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [None, 3.0, 100.0])
def test_smoothed_relu_is_a_relu_forward(alpha):
    z = torch.linspace(-2, 2, 9)
    assert torch.equal(smoothed_relu(z, alpha), z.clamp(min=0))


def test_smoothed_relu_has_the_sigmoid_as_derivative():
    z = torch.tensor([-0.5, 0.0, 0.1, 2.0], dtype=F64, requires_grad=True)
    (derivative,) = torch.autograd.grad(smoothed_relu(z, 10.0).sum(), z)
    expected = [1 / (1 + np.exp(-10 * v)) for v in (-0.5, 0.0, 0.1, 2.0)]
    assert derivative.tolist() == pytest.approx(expected, rel=1e-12)


def test_without_alpha_the_derivative_is_the_true_one():
    z = torch.tensor([-0.5, 0.1, 2.0], requires_grad=True)
    (derivative,) = torch.autograd.grad(smoothed_relu(z, None).sum(), z)
    assert derivative.tolist() == [0, 1, 1]


def test_second_derivative_is_that_of_the_sigmoid():
    """The surrogate derivative v·σ(αz) is a proper function of v and z: gradcheck holds for it."""
    z = torch.randn(6, generator=seeded(0), dtype=F64, requires_grad=True)
    v = torch.randn(6, generator=seeded(1), dtype=F64, requires_grad=True)

    def derivative(z: Tensor, v: Tensor) -> Tensor:
        return torch.autograd.grad(smoothed_relu(z, 4.0), z, v, create_graph=True)[0]

    assert torch.autograd.gradcheck(derivative, (z, v))


# --- layers and signals --------------------------------------------------------------------------


@pytest.mark.parametrize("homogeneous", [True, False])
@pytest.mark.parametrize("std", [0.5, 1e-4, 1e-8])
def test_layers_of_an_mlp_are_its_weights_and_biases(homogeneous, std):
    model = MLP(6, (5, 4), homogeneous=homogeneous, first_std=std)
    layers = mlp_layers(model)
    found = [p for pair in layers for p in pair if p is not None]
    assert [p.shape for p in found] == [p.shape for p in model.parameters()]
    assert all(torch.equal(a, b) and not a.requires_grad for a, b in zip(found, model.parameters()))


class Branching(nn.Module):
    """Two linear layers side by side, whose order in the module says nothing."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 1)

    def forward(self, x):
        return self.last((self.first(x) + self.second(x)).relu())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: nn.Sequential(nn.Conv2d(1, 1, 3)), "one output"),
        (lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 1)), "one output"),
        (lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 1)), "one output"),
        (lambda: nn.Sequential(nn.ReLU()), "one output"),
        (lambda: nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), "one output"),
        (lambda: nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1)), "do not form"),
        (lambda: nn.Sequential(nn.Linear(4, 3), nn.LeakyReLU(), nn.Linear(3, 1)), "do not form"),
        (lambda: nn.Sequential(nn.Linear(4, 1), nn.ReLU()), "do not form"),
        (Branching, "do not form"),
    ],
)
def test_other_models_are_refused_with_the_alternative(model, message):
    torch.manual_seed(0)
    with pytest.raises(ValueError, match=f"{message}.*stationarity_autograd"):
        mlp_layers(model())


def test_a_tanh_network_is_noticed_however_small_its_outputs_are():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1, bias=False))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1e-4)
    with pytest.raises(ValueError, match="do not form a ReLU MLP"):
        mlp_layers(model)


@pytest.mark.parametrize("homogeneous", [True, False])
@pytest.mark.parametrize("widths", [(9,), (9, 7), (9, 7, 5)])
def test_signals_are_the_derivatives_of_the_output(widths, homogeneous):
    model = network(widths, homogeneous=homogeneous)
    x, _ = candidates(6)
    s = signals(mlp_layers(model), x, 20.0)
    assert torch.allclose(s.outputs, model(x), rtol=1e-12)
    back = torch.autograd.grad(s.outputs.sum(), s.preactivations)
    for ours, theirs in zip(s.back_signals, back, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-10, atol=1e-14)
    assert torch.equal(s.activations[0], x)
    for a, z in zip(s.activations[1:], s.preactivations):
        assert torch.equal(a, z.relu())


def test_squared_norms_sum_to_that_of_all_parameters():
    model = network((9, 7), homogeneous=False)
    expected = sum(p.square().sum() for p in model.parameters())
    assert torch.isclose(sum(squared_norms(mlp_layers(model))), expected, rtol=1e-12)


# --- the Gram matrix -----------------------------------------------------------------------------


def per_sample_gradients(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """∇Φ(θ; xᵢ) by name of the parameter, each [m, ...]."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def output(parameters, x):
        return functional_call(model, parameters, (x[None],)).squeeze(0)

    return vmap(grad(output), in_dims=(None, 0))(parameters, x)


@pytest.mark.parametrize("weights", [None, (1.0, 0.0, 0.3)])
@pytest.mark.parametrize("homogeneous", [True, False])
def test_gram_equals_explicit_per_sample_gradients(homogeneous, weights):
    model = network((9, 7), homogeneous=homogeneous)
    x = candidates(8)[0].detach()
    layers = mlp_layers(model)
    kernel, alignment, norm = gram(layers, signals(layers, x, None), weights)
    k, b, squared = 0, 0, 0
    for name, gradient in per_sample_gradients(model, x).items():
        weight = 1.0 if weights is None else weights[int(name.split(".")[1])]
        flat, parameter = gradient.flatten(1), model.get_parameter(name).detach().flatten()
        k = k + weight * flat @ flat.T
        b = b + weight * flat @ parameter
        squared = squared + weight * parameter @ parameter
    assert torch.allclose(kernel, k, rtol=1e-10, atol=1e-12)
    assert torch.allclose(alignment, b, rtol=1e-10, atol=1e-12)
    assert torch.isclose(norm, squared, rtol=1e-12)


def test_each_entry_of_the_kernel_has_its_own_gradient():
    """Also when the gradient that arrives at K is not symmetric."""
    layers = mlp_layers(network((4, 3), inputs=5))
    x, _ = candidates(3, inputs=5)
    assert torch.autograd.gradcheck(lambda x: gram(layers, signals(layers, x, None))[0], x)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_homogeneity_makes_the_alignment_the_depth_times_the_output(depth):
    """Euler: ⟨θ, ∇Φ⟩ = LΦ for a homogeneous network of depth L."""
    model = network((9,) * (depth - 1))
    x = candidates(8)[0].detach()
    layers = mlp_layers(model)
    _, alignment, _ = gram(layers, signals(layers, x, None))
    assert torch.allclose(alignment, depth * model(x), rtol=1e-10, atol=1e-13)


# --- four routes to one loss ---------------------------------------------------------------------

SHAPES = [((9,), True), ((9, 7), True), ((9, 7), False), ((9, 7, 5), True), ((9, 7, 5), False)]
SIZES = [2, 5, 40]


def test_the_sizes_take_both_forms():
    """Between them, the layers of these networks take both forms at m = 5."""
    assert gram_is_cheaper(5, 12, 9) and not gram_is_cheaper(5, 7, 1)
    assert gram_is_cheaper(2, 12, 9) and not gram_is_cheaper(40, 12, 9)


@pytest.mark.parametrize(("dtype", "precision"), [(F64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("alpha", [None, 10.0])
@pytest.mark.parametrize("m", SIZES)
@pytest.mark.parametrize(("widths", "homogeneous"), SHAPES)
def test_four_routes_agree_in_value_and_gradient(widths, homogeneous, m, alpha, dtype, precision):
    layers = mlp_layers(network(widths, homogeneous=homogeneous, dtype=dtype))
    x, c = candidates(m, dtype)
    forward, parameters = functional(layers, alpha)
    routes = {
        "autograd": lambda: stationarity_autograd(forward, parameters, x, c),
        "parameters": lambda: stationarity_parameters(layers, signals(layers, x, alpha), c),
        "gram": lambda: stationarity_gram(layers, signals(layers, x, alpha), c),
        "mixed": lambda: stationarity(layers, x, c, alpha),
    }
    results = {}
    for name, route in routes.items():
        loss = route()
        results[name] = [loss, *torch.autograd.grad(loss, (x, c))]
    for name, result in results.items():
        for one, other in zip(results["autograd"], result, strict=True):
            assert one.norm() > 0
            assert (one - other).norm() <= precision * one.norm(), name


@pytest.mark.parametrize("m", SIZES)
@pytest.mark.parametrize("weights", [(1.0, 0.2, 0.0), (0.0, 1.0, 3.0)])
def test_routes_agree_with_layer_weights(weights, m):
    layers = mlp_layers(network((9, 7), homogeneous=False))
    x, c = candidates(m)
    forward, parameters = functional(layers, 10.0)
    gradients = torch.autograd.grad(c @ forward(x), parameters, create_graph=True)
    of_parameter = [w for w, pair in zip(weights, layers) for p in pair if p is not None]
    expected = sum(
        w * (p - g).square().sum() for w, p, g in zip(of_parameter, parameters, gradients)
    )
    routes = [
        stationarity_parameters(layers, signals(layers, x, 10.0), c, weights),
        stationarity_gram(layers, signals(layers, x, 10.0), c, weights),
        stationarity(layers, x, c, 10.0, weights),
    ]
    for loss in routes:
        assert torch.isclose(loss, expected, rtol=1e-10)
        ours, theirs = (torch.autograd.grad(v, (x, c), retain_graph=True) for v in (loss, expected))
        for one, other in zip(ours, theirs):
            assert (one - other).norm() <= 1e-10 * other.norm()


def test_the_gradient_with_the_true_relu_is_the_slope_of_the_loss():
    """Between kinks the loss is smooth, and its slope does not include the gates."""
    layers = mlp_layers(network((9, 7)))
    x, c = candidates(4)
    assert torch.autograd.gradcheck(lambda x, c: stationarity(layers, x, c, None), (x, c))


def test_the_closed_forms_can_be_differentiated_twice():
    layers = mlp_layers(network((9, 7)))
    x, c = candidates(3)
    s = lambda x, c: stationarity_gram(layers, signals(layers, x, None), c)  # noqa: E731
    assert torch.autograd.gradgradcheck(s, (x, c))


# --- models without a gradient path --------------------------------------------------------------


def test_a_column_of_outputs_is_one_output_and_several_are_refused():
    model = network((9, 7), homogeneous=False)
    x, c = candidates(5)
    parameters = list(model.parameters())
    expected = stationarity_autograd(model, parameters, x, c)
    found = stationarity_autograd(lambda x: model(x)[:, None], parameters, x, c)
    assert found.shape == () and torch.equal(found, expected)
    with pytest.raises(ValueError, match="of one output, whose sign is the label"):
        stationarity_autograd(lambda x: torch.stack([model(x)] * 2, 1), parameters, x, c)


def test_no_grad_is_noticed():
    layers = mlp_layers(network((9,)))
    forward, parameters = functional(layers, None)
    x, c = candidates(3)

    @torch.no_grad()
    def frozen(x):
        return forward(x)

    with pytest.raises(NoGradientPath, match="is it under no_grad"):
        stationarity_autograd(frozen, parameters, x, c)


def test_an_unused_parameter_is_named():
    layers = mlp_layers(network((9,)))
    forward, parameters = functional(layers, None)
    unused = torch.zeros(3, 2, requires_grad=True)
    x, c = candidates(3)
    with pytest.raises(NoGradientPath, match=r"parameter 3 \(3, 2\) has no gradient path"):
        stationarity_autograd(forward, [*parameters, unused], x, c)


# --- planted KKT points --------------------------------------------------------------------------


def planted(depth: int, n: int = 5):
    """Weights that satisfy every KKT condition for n samples exactly, solved by hand.

    The samples are the corners of a simplex with ⟨xᵢ, xⱼ⟩ < −1, so a neuron along (xᵢ, 1) is
    active on xᵢ alone. Sample i has a chain of neurons of its own: first weights
    λᵢ tᴸ⁻¹ (xᵢ, 1), then t, and yᵢt at the output. Stationarity then asks for
    λᵢ = t²⁻ᴸ / √(‖xᵢ‖² + 1), and the margin is 1 for tᴸ = 1 / √(‖xᵢ‖² + 1).
    """
    centred = torch.eye(n, dtype=F64) - 1 / n
    x = centred / centred[0].norm() * (2 * (n - 1)) ** 0.5
    signs = torch.tensor([1.0 if i % 2 == 0 else -1.0 for i in range(n)], dtype=F64)
    root = (x[0].square().sum() + 1).sqrt()
    t = root ** (-1 / depth)
    lam = t ** (2 - depth) / root
    first = (lam * t ** (depth - 1) * x, lam * t ** (depth - 1) * torch.ones(n, dtype=F64))
    middle = [(t * torch.eye(n, dtype=F64), None) for _ in range(depth - 2)]
    layers = [first, *middle, ((t * signs)[None], None)]
    order = torch.randperm(n, generator=seeded(depth))  # of the first layer's neurons
    layers[0] = (layers[0][0][order], layers[0][1][order])
    layers[1] = (layers[1][0][:, order], None)
    return layers, x, signs, lam.expand(n)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_planted_point_satisfies_all_conditions(depth):
    layers, x, signs, lam = planted(depth)
    assert torch.allclose(signs * signals(layers, x, None).outputs, torch.ones(5, dtype=F64))
    c = lam * signs
    assert stationarity(layers, x, c) < 1e-20
    assert stationarity_parameters(layers, signals(layers, x, None), c) < 1e-20
    assert stationarity_gram(layers, signals(layers, x, None), c).abs() < 1e-10
    forward, parameters = functional(layers, None)
    assert stationarity_autograd(forward, parameters, x, c) < 1e-20


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_residual_is_zero_and_the_multipliers_are_recovered(depth):
    layers, x, signs, lam = planted(depth)
    rho, found = kkt_residual(layers, x, signs)
    assert abs(rho) < 1e-10
    assert torch.allclose(found, lam, rtol=1e-10)


@pytest.mark.parametrize("missing", [1, 2])
def test_each_missing_sample_leaves_its_share(missing):
    """The five gradients are orthogonal and equally long: each explains a fifth of the weights."""
    layers, x, signs, _ = planted(3)
    rho, _ = kkt_residual(layers, x[missing:], signs[missing:])
    assert rho == pytest.approx(missing / 5, abs=1e-10)


def test_padding_and_duplicates_keep_the_loss():  # H03
    layers, x, signs, lam = planted(3)
    wrong = torch.randn(7, 5, generator=seeded(0), dtype=F64)
    padded = torch.cat([x, wrong]), torch.cat([lam * signs, torch.zeros(7, dtype=F64)])
    split = torch.tensor([0.1, 0.5, 0.0, 1.0, 0.3], dtype=F64)
    doubled = torch.cat([x, x]), torch.cat([split * lam * signs, (1 - split) * lam * signs])
    for points, c in (padded, doubled):
        s = signals(layers, points, None)
        for loss in (
            stationarity(layers, points, c),
            stationarity_parameters(layers, s, c),
            stationarity_gram(layers, s, c),
        ):
            assert loss.abs() < 1e-10


def test_useless_samples_get_no_multiplier():
    layers, x, signs, lam = planted(3)
    wrong = -3 * x  # no neuron is active on any of these alone
    points, labels = torch.cat([x, x, wrong]), torch.cat([signs, -signs, signs])
    rho, found = kkt_residual(layers, points, labels)
    assert abs(rho) < 1e-10
    assert torch.allclose(found[:5], lam, rtol=1e-8)
    assert found[5:10].abs().max() < 1e-8  # the right images with the wrong labels


def test_residual_is_one_when_nothing_helps():
    layers, x, signs, _ = planted(2)
    rho, lam = kkt_residual(layers, x, -signs)
    assert rho == 1.0
    assert torch.equal(lam, torch.zeros(5, dtype=F64))


def test_duplicates_share_a_multiplier():
    layers, x, signs, lam = planted(3)
    rho, found = kkt_residual(layers, torch.cat([x, x]), torch.cat([signs, signs]))
    assert abs(rho) < 1e-10
    assert torch.allclose(found[:5] + found[5:], lam, rtol=1e-8)


@pytest.mark.parametrize("homogeneous", [True, False])
def test_residual_lies_between_zero_and_one_and_falls_with_more_samples(homogeneous):
    layers = mlp_layers(network((9, 7), homogeneous=homogeneous))
    x = candidates(60)[0].detach()
    signs = torch.where(signals(layers, x, None).outputs < 0, -1.0, 1.0).double()
    residuals = [kkt_residual(layers, x[:m], signs[:m])[0] for m in (1, 4, 15, 60)]
    assert all(0 <= rho <= 1 for rho in residuals)
    assert sorted(residuals, reverse=True) == residuals and residuals[-1] < residuals[0]


def test_residual_takes_images_and_float32_and_layer_weights():
    layers, x, signs, lam = planted(2, n=4)
    layers = [(w.float(), None if b is None else b.float()) for w, b in layers]
    rho, found = kkt_residual(layers, x.float().reshape(4, 1, 2, 2), signs.float(), (1.0, 0.0))
    assert abs(rho) < 1e-10 and torch.allclose(found, lam, rtol=1e-5)


# --- multipliers ---------------------------------------------------------------------------------


def brute_force(a: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The best λ ≥ 0 over all subsets of columns."""
    best, solution = target @ target, np.zeros(a.shape[1])
    for size in range(1, a.shape[1] + 1):
        for columns in map(list, itertools.combinations(range(a.shape[1]), size)):
            lam, *_ = np.linalg.lstsq(a[:, columns], target, rcond=None)
            error = np.square(a[:, columns] @ lam - target).sum()
            if lam.min() >= 0 and error < best - 1e-14:
                best, solution = error, np.zeros(a.shape[1])
                solution[columns] = lam
    return solution


@pytest.mark.parametrize("seed", range(5))
def test_multipliers_equal_brute_force_and_scipy(seed):
    a = torch.randn(9, 6, generator=seeded(seed), dtype=F64)
    target = torch.randn(9, generator=seeded(seed + 100), dtype=F64)
    lam = multipliers(a.T @ a, a.T @ target)
    expected = brute_force(a.numpy(), target.numpy())
    assert 0 < np.count_nonzero(expected) < 6
    np.testing.assert_allclose(lam.numpy(), expected, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(lam.numpy(), nnls(a.numpy(), target.numpy())[0], atol=1e-10)


@pytest.mark.parametrize("rows", [40, 12])
def test_multipliers_satisfy_their_own_conditions(rows):
    """Also for a kernel of lower rank: λ ≥ 0, gradient ≥ 0, and their product zero."""
    a = torch.randn(rows, 25, generator=seeded(0), dtype=F64)
    kernel = a.T @ a
    alignment = a.T @ torch.randn(rows, generator=seeded(1), dtype=F64)
    lam = multipliers(kernel, alignment)
    gradient = kernel @ lam - alignment
    assert lam.min() >= 0 and lam.max() > 0
    assert gradient.min() > -1e-9
    assert (lam * gradient).abs().max() < 1e-9


def test_multipliers_keep_dtype():
    kernel = torch.eye(3) * 2
    found = multipliers(kernel, torch.tensor([2.0, -4.0, 6.0]))
    assert torch.equal(found, torch.tensor([1.0, 0, 3]))


def test_a_zero_kernel_has_nothing_to_explain_by():
    with pytest.raises(NoGradientPath, match="every per-sample gradient is zero"):
        multipliers(torch.zeros(4, 4), torch.zeros(4))


def test_samples_without_any_active_neuron_have_no_gradient_path():
    layers, x, signs, _ = planted(3)
    dead = copy.deepcopy(layers)
    dead[0] = (dead[0][0], dead[0][1] - 1e3)
    with pytest.raises(NoGradientPath):
        kkt_residual(dead, x, signs)
