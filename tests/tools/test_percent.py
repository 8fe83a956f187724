"""What is checked before anything runs."""

from pathlib import Path

import nbformat
import pytest

import percent
from tiny_book import HEADER, PARAMETERS, notebook
from percent import (
    NotebookError,
    checked_overrides,
    default_parameters,
    parse_yaml,
    read_notebook,
    read_profile,
)

DEFAULTS = {
    "n": 5,
    "scale": 1.0,
    "seeds": [0, 1],
    "compute": True,
    "executor": "serial",
    "limit": None,
}


def read(tmp_path: Path, text: str):
    path = tmp_path / "chapter.py"
    path.write_text(text)
    return read_notebook(path)


def test_defaults_are_read_in_order_with_their_types(tmp_path):
    defaults = default_parameters(read(tmp_path, notebook()), "chapter")
    assert list(defaults.items()) == [
        ("n", 5),
        ("scale", 1.0),
        ("seeds", [0, 1]),
        ("compute", True),
        ("executor", "serial"),
    ]


def test_annotated_and_negative_defaults_are_literals(tmp_path):
    found = default_parameters(
        read(tmp_path, notebook(parameters="n: int = 5\nshift = -1e-3")), "chapter"
    )
    assert found == {"n": 5, "shift": -1e-3}


def test_missing_notebook_is_an_error(tmp_path):
    with pytest.raises(NotebookError, match="no such notebook"):
        read_notebook(tmp_path / "absent.py")


def test_missing_kernelspec_is_an_error(tmp_path):
    with pytest.raises(NotebookError, match="kernelspec"):
        read(tmp_path, notebook().replace(HEADER, ""))


@pytest.mark.parametrize(
    "extra, count",
    [("", 0), ('# %% tags=["parameters"]\nn = 1\n\n# %% tags=["parameters"]\nm = 1\n', 2)],
)
def test_parameters_cell_must_be_there_once(tmp_path, extra, count):
    with pytest.raises(NotebookError, match=f"exactly one code cell.*found {count}"):
        default_parameters(read(tmp_path, f"{HEADER}\n# %%\nx = 1\n\n{extra}"), "chapter")


@pytest.mark.parametrize(
    "parameters, message",
    [
        ("n = 5\nm = 2 * n", "`m` is not a literal"),
        ("n = len([1])", "`n` is not a literal"),
        ("import os", "may hold only"),
        ("n: int", "may hold only"),
        ("n = m = 5", "may hold only"),
        ("n, m = 1, 2", "may hold only"),
        ("n = 1\nn = 2", "assigned twice"),
        ("shape = (1, 2)", "is a tuple"),
        ("n = (", "not Python"),
    ],
)
def test_parameters_cell_holds_plain_literals_only(tmp_path, parameters, message):
    with pytest.raises(NotebookError, match=message):
        default_parameters(read(tmp_path, notebook(parameters=parameters)), "chapter")


def test_two_conversions_are_byte_identical(tmp_path):
    text = notebook("x = 1", "x = 1", "y = 2")
    first, second = (nbformat.writes(read(tmp_path, text)) for _ in range(2))
    assert first == second


def test_ids_are_unique_and_survive_a_cell_before_them(tmp_path):
    before = [cell["id"] for cell in read(tmp_path, notebook("x = 1", "x = 1", "y = 2")).cells]
    after = [
        cell["id"] for cell in read(tmp_path, notebook("new = 0", "x = 1", "x = 1", "y = 2")).cells
    ]
    assert len(set(before)) == len(before) and set(before) <= set(after)


@pytest.mark.parametrize(
    "text, value",
    [
        ("true", True),
        ("yes", "yes"),
        ("12", 12),
        ("-3", -3),
        ("0x1f", 31),
        ("0.5", 0.5),
        ("1e-3", 1e-3),
        ("-1.5e+2", -150.0),
        (".inf", float("inf")),
        ("1:30", "1:30"),
        ("1_000", 1000),
        ("2024-01-02", "2024-01-02"),
        ("loky:2", "loky:2"),
        ("dask:tcp://host:8786", "dask:tcp://host:8786"),
        ("[1, 2.0, a]", [1, 2.0, "a"]),
        ("null", None),
        ('"010"', "010"),
        ("{a: 1}", {"a": 1}),
    ],
)
def test_values_are_yaml_1_2(text, value):
    parsed = parse_yaml(text, "-p x")
    assert parsed == value and type(parsed) is type(value)


@pytest.mark.parametrize("text", ["010", "-007", "[1, 08]"])
def test_a_leading_zero_is_refused_as_ambiguous(text):
    with pytest.raises(NotebookError, match="-p x: .*10-based"):
        parse_yaml(text, "-p x")


