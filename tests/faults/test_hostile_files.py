"""Files from strangers, made to do harm: checkpoints, ledgers, images."""

import re
import struct
import zipfile
import zlib

import pytest
import torch
from fault_tools import is_a_sentence

from harness import ledger
from lib import data
from lib.weights import mlp_from, read_checkpoint

# Checkpoints ----------------------------------------------------------------------


def packed(path, size):
    """An archive like that of `torch.save`, with weights that unpack to `size` bytes of zeros."""
    torch.save({"a.weight": torch.zeros(4, 4)}, path)
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, bytes(size) if name.endswith("data/0") else content)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"a": torch.zeros(1).expand(10**13)}, "'a' of shape [10000000000000] without so many"),
        ({"a": torch.empty(10**13, device="meta")}, "'a' in a packed form"),
        ({"a": torch.full((2, 2), float("nan"))}, "values in 'a' that are not finite"),
    ],
)
def test_a_checkpoint_that_claims_more_than_it_holds_is_refused(tmp_path, state, words):
    torch.save({"model": state}, tmp_path / "mine.pt")
    with pytest.raises(ValueError, match=re.escape(words)) as error:
        read_checkpoint(tmp_path / "mine.pt")
    assert is_a_sentence(str(error.value)) and "mine.pt" in str(error.value)


def test_a_checkpoint_that_unpacks_to_a_thousand_times_its_size_is_not_unpacked(tmp_path):
    packed(tmp_path / "mine.pt", 50_000_000)
    assert (tmp_path / "mine.pt").stat().st_size < 100_000
    with pytest.raises(OSError, match="mine.pt is damaged, or not what torch.save makes") as error:
        read_checkpoint(tmp_path / "mine.pt")
    assert is_a_sentence(str(error.value))


def test_a_checkpoint_whose_names_are_markup_is_taken_as_text(tmp_path):
    name = "<svg onload=alert(1)>"
    torch.save({f"{name}.weight": torch.zeros(2, 2, 2)}, tmp_path / "mine.pt")
    with pytest.raises(ValueError, match=re.escape(f"{name} with") + ".*is not the next linear"):
        mlp_from(read_checkpoint(tmp_path / "mine.pt"))


# Ledgers --------------------------------------------------------------------------

ENTRY = """
A1: {{paper: "000", where: a, kind: Q, statement: s, reference: r, criterion: c, chapter: x,
      seeds: 3, tests: {}}}
"""
# nine lists of nine, nine times over: as text it has four thousand million letters
BOMB = "&x0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"
for i in range(1, 10):
    BOMB = f"&x{i} [{BOMB}, {', '.join([f'*x{i - 1}'] * 8)}]"
LEDGERS = {
    "a bomb for a test": (ENTRY.format(f"[{BOMB}]"), "Claim A1: a test is a measure"),
    "a bomb for a threshold": (
        ENTRY.format(f"[{{measure: gap, above: {BOMB}}}]"),
        "Claim A1: above of gap cannot be",
    ),
    "a list in itself": (ENTRY.format("&a [*a]"), "Claim A1: a test is a measure"),
    "too deep": (ENTRY.format("[" * 3000 + "]" * 3000), "000.yaml .* nested too deeply"),
    "code": (ENTRY.format("!!python/object/apply:os.system [exit]"), "000.yaml cannot be read"),
    "a number of 400 digits": (
        ENTRY.format(f"[{{measure: gap, above: {'9' * 400}}}]"),
        "Claim A1: above of gap cannot be",
    ),
    "a number of 5000 digits": (
        ENTRY.format(f"[{{measure: gap, above: {'9' * 5000}}}]"),
        "000.yaml cannot be read",
    ),
    "a path for an id": (ENTRY.replace("A1", "../../A1").format("[]"), "is no claim id"),
    "markup for an id": (ENTRY.replace("A1", "<svg onload=x>").format("[]"), "is no claim id"),
    "no text": (b"\xff\xfe\x80", "000.yaml cannot be read"),
}


@pytest.mark.parametrize("kind", LEDGERS)
def test_a_hostile_ledger_is_refused_and_named(tmp_path, kind):
    content, words = LEDGERS[kind]
    content = content.encode() if isinstance(content, str) else content
    (tmp_path / "000.yaml").write_bytes(content)
    ledger.load.cache_clear()
    with pytest.raises(ValueError, match=words) as error:
        ledger.load(tmp_path)
    assert len(str(error.value)) < 1000 and "Traceback" not in str(error.value)


# Images ---------------------------------------------------------------------------


def png(width, height):
    """A black picture of so many pixels, one bit each."""

    def chunk(kind, content):
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    packer = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    pixels = b"".join([*(packer.compress(row) for _ in range(height)), packer.flush()])
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", pixels), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A data set of one small picture, in a path with blanks and umlauts."""
    monkeypatch.setenv("WWR_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "Bilder für später" / "große Katzen"
    for split in ("train", "test"):
        (folder / split / "süß").mkdir(parents=True)
        (folder / split / "süß" / "a.png").write_bytes(png(8, 8))
    return folder


def test_a_decompression_bomb_is_named_and_not_unpacked(folder):
    assert data.load(str(folder)).images.shape == (1, 1, 8, 8)
    bomb = folder / "train" / "süß" / "bomb.png"
    bomb.write_bytes(png(20_000, 20_000))
    assert bomb.stat().st_size < 100_000
    with pytest.raises(OSError, match=r"bomb.png cannot be read.*\(DecompressionBomb") as error:
        data.load(str(folder))
    assert is_a_sentence(str(error.value))
    bomb.unlink()
    assert len(data.load(str(folder))) == 1


def test_a_picture_that_claims_more_than_it_holds_is_named(folder):
    picture = bytearray(png(8, 8))
    picture[16:24] = struct.pack(">II", 9000, 9000)
    picture[29:33] = struct.pack(">I", zlib.crc32(picture[12:29]))
    (folder / "train" / "süß" / "b.png").write_bytes(picture)
    with pytest.raises(OSError, match="b.png cannot be read") as error:
        data.load(str(folder))
    assert is_a_sentence(str(error.value))
