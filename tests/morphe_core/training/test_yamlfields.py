from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from morphe_core.errors import TrainingError
from morphe_core.training.yamlfields import read_dataclass


@dataclass(frozen=True)
class Inner:
    rate: float
    name: str = "x"

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise TrainingError("rate: below 0")


@dataclass(frozen=True)
class Outer:
    count: int
    folder: Path
    inner: Inner = field(default_factory=lambda: Inner(1.0))
    inners: tuple[Inner, ...] = ()
    weights: dict[str, float] = field(default_factory=dict)
    shares: dict[int, float] = field(default_factory=dict)
    flag: bool = False
    maybe: float | None = 1.0


Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def writer(text: str) -> Path:
        path = tmp_path / "c.yaml"
        path.write_text(text)
        return path

    return writer


def test_reads_every_kind_of_field(write: Write, tmp_path: Path) -> None:
    text = """
count: 3
folder: here/there
inner: {rate: 1e-3}
inners:
  - {rate: 2, name: y}
  - rate: .5
weights: {a: 1, b: 2.5}
shares: {1: 0.25, 3: 1e-1}
flag: true
maybe: null
"""
    assert read_dataclass(Outer, write(text)) == Outer(
        count=3,
        folder=tmp_path / "here/there",
        inner=Inner(0.001),
        inners=(Inner(2.0, "y"), Inner(0.5)),
        weights={"a": 1.0, "b": 2.5},
        shares={1: 0.25, 3: 0.1},
        flag=True,
        maybe=None,
    )


def test_what_is_left_out_has_its_default(write: Write) -> None:
    outer = read_dataclass(Outer, write("count: 1\nfolder: /a"))
    assert outer == Outer(1, Path("/a"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("count: 1\nfolder: a\nfolders: b", "3: folders: unknown key; known here: count, flag,"),
        ("count: 1\nfolder: a\ninner: {rate: 1, x: 2}", "3: inner.x: unknown key; known here: na"),
        ("folder: a", "1: count: is missing"),
        ("count: 1\nfolder: a\ninners:\n  - name: q", r"4: inners\[0\].rate: is missing"),
        ("count: 1.5\nfolder: a", r"1: count: must be a whole number \(got '1.5'\)"),
        ("count: true\nfolder: a", r"1: count: must be a whole number \(got 'true'\)"),
        ("count: 1\nfolder: 3", r"2: folder: must be a path \(got '3'\)"),
        ("count: 1\nfolder: ''", r"2: folder: must be a path \(got ''\)"),
        ("count: 1\nfolder: a\nflag: 1", r"3: flag: must be true or false \(got '1'\)"),
        ("count: 1\nfolder: a\ninner: {rate: .nan}", r"3: inner.rate: must be a number \(got"),
        ("count: 1\nfolder: a\ninner: {rate: fast}", r"inner.rate: must be a number \(got 'fast"),
        ("count: 1\nfolder: a\ninner: {rate: [1]}", "3: inner.rate: must be a number"),
        ("count: 1\nfolder: a\ninner: 3", "3: inner: must be a mapping of keys and values"),
        ("count: 1\nfolder: a\ninners: {rate: 1}", "3: inners: must be a list"),
        ("count: 1\nfolder: a\nweights: {a: b}", r"3: weights.a: must be a number \(got 'b'\)"),
        ("count: 1\nfolder: a\nshares: {a: 1}", r"3: shares: must be a whole number \(got 'a'\)"),
        ("count: 1\ncount: 2\nfolder: a", "2: count: given twice"),
        ("count: 1\nfolder: a\nweights: {a: 1, a: 2}", "3: weights.a: given twice"),
        ("count: 1\nfolder: a\n? [x]\n: 1", "3: keys must be text or numbers"),
        ("count: 1\nfolder: a\ninner:\n  rate: -1", "4: inner: rate: below 0"),
        ("count: 1\nfolder: [a", "2: is not YAML: "),
        ("a: b: c", "1: is not YAML: "),
        ("- 1", "1: must be a mapping of keys and values"),
        ("count: 1\nfolder: \x07", "c.yaml: is not YAML: "),
    ],
)
def test_errors_are_one_line_with_place_and_what_is_allowed(
    write: Write, text: str, message: str
) -> None:
    with pytest.raises(TrainingError, match=message) as caught:
        read_dataclass(Outer, write(text))
    assert "\n" not in str(caught.value)
    assert "c.yaml" in str(caught.value)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"none\.yaml: cannot read: No such file"):
        read_dataclass(Outer, tmp_path / "none.yaml")
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    with pytest.raises(TrainingError, match=r"empty\.yaml: is empty"):
        read_dataclass(Outer, tmp_path / "empty.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"count: \xe9")
    with pytest.raises(TrainingError, match=r"latin\.yaml: is not text in UTF-8"):
        read_dataclass(Outer, tmp_path / "latin.yaml")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["rate", "name", "a"]) | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)
KEYS = st.sampled_from([*Outer.__dataclass_fields__, "other"])


@given(data=st.dictionaries(KEYS, VALUES, max_size=5))
def test_any_document_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, data: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(yaml.safe_dump(data, allow_unicode=True))
    fits = {"count", "folder"} <= set(data) <= set(Outer.__dataclass_fields__)
    try:
        refused, read = "", read_dataclass(Outer, path)
    except TrainingError as error:
        refused, read = str(error), None
    if read is None:
        assert len(refused.splitlines()) == 1
    else:
        assert fits
