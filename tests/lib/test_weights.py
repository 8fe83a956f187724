"""Weights on disk, and checkpoints of readers: what is loaded, and that no code in them is run."""

import functools
import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

from lib.kkt import kkt_residual, mlp_layers
from lib.margin import fit_margin, fit_margin_in_span, margins
from lib.models import MLP
from lib.reconstruction import eliminated_attack, kkt_attack
from lib.weights import (
    PLACES,
    load_checkpoint,
    load_weights,
    mlp_from,
    read_checkpoint,
    save_weights,
)


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))


def same(one: nn.Module, other: nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "mine.pt"


PACKED = {
    "plain": lambda state: state,
    "with the optimizer": lambda state: {"state_dict": state, "optimizer": {"lr": 0.1}},
    "with a name": lambda state: {"model": state, "loss": [1.0, 0.5], "name": "mine"},
    **{name: lambda state, name=name: {"epoch": 3, name: state} for name in PLACES},
    "nested": lambda state: {"model": {"state_dict": state}},
    "parallel": lambda state: {f"module.{name}": value for name, value in state.items()},
    "parallel inside": lambda state: {"model": PACKED["parallel"](state)},
    "compiled": lambda state: {f"_orig_mod.{name}": value for name, value in state.items()},
    "compiled and parallel": lambda state: PACKED["parallel"](PACKED["compiled"](state)),
    "float64": lambda state: {name: value.double() for name, value in state.items()},
    "ordered": OrderedDict,
}


@pytest.mark.parametrize("kind", PACKED)
@pytest.mark.parametrize("zipped", [True, False])
def test_state_dicts_are_found_however_they_are_packed(path, kind, zipped):
    trained, own = network(0), network(1)
    with torch.no_grad():
        trained[1].running_mean.fill_(0.25)  # buffers, too
    content = PACKED[kind](trained.state_dict())
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert not same(own, trained)
    assert load_checkpoint(str(path), own) is own
    assert same(own, trained) and own[0].weight.dtype == torch.float32


def test_names_are_left_alone_unless_all_of_them_are_those_of_data_parallel(path):
    class Wrapped(nn.Module):
        def __init__(self, seed: int, name: str):
            super().__init__()
            torch.manual_seed(seed)
            self.add_module(name, nn.Linear(2, 2))
            self.scale = nn.Parameter(torch.randn(1))

    for name in ("module", "model"):  # it is a part, no prefix, and no state dict inside another
        torch.save(Wrapped(0, name).state_dict(), path)
        assert same(load_checkpoint(path, Wrapped(1, name)), Wrapped(0, name))
    parallel = nn.ModuleDict({"module": network(0)})  # the reader has it, too
    torch.save(parallel.state_dict(), path)
    assert same(load_checkpoint(path, nn.ModuleDict({"module": network(1)})), parallel)


class Harmful:
    """Unpickling it creates a file."""

    def __init__(self, victim: Path):
        self.victim = victim

    def __reduce__(self):
        return Path.touch, (self.victim,)


def test_code_in_a_checkpoint_is_not_run(path, tmp_path):
    victim = tmp_path / "touched"
    pickle.loads(pickle.dumps(Harmful(victim)))
    assert victim.exists()
    victim.unlink()
    for content in (Harmful(victim), {"model": network().state_dict(), "x": Harmful(victim)}):
        for zipped, error in ((True, ValueError), (False, OSError)):
            torch.save(content, path, _use_new_zipfile_serialization=zipped)
            with pytest.raises(error, match="mine.pt"):
                load_checkpoint(path, network())
            assert not victim.exists()


@pytest.mark.parametrize("content", [network(), {"model": network()}, functools.partial(max)])
def test_a_pickled_module_is_refused_in_one_sentence(path, content):
    torch.save(content, path)
    with pytest.raises(ValueError, match=r"save model\.state_dict\(\) instead\.$") as error:
        load_checkpoint(path, network())
    assert "\n" not in str(error.value) and "weights_only" not in str(error.value)


@pytest.mark.parametrize("content", [torch.zeros(3), [1, 2], {1: torch.zeros(3)}, None])
def test_a_file_without_a_state_dict_is_refused(path, content):
    torch.save(content, path)
    with pytest.raises(ValueError, match="holds no state dict"):
        load_checkpoint(path, network())


@pytest.mark.parametrize(
    "content",
    [
        nn.Linear(3, 2).state_dict(),
        {},
        {**network().state_dict(), "4.weight": torch.zeros(2)},
        {**network().state_dict(), "3.weight": torch.zeros(3, 9)},
        {**network().state_dict(), "3.weight": "text"},
        {**PACKED["parallel"](network().state_dict()), "step": torch.zeros(1)},
    ],
)
def test_another_architecture_is_refused(path, content):
    torch.save(content, path)
    with pytest.raises(ValueError, match="does not fit this module"):
        load_checkpoint(path, network())


def test_a_missing_file_is_named(tmp_path):
    for path in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(FileNotFoundError, match="There is no checkpoint at"):
            load_checkpoint(path, network())


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_was_cut_off_is_damaged(path, zipped):
    torch.save(network().state_dict(), path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for length in (0, 1, 2, 10, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(OSError, match="is damaged") as error:
            load_checkpoint(path, network())
        assert not isinstance(error.value, FileNotFoundError)


def test_a_changed_weight_is_damage(path):
    trained = network()
    torch.save(trained.state_dict(), path)
    content = bytearray(path.read_bytes())
    content[content.index(trained[3].weight.detach().numpy().tobytes()) + 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(OSError, match="is damaged"):
        load_checkpoint(path, network())


@pytest.mark.parametrize("part", ["all", "weights"])
def test_no_flipped_bit_is_called_code_or_changes_a_weight(path, part):
    trained = nn.Sequential(nn.Linear(3, 2))
    torch.save(trained.state_dict(), path)
    whole = path.read_bytes()
    start = whole.index(trained[0].weight.detach().numpy().tobytes())
    places = range(0, len(whole), 7) if part == "all" else range(start, start + 24)
    damaged = 0
    for place in places:
        bit = 1 << place % 8
        path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
        try:
            found = load_checkpoint(path, nn.Sequential(nn.Linear(3, 2)))
        except OSError as error:
            damaged += "is damaged" in str(error)
        else:  # a date, or padding
            assert part == "all" and same(found, trained)
    assert damaged > len(places) / 10 if part == "all" else damaged == len(places)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["3.weight", "1.running_var"])
def test_values_that_are_not_finite_are_refused_by_name(path, name, value):
    state = network().state_dict()
    state[name].view(-1)[1] = value
    torch.save({"model": state}, path)
    before = network(1)
    with pytest.raises(ValueError, match=f"has values in '{name}' that are not finite"):
        load_checkpoint(path, before)
    assert same(before, network(1))


@pytest.mark.parametrize("content", [b"some text, no more\n", b"\x89PNG\r\n", b"PK\x03\x04"])
def test_files_of_another_kind_are_named_damaged(path, content):
    path.write_bytes(content)
    with pytest.raises(OSError, match="mine.pt is damaged, or not what torch.save makes"):
        load_checkpoint(path, network())


def test_a_checkpoint_is_read_without_a_module(path):
    trained = network()
    for kind in ("plain", "compiled and parallel", "nested"):
        torch.save(PACKED[kind](trained.state_dict()), path)
        found = read_checkpoint(path)
        assert found.keys() == trained.state_dict().keys(), kind
        assert all(torch.equal(found[name], trained.state_dict()[name]) for name in found)


def test_a_network_of_torchvision_is_filled(path):
    from torchvision.models import resnet18  # slow to import

    trained, own = resnet18(num_classes=5), resnet18(num_classes=5)
    torch.save({"net": PACKED["parallel"](trained.state_dict())}, path)
    assert same(load_checkpoint(path, own), trained)


# --- an MLP from its weights ---------------------------------------------------------------------


def sequential(*widths: int, bias: bool = True) -> nn.Sequential:
    torch.manual_seed(0)
    pairs = [(nn.Linear(a, b, bias=bias), nn.ReLU()) for a, b in zip(widths, widths[1:])]
    return nn.Sequential(nn.Flatten(), *[module for pair in pairs for module in pair][:-1])


@pytest.mark.parametrize("widths", [(12, 1), (12, 7, 1), (12, 7, 5, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_an_mlp_is_built_from_its_weights(widths, bias):
    given = sequential(*widths, bias=bias)
    found, images = mlp_from(given.state_dict()), torch.randn(5, 3, 2, 2)
    assert [type(module) for module in found] == [type(module) for module in given]
    assert torch.equal(found(images), given(images))
    renamed = {f"body.fc{i}": v for i, v in enumerate(given.state_dict().values())}
    with pytest.raises(ValueError, match="is not the next linear layer"):
        mlp_from(renamed)


def test_the_networks_of_chapter_7_are_mlps_too():
    given, images = MLP(12, (7, 5), first_std=0.3), torch.randn(5, 3, 2, 2)
    found = mlp_from(given.state_dict())
    assert torch.allclose(found(images)[:, 0], given(images))


@pytest.mark.parametrize(
    ("state", "named"),
    [
        (network().state_dict(), "0 with .*weight.*2, 1, 3, 3"),
        ({"a.weight": torch.zeros(4, 3), "b.weight": torch.zeros(1, 5)}, "b with"),
        ({"a.weight": torch.zeros(4, 3), "a.bias": torch.zeros(3)}, "a with"),
        ({"a.bias": torch.zeros(3)}, "a with"),
        ({"a.weight": torch.zeros(4, 3), "scale": torch.zeros(1)}, "the only layer with"),
        ({"weight": torch.zeros(4)}, "the only layer with"),
    ],
)
def test_weights_that_form_no_mlp_are_refused(state, named):
    with pytest.raises(ValueError, match=f"{named}.* is not the next linear layer of an MLP"):
        mlp_from(state)


@pytest.mark.parametrize("state", [{}, {"epoch": 3}])
def test_what_is_no_state_dict_is_refused(state):
    with pytest.raises(ValueError, match=r"is \{name: tensor\}, and not empty"):
        mlp_from(state)


def test_an_own_network_of_one_column_is_attacked_like_one_of_chapter_7(path):
    """Output [n, 1] gives what the same network with output [n] gives."""
    ours = MLP(12, (20, 10), first_std=0.3, generator=torch.Generator().manual_seed(0))
    torch.save({"net": PACKED["compiled"](ours.state_dict())}, path)
    own = mlp_from(read_checkpoint(path))
    x = torch.randn(6, 12, generator=torch.Generator().manual_seed(1))
    signs = torch.tensor([1.0, -1.0] * 3)
    assert own(x).shape == (6, 1)
    assert torch.equal(margins(own, x, signs), margins(ours, x, signs))
    for fit in (fit_margin, fit_margin_in_span):
        histories = [fit(net, x, signs, epochs=20) for net in (ours, own)]
        assert histories[0] == histories[1]
    assert kkt_residual(mlp_layers(own), x, signs)[0] == kkt_residual(mlp_layers(ours), x, signs)[0]
    released = {"lr": 1e-3, "lr_multipliers": 1e-3, "sigma": 0.3, "alpha": 50.0, "lambda_min": 0.0}
    for attack, settings in ((eliminated_attack, {"lr": 0.01, "rank": 6}), (kkt_attack, released)):
        one, other = (attack(n, 4, (12,), iterations=3, seed=0, **settings) for n in (ours, own))
        assert torch.equal(one.candidates, other.candidates)


# --- weights of the book -------------------------------------------------------------------------


def test_weights_come_back(tmp_path):
    trained, own = network(0), network(1)
    save_weights(tmp_path / "new" / "mine.safetensors", trained)
    assert load_weights(tmp_path / "new" / "mine.safetensors", own) is own and same(own, trained)


def test_weights_that_are_missing_cut_or_of_another_network_are_refused(tmp_path):
    path = tmp_path / "mine.safetensors"
    with pytest.raises(FileNotFoundError, match="There are no weights at"):
        load_weights(path, network())
    save_weights(path, network())
    with pytest.raises(ValueError, match="do not fit this module"):
        load_weights(path, nn.Linear(2, 2))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(OSError, match="truncated or damaged"):
        load_weights(path, network())
