import errno
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from testbed.errors import LocalProtocolError, OutputError
from testbed.experiments import store
from testbed.experiments.store import RunWriter, prepare_output, record_failures, write_json

ROW = ("down", 1, "media", 3, 1032, 5, 5, 6, None, "loss", None)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    prepare_output(tmp_path / "out")
    return tmp_path / "out"


def finish(writer: RunWriter) -> None:
    writer.close_tables()
    writer.publish(manifest={"schema": 1}, summary={})


def test_a_run_gets_its_name_only_when_whole(out: Path) -> None:
    with RunWriter(out, "abc") as writer:
        writer.append("packets", [ROW])
        assert not store.is_whole(out, "abc")
        assert [p.name for p in (out / "runs").iterdir()] == [".abc.tmp"]
        finish(writer)
    assert store.is_whole(out, "abc")
    assert sorted(p.name for p in (out / "runs" / "abc").iterdir()) == [
        "control.parquet",
        "frames.parquet",
        "link.parquet",
        "manifest.json",
        "packets.parquet",
        "summary.json",
    ]
    assert [p.name for p in (out / "runs").iterdir()] == ["abc"]


def test_a_run_that_fails_leaves_nothing(out: Path) -> None:
    def fail() -> None:
        with RunWriter(out, "abc") as writer:
            writer.append("packets", [ROW])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list((out / "runs").iterdir()) == []


def test_equal_rows_make_equal_files_however_they_arrive(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "GROUP_ROWS", 100)
    rows = [("down", n, "media", n, 1032, n, n, n, n, "none", None) for n in range(1234)]
    for name, chunk in (("one", 1234), ("many", 7)):
        with RunWriter(out, name) as writer:
            for start in range(0, len(rows), chunk):
                writer.append("packets", rows[start : start + chunk])
            finish(writer)
    files = [out / "runs" / name / "packets.parquet" for name in ("one", "many")]
    assert files[0].read_bytes() == files[1].read_bytes()
    written = pq.ParquetFile(files[0])
    assert written.num_row_groups == 13
    assert written.read()["seq"].to_pylist() == list(range(1234))
    assert written.schema_arrow.equals(store_schema("packets"))


def store_schema(name: str) -> Any:
    from testbed.tables import TABLES

    return TABLES[name]


def test_rows_do_not_pile_up_in_memory(out: Path) -> None:
    with RunWriter(out, "abc") as writer:
        for start in range(0, 100_000, 1000):
            writer.append(
                "packets", [("down", start, "media", 1, 1, 1, 1, 1, 1, "none", None)] * 1000
            )
            assert len(writer._rows["packets"]) < store.GROUP_ROWS


@pytest.mark.parametrize(
    ("table", "row", "message"),
    [
        ("pakets", ROW, "no table 'pakets'"),
        ("packets", ROW[:-1], "rows do not fit"),
        ("packets", (None, *ROW[1:]), "direction is null"),
        ("packets", ("down", "x", *ROW[2:]), "rows do not fit"),
    ],
)
def test_rows_that_do_not_fit_are_refused(
    out: Path, table: str, row: tuple[Any, ...], message: str
) -> None:
    with RunWriter(out, "abc") as writer, pytest.raises(LocalProtocolError, match=message):
        writer._write(table, [row]) if table in writer._rows else writer.append(table, [row])


def test_quality_stands_beside_the_frames(out: Path) -> None:
    frame = (0, 0, True, 0, 0, 0, 0, 0, 0, 0, 0, 0, "rendered", "", "h264", 1.0, 1, 1, 0, 0, 1, 0)
    with RunWriter(out, "abc") as writer:
        writer.append("frames", [frame, frame])
        writer.close_tables()
        writer.add_frame_columns({"psnr": np.array([30.0, np.nan])})
        with pytest.raises(LocalProtocolError, match="vmaf: 3 values for 2 frames"):
            writer.add_frame_columns({"vmaf": np.zeros(3)})
        writer.publish(manifest={}, summary={})
    frames = pq.read_table(out / "runs" / "abc" / "frames.parquet")
    assert frames["psnr"].to_pylist() == [30.0, None]
    assert frames.num_columns == 23


def test_a_run_that_somebody_else_finished_is_kept(out: Path) -> None:
    with RunWriter(out, "abc") as writer:
        (out / "runs" / "abc").mkdir()
        (out / "runs" / "abc" / "manifest.json").write_text("theirs")
        finish(writer)
    assert (out / "runs" / "abc" / "manifest.json").read_text() == "theirs"
    assert not (out / "runs" / ".abc.tmp").exists()


def with_capture(out: Path, data: bytes) -> None:
    with RunWriter(out, "abc") as writer:
        with writer.tap() as tap:
            tap.sent("down", data, now_ns=0)
        finish(writer)


