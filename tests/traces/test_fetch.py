"""Fetching from Debian: the derived source, and what happens where there is no Debian."""

import pytest

from testbed.errors import ToolFailedError, ToolMissingError
from testbed.traces import fetch

DEB822 = """\
Types: deb
# http://mirror.example/archive/debian/20250520T000000Z
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
"""


KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
ONE_LINE = """\
# comment
deb-src http://m.example/debian bookworm main
deb http://security.example/debian-security bookworm-security main
deb http://m.example/debian bookworm main contrib
"""


@pytest.fixture
def apt(tmp_path):
    (tmp_path / "sources.list.d").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        (
            "sources.list.d/debian.sources",
            DEB822,
            f"deb [signed-by={KEYS}] http://mirror.example/debian bullseye main",
        ),
        (
            "sources.list",
            ONE_LINE,
            "deb http://m.example/debian bullseye main",
        ),
        (
            "sources.list.d/x.list",
            "deb [arch=amd64 signed-by=/k.gpg] https://m.example/debian/ bookworm main\n",
            "deb [signed-by=/k.gpg] https://m.example/debian/ bullseye main",
        ),
    ],
)
def test_the_source_is_derived_from_the_machines_own(apt, name, text, line):
    (apt / name).write_text(text)
    assert fetch.debian_source(apt).line("bullseye") == line


@pytest.mark.parametrize(
    "text",
    [
        "",
        "deb http://m.example/ubuntu noble main\n",
        "deb http://m.example/debian bookworm contrib\n",
        "Types: deb-src\nURIs: http://m.example/debian\nSuites: x\nComponents: main\n",
    ],
)
def test_without_a_debian_archive_it_says_what_to_do(apt, text):
    (apt / "sources.list.d" / "x.sources").write_text(text)
    (apt / "sources.list").write_text(text)
    with pytest.raises(ToolMissingError, match=r"no Debian archive among the apt sources"):
        fetch.debian_source(apt)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "INSTALLED", tmp_path / "usr" / "share" / "mahimahi" / "traces")
    monkeypatch.setenv("TESTBED_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_without_apt_it_says_what_to_do(elsewhere, monkeypatch):
    monkeypatch.setenv("PATH", str(elsewhere))
    with pytest.raises(ToolMissingError, match=r"apt-get is not here; .* put its files into"):
        fetch.fetch_driving()


def test_what_is_there_is_not_fetched_again(elsewhere):
    assert fetch.driving_folder() is None
    fetch.fetched_folder().mkdir(parents=True)
    assert fetch.driving_folder() is None  # empty
    (fetch.fetched_folder() / "x.down").write_text("1\n")
    assert fetch.fetch_driving() == (fetch.fetched_folder(), False)
    fetch.INSTALLED.mkdir(parents=True)
    (fetch.INSTALLED / "y.down").write_text("1\n")
    assert fetch.fetch_driving() == (fetch.INSTALLED, False)


def tool(folder, name, script):
    path = folder / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_apt_and_dpkg_bring_the_folder(elsewhere, monkeypatch):
    tool(elsewhere, "apt-get", 'case "$*" in *download*) : > mahimahi-traces_0.98_all.deb;; esac')
    unpack = fetch.INSTALLED.relative_to("/")
    tool(elsewhere, "dpkg-deb", f'mkdir -p "$3/{unpack}" && echo 1 > "$3/{unpack}/z.down"')
    monkeypatch.setenv("PATH", f"{elsewhere}/bin:/usr/bin:/bin")
    folder, new = fetch.fetch_driving()
    assert new
    assert [path.name for path in folder.iterdir()] == ["z.down"]
    assert [path.name for path in folder.parent.iterdir()] == ["debian-driving"]


def test_a_failure_is_aptitudes_last_line_and_leaves_nothing(elsewhere, monkeypatch):
    tool(elsewhere, "apt-get", "echo noise >&2; echo 'E: no network' >&2; exit 100")
    tool(elsewhere, "dpkg-deb", "exit 1")
    monkeypatch.setenv("PATH", f"{elsewhere}/bin:/usr/bin:/bin")
    monkeypatch.setattr(fetch, "debian_source", lambda: fetch.DebianSource("http://m/debian", ""))
    with pytest.raises(ToolFailedError, match=r"^apt-get failed: E: no network$"):
        fetch.fetch_driving()
    assert list(fetch.fetched_folder().parent.iterdir()) == []
