"""The encode cache: several processes, damage, bounds."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from testbed.errors import OutputError
from testbed.media.cache import EncodeCache, default_path
from testbed.paths import cache_dir


def _key(number: int) -> bytes:
    return number.to_bytes(20, "big")


def test_what_is_filed_is_found(tmp_path: Path) -> None:
    cache = EncodeCache(tmp_path / "a.sqlite")
    assert cache.get(_key(1)) is None
    cache.put_many([(_key(1), (b"one", 11)), (_key(2), (b"two", 22))])
    assert cache.get(_key(1)) == (b"one", 11)
    assert cache.get_many([_key(n) for n in range(4)]) == {
        _key(1): (b"one", 11),
        _key(2): (b"two", 22),
    }
    cache.close()
    assert EncodeCache(tmp_path / "a.sqlite").get(_key(2)) == (b"two", 22)


def test_the_first_time_stays(tmp_path: Path) -> None:
    one, two = EncodeCache(tmp_path / "a.sqlite"), EncodeCache(tmp_path / "a.sqlite")
    assert one.put_many([(_key(1), (b"x", 100))]) == [(b"x", 100)]
    assert two.put_many([(_key(1), (b"x", 999))]) == [(b"x", 100)]


def _fill(arguments: tuple[str, int]) -> list[int]:
    path, worker = arguments
    cache = EncodeCache(Path(path))
    return [
        cache.put_many([(_key(number), (bytes([number]), 1000 * worker + number))])[0][1]
        for number in range(100)
    ]


def test_several_processes_agree(tmp_path: Path) -> None:
    path = str(tmp_path / "a.sqlite")
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as pool:
        answers = list(pool.map(_fill, [(path, worker) for worker in range(3)]))
    assert answers[0] == answers[1] == answers[2]
    assert EncodeCache(Path(path)).info().frames == 100


def test_many_processes_make_the_file_at_once(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        for attempt in range(10):
            path = str(tmp_path / f"{attempt}.sqlite")
            answers = list(pool.map(_fill, [(path, worker) for worker in range(4)]))
            assert all(answer == answers[0] for answer in answers)


@pytest.mark.parametrize(
    "content", [b"not a database at all" * 100, b"SQLite format 3\x00" + bytes(99)]
)
def test_a_damaged_file_is_set_aside(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.sqlite"
    path.write_bytes(content)
    with pytest.warns(UserWarning, match="set aside as a.damaged"):
        cache = EncodeCache(path)
    cache.put_many([(_key(1), (b"x", 1))])
    assert cache.get(_key(1)) == (b"x", 1)
    assert (tmp_path / "a.damaged").read_bytes() == content


def test_damage_while_open_is_survived(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    filled = EncodeCache(path)
    filled.put_many([(_key(n), (bytes(3000), n)) for n in range(200)])
    filled.close()
    cache = EncodeCache(path)
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.warns(UserWarning, match="set aside"):
        found = [cache.get(_key(n)) for n in range(200)]
    assert None in found
    cache.put_many([(_key(1), (b"x", 1))])
    assert cache.get(_key(1)) == (b"x", 1)


def test_a_database_of_another_kind_is_used_beside_its_tables(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE frames (wrong INTEGER)")
        db.execute("PRAGMA user_version=99")
    db.close()
    cache = EncodeCache(path)
    cache.put_many([(_key(1), (b"x", 1))])
    assert cache.get(_key(1)) == (b"x", 1)


def test_the_oldest_go_when_it_is_full(tmp_path: Path) -> None:
    cache = EncodeCache(tmp_path / "a.sqlite", limit_bytes=100_000)
    for number in range(300):
        cache.put_many([(_key(number), (bytes(1000), 1))])
    info = cache.info()
    assert info.media_bytes <= 102_000
    assert cache.get(_key(0)) is None
    assert cache.get(_key(299)) is not None


def test_clear_removes_everything(tmp_path: Path) -> None:
    cache = EncodeCache(tmp_path / "a.sqlite")
    cache.put_many([(_key(n), (bytes(5000), 1)) for n in range(100)])
    cache.clear()
    info = cache.info()
    assert (info.frames, info.media_bytes) == (0, 0)


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be used as encode cache"):
        EncodeCache(tmp_path / "file" / "a.sqlite")
    with pytest.raises(OutputError, match="cannot be used as encode cache"):
        EncodeCache(tmp_path)


def test_the_default_lies_in_the_cache_folder() -> None:
    assert default_path().parent == cache_dir()
    EncodeCache.default().close()
    assert default_path().is_file()
