"""Conditioning and the generator: what they draw, what they see, what is refused."""

import pytest
import torch
from small_networks import condition_of, made, mixed, pictures, seeded
from torch import nn

from lib.generator import (
    CONDITIONINGS,
    Conditions,
    generate,
    hot_matrix,
    hot_vectors,
    soft_vectors,
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


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_dropout_is_on_and_batch_norm_off_when_images_are_made(dropout, monkeypatch):
    generator = made(dropout=dropout)
    with torch.no_grad():  # running statistics that are not 0 and 1
        for module in generator.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.fill_(0.1)
                module.running_var.fill_(2.0)
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
