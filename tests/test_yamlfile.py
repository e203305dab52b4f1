from pathlib import Path

import pytest

from testbed.errors import ScenarioError
from testbed.yamlfile import apply_override, load_document, show_place


def write(folder: Path, text: str) -> Path:
    path = folder / "x.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_value_knows_its_line(tmp_path: Path) -> None:
    document = load_document(write(tmp_path, "a: 1\nb:\n  c: 2\n  d:\n    - x\n    - {e: 3}\n"))
    assert document.data == {"a": 1, "b": {"c": 2, "d": ["x", {"e": 3}]}}
    lines = {place: int(origin.rsplit(":", 1)[1]) for place, origin in document.origins.items()}
    assert lines[("a",)] == 1
    assert lines[("b",)] == 2
    assert lines[("b", "c")] == 3
    assert lines[("b", "d")] == 4
    assert lines[("b", "d", 1)] == 6
    assert lines[("b", "d", 1, "e")] == 6


def test_a_place_that_is_not_there_takes_the_line_around_it(tmp_path: Path) -> None:
    document = load_document(write(tmp_path, "a: 1\nb:\n  c: 2\n"))
    assert document.origin(("b", "nothing", 3)).endswith("x.yaml:2")
    assert document.origin(()) == str(tmp_path / "x.yaml")
    assert document.trim(("b", 0, "tag", "c")) == ("b", "c")


def test_aliases_are_the_value_they_stand_for(tmp_path: Path) -> None:
    document = load_document(write(tmp_path, "a: &x [1, 2]\nb: *x\n"))
    assert document.data["b"] == [1, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "x.yaml:3: a: given twice (first on line 1)"),
        ("a:\n  b: 1\n  b: 1\n", "x.yaml:3: a.b: given twice (first on line 2)"),
        ("a: b: c\n", "x.yaml:1: not YAML: mapping values are not allowed here"),
        ("a: [1\nb: 2\n", "x.yaml:2: not YAML: "),
        ("- a\n", "x.yaml:1: must be a mapping"),
        ("", "x.yaml:1: must be a mapping"),
        ("a: 1\n---\nb: 2\n", "x.yaml:2: not YAML: but found another document"),
        ("a: &x [*x]\n", "x.yaml:1: an alias must not contain itself"),
        ("? [a, b]\n: 1\n", "x.yaml:1: keys must be plain words"),
        ("a: !!python/object:os.system x\n", "x.yaml:1: cannot read 'x'"),
        ("a: \x00\n", "x.yaml: not YAML: "),
    ],
)
def test_bad_files_are_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ScenarioError) as error:
        load_document(write(tmp_path, text))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_alias_bomb_is_refused(tmp_path: Path) -> None:
    text = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
    for level in range(1, 8):
        text += f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n"
    with pytest.raises(ScenarioError, match="more than 100000 values"):
        load_document(write(tmp_path, text))


def test_unreadable_files_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"none.yaml: cannot read: No such file"):
        load_document(tmp_path / "none.yaml")
    with pytest.raises(ScenarioError, match="cannot read: Is a directory"):
        load_document(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ScenarioError, match="not a text file in UTF-8"):
        load_document(tmp_path / "binary.yaml")


def test_overrides_reach_into_mappings_and_lists(tmp_path: Path) -> None:
    document = load_document(write(tmp_path, "a:\n  - {b: 1}\nc: 2\n"))
    apply_override(document, "a.0.b=[3, 4]")
    apply_override(document, "new.deep.key=text")
    apply_override(document, "c={kind: none}")
    assert document.data == {
        "a": [{"b": [3, 4]}],
        "c": {"kind": "none"},
        "new": {"deep": {"key": "text"}},
    }
    assert document.origin(("a", 0, "b", 1)) == "--set a.0.b=[3, 4]"
    assert document.origin(("a", 0)).endswith("x.yaml:2")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a", "must be KEY=VALUE"),
        ("=1", "must be KEY=VALUE"),
        ("a..b=1", "must be KEY=VALUE"),
        ("c.d=1", "c is not a mapping or a list"),
        ("a.7.b=1", "a is a list; use 0 to 0"),
        ("a.x=1", "a is a list; use 0 to 0"),
        ("c=[1", "is not YAML"),
    ],
)
def test_bad_overrides_are_one_line(tmp_path: Path, text: str, message: str) -> None:
    document = load_document(write(tmp_path, "a:\n  - {b: 1}\nc: 2\n"))
    with pytest.raises(ScenarioError) as error:
        apply_override(document, text)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_places_are_shown_as_a_user_writes_them() -> None:
    assert show_place(("downlink", "loss", 1, 0, "rate")) == "downlink.loss[1][0].rate"