def capture_of(out: Path) -> bytes:
    return (out / "runs" / "abc" / "capture.pcapng").read_bytes()


def test_a_capture_is_whole_with_its_folder(out: Path) -> None:
    with RunWriter(out, "abc") as writer:
        with writer.tap() as tap:
            tap.sent("down", b"first", now_ns=0)
            assert not list(out.rglob("*.pcapng"))
        assert [path.parent.name for path in out.rglob("*.pcapng")] == [".abc.tmp"]
        finish(writer)
    assert b"first" in capture_of(out)
    assert [path.name for path in (out / "runs").iterdir()] == ["abc"]
    assert store.is_whole(out, "abc", capture=True)


def test_a_run_with_a_capture_takes_the_place_of_one_without(out: Path) -> None:
    with RunWriter(out, "abc") as writer:
        finish(writer)
    assert store.is_whole(out, "abc")
    assert not store.is_whole(out, "abc", capture=True)
    with_capture(out, b"first")
    assert store.is_whole(out, "abc", capture=True)
    assert sorted(path.name for path in (out / "runs").iterdir()) == ["abc"]
    # Neither one without nor another one with a capture does.
    with RunWriter(out, "abc") as writer:
        finish(writer)
    with_capture(out, b"second")
    assert b"first" in capture_of(out)
    assert sorted(path.name for path in (out / "runs").iterdir()) == ["abc"]


def test_what_a_killed_suite_left_is_cleared(out: Path) -> None:
    (out / "runs" / ".abc.tmp").mkdir()
    prepare_output(out)  # another suite may be writing there; only the holder of the lock clears
    assert (out / "runs" / ".abc.tmp").exists()
    with store.locked(out):
        store.discard_unfinished(out)
    assert list((out / "runs").iterdir()) == []


def test_a_file_in_the_way_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file: is a file; --out must name a folder"):
        prepare_output(tmp_path / "file")
    with pytest.raises(OutputError, match="file: is a file; --out must name a folder"):
        prepare_output(tmp_path / "file" / "below")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o555)
    with pytest.raises(OutputError, match="Permission denied"):
        prepare_output(tmp_path / "closed")
    with pytest.raises(OutputError, match="Permission denied"):
        prepare_output(tmp_path / "closed" / "below")


def test_a_second_suite_in_the_same_folder_is_refused(out: Path) -> None:
    with (
        store.locked(out),
        pytest.raises(OutputError, match="another `testbed run`"),
        store.locked(out),
    ):
        pass
    with store.locked(out):
        pass


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "none", str(folder)],
        capture_output=True, check=False,
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip("mounting a tmpfs needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_one_line_and_nothing_half_written(tiny_disk: Path) -> None:
    prepare_output(tiny_disk)
    rng = np.random.default_rng(1)

    def fill() -> None:
        with RunWriter(tiny_disk, "abc") as writer:
            for _ in range(100):
                numbers = rng.integers(0, 1 << 62, store.GROUP_ROWS).tolist()
                rows = [("down", n, "media", 1, 1, n, n, n, n, "none", n) for n in numbers]
                writer.append("packets", rows)

    with pytest.raises(
        OutputError, match=r"packets.parquet: cannot write: No space left on device"
    ):
        fill()
    assert list((tiny_disk / "runs").iterdir()) == []
    assert shutil.disk_usage(tiny_disk).free > 400_000


def test_a_disk_that_is_full_from_the_start_is_one_line(tiny_disk: Path) -> None:
    with pytest.raises(OSError, match="No space"):
        (tiny_disk / "blocks").write_bytes(b"\0" * (1 << 20))
    with pytest.raises(OutputError, match="cannot write: No space left on device"):
        prepare_output(tiny_disk)


def test_a_failed_write_of_json_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"old": np.int64(1)})

    def full(self: Path, text: str, encoding: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OutputError, match=r"x.json: cannot write: No space left"):
        write_json(path, {"new": 1})
    assert json.loads(path.read_text()) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_json_without_numbers_that_json_lacks(tmp_path: Path) -> None:
    with pytest.raises(LocalProtocolError, match=r"x.json: not JSON"):
        write_json(tmp_path / "x.json", {"x": float("nan")})


def test_failures_are_replaced_kept_and_cleared(out: Path) -> None:
    path = out / "failures.json"
    record_failures(out, [{"run": "a"}, {"run": "b"}], ["a", "b"])
    record_failures(out, [{"run": "c"}], ["c"])
    assert [f["run"] for f in json.loads(path.read_text())] == ["a", "b", "c"]
    record_failures(out, [{"run": "b"}], ["a", "b"])
    assert [f["run"] for f in json.loads(path.read_text())] == ["c", "b"]
    record_failures(out, [], ["b", "c"])
    assert not path.exists()
