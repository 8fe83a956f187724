"""Checkpoints of readers: what is loaded, what is refused, and that no code in them is run."""

import functools
import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

from lib.weights import load_checkpoint


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
    "state_dict": lambda state: {"epoch": 3, "state_dict": state, "optimizer": {"lr": 0.1}},
    "model": lambda state: {"model": state, "loss": [1.0, 0.5], "name": "mine"},
    "parallel": lambda state: {f"module.{name}": value for name, value in state.items()},
    "parallel inside": lambda state: {"model": PACKED["parallel"](state)},
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


@pytest.mark.parametrize("content", [b"some text, no more\n", b"\x89PNG\r\n", b"PK\x03\x04"])
def test_files_of_another_kind_are_named_damaged(path, content):
    path.write_bytes(content)
    with pytest.raises(OSError, match="mine.pt is damaged, or not what torch.save makes"):
        load_checkpoint(path, network())