@pytest.mark.parametrize("text", ["[1, 2", "a: b: c", "{a: 1, a: 2}"])
def test_bad_yaml_is_one_sentence(text):
    with pytest.raises(NotebookError, match="-p x: ") as caught:
        parse_yaml(text, "-p x")
    assert "\n" not in str(caught.value)


def test_unknown_parameter_lists_the_known_ones():
    with pytest.raises(NotebookError, match=r"unknown parameter `sede` \(known: n, scale, seeds"):
        checked_overrides(DEFAULTS, {"sede": 1}, "chapter")


@pytest.mark.parametrize(
    "name, value",
    [
        ("n", 7),
        ("scale", 0.5),
        ("seeds", [3]),
        ("seeds", []),
        ("compute", False),
        ("executor", "loky:2"),
        ("limit", "x"),
    ],
)
def test_a_value_of_the_right_type_passes(name, value):
    assert checked_overrides(DEFAULTS, {name: value}, "chapter") == {name: value}


def test_an_int_for_a_float_becomes_one_also_in_lists():
    checked = checked_overrides(
        {"scale": 1.0, "rates": [0.1]}, {"scale": 2, "rates": [1, 2.5]}, "chapter"
    )
    assert repr(checked) == "{'scale': 2.0, 'rates': [1.0, 2.5]}"


@pytest.mark.parametrize(
    "name, value",
    [
        ("n", True),
        ("n", 1.5),
        ("n", "5"),
        ("n", None),
        ("scale", "1"),
        ("scale", True),
        ("compute", 1),
        ("compute", "yes"),
        ("executor", 3),
        ("seeds", 1),
        ("seeds", ["a"]),
        ("seeds", [True]),
    ],
)
def test_a_value_of_another_type_is_an_error(name, value):
    with pytest.raises(NotebookError, match=f"parameter `{name}`"):
        checked_overrides(DEFAULTS, {name: value}, "chapter")


def write_profile(root: Path, text: str, *, stem: str = "01_first", folder: str = "first") -> Path:
    """A notebook whose chapter has these profiles."""
    for path, content in {
        root / "notebooks" / f"{stem}.py": notebook(),
        root / "chapters" / folder / "profiles.yaml": text,
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root / "notebooks" / f"{stem}.py"


def test_a_profile_is_read(tmp_path):
    source = write_profile(tmp_path, "quick: {n: 3}\nlaptop: {n: 9}\npaper:")
    profiles = [read_profile(source, name) for name in ("quick", "laptop", "paper")]
    assert profiles == [{"n": 3}, {"n": 9}, {}]


@pytest.mark.parametrize(
    ("stem", "found"),
    [
        ("06_lines_of_ink", "lines"),
        ("06_lines", "lines"),
        ("07_lines_of_blood", "lines_of_blood"),
        ("lines", "lines"),
    ],
)
def test_a_chapter_s_folder_has_the_longest_name_that_begins_the_notebook_s(tmp_path, stem, found):
    for folder in ("line", "lines", "lines_of_blood", "blood"):
        source = write_profile(tmp_path, "quick:", stem=stem, folder=folder)
    assert percent.chapter_folder(source) == tmp_path / "chapters" / found


def test_a_notebook_without_a_folder_says_which_to_make(tmp_path):
    source = write_profile(tmp_path, "quick:", stem="01_firstly")
    with pytest.raises(
        NotebookError, match="01_firstly.py: has no folder .* make chapters/firstly"
    ):
        read_profile(source, "quick")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("quick: {n: 3}\nquick: {n: 4}", "line 2 gives a key again"),
        ("quick: [n, 3]", "not `parameter: value`"),
        ("- n", "expected"),
        ("quick: {n: 010}", "profiles.yaml: `010` is 8-based"),
    ],
)
def test_a_wrong_profile_is_an_error(tmp_path, text, message):
    with pytest.raises(NotebookError, match=message):
        read_profile(write_profile(tmp_path, text), "quick")


def test_an_absent_profile_lists_those_there_are(tmp_path):
    source = write_profile(tmp_path, "quick: {}\npaper: {}")
    with pytest.raises(NotebookError, match=r"no such profile: qiuck \(known: quick, paper\)"):
        read_profile(source, "qiuck")


def test_an_absent_file_of_profiles_is_named(tmp_path):
    source = write_profile(tmp_path, "quick:")
    percent.chapter_folder(source).joinpath("profiles.yaml").unlink()
    with pytest.raises(NotebookError, match="profiles.yaml: no such file"):
        read_profile(source, "quick")


def test_parameters_of_the_fixture_are_what_the_tests_say():
    assert list(percent.literal_assignments(PARAMETERS, "fixture")) == [
        "n",
        "scale",
        "seeds",
        "compute",
        "executor",
    ]
