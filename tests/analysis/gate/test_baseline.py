from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from gate_records import make_record, make_side
from hypothesis import given
from hypothesis import strategies as st

from testbed.analysis.gate.baseline import read_file, to_text
from testbed.errors import InputError

FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(st.dictionaries(st.sampled_from(["rendered_fps", "psnr_mean"]), st.none() | FINITE))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, metrics: dict[str, float | None]
) -> None:
    path = tmp_path_factory.mktemp("file") / "b.json"
    records = [
        make_record(
            1, settings={"a": "1", "b": "2"}, series={"target_kbps": [1.5, None]}, **metrics
        ),
        make_record(2, settings={"a": "1", "b": "3"}, series={"target_kbps": []}),
        make_record(3, settings={"a": "1"}, made_with={"code": "other"}),
    ]
    side = make_side(records, str(path), series_ms=500)
    path.write_text(to_text(side), encoding="utf-8")
    assert read_file(path) == side


def test_each_series_has_a_line_of_its_own_and_what_is_common_stands_once() -> None:
    records = [make_record(s, settings={"a": "same"}, series={"target_kbps": [1.0, 2.0],
               "delivered_kbps": [3.0]}) for s in (1, 2)]  # fmt: skip
    lines = to_text(make_side(records, series_ms=500)).splitlines()
    assert sum('"target_kbps": [1.0,2.0]' in line for line in lines) == 2
    assert sum('"same"' in line for line in lines) == 1


@pytest.mark.parametrize(
    ("side", "message"),
    [
        ({"broken": ("x/runs/1: garbled",)}, r"x/runs/1: garbled \(a baseline must be whole\)"),
        ({"failures": ({}, {})}, "failures.json: lists 2 failed runs; a baseline must be whole"),
    ],
)
def test_a_baseline_must_be_whole(side: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        to_text(make_side([make_record()], **side))
    with pytest.raises(InputError, match="holds no runs"):
        to_text(make_side([]))


def edit(content: dict[str, Any], *path: Any, value: Any) -> dict[str, Any]:
    at: Any = content
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return content


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["format"], "x", "not a recorded baseline; `testbed gate --record` makes one"),
        (["schema"], 2, "schema is 2, this version reads 1; record it again"),
        (["metrics_version"], 0, "metrics_version is 0, this version reads"),
        (["series_ms"], "x", "series_ms must be null or an integer >= 1, is 'x'"),
        (["series_ms"], True, "series_ms must be null"),
        (["common_settings"], 3, "common_settings: is missing or not of type dict"),
        (["runs"], [], "runs must be a list of at least one run"),
        (["runs", 0], 3, r"runs\[0\]: must be an object"),
        (["runs", 0, "seed"], "1", r"runs\[0\].seed: is missing or not of type int"),
        (["runs", 0, "seed"], True, r"runs\[0\].seed: is missing or not of type int"),
        (["runs", 0, "metrics", "rendered_fps"], "30", r"metrics.rendered_fps: must be a number"),
        (["runs", 0, "series", "target_kbps"], [1, "2"], r"series.target_kbps: must be a list"),
    ],
)
def test_a_wrong_file_is_one_line(
    tmp_path: Path, path: list[Any], value: Any, message: str
) -> None:
    file = tmp_path / "b.json"
    content = json.loads(to_text(make_side([make_record()])))
    file.write_text(json.dumps(edit(content, *path, value=value)), encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        read_file(file)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000, b"null"])
def test_any_bytes_are_one_line(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "b.json"
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"not JSON|not a recorded baseline"):
        read_file(file)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read: No such file"):
        read_file(tmp_path / "none.json")
