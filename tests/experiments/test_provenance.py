import subprocess
from pathlib import Path

import pytest

from testbed.experiments import provenance


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = tmp_path / "package"
    for name in ("network", "protocol", "transports", "media", "worlds", "experiments", "cli"):
        (package / name).mkdir(parents=True)
        (package / name / "code.py").write_text("x = 1\n")
    (package / "codec").mkdir()
    coding = [f"codec/{name}.py" for name in ("core", "gops", "pixels", "rates", "units")]
    for name in (*coding, "experiments/runner.py", "randomness.py", "tables.py"):
        (package / name).write_text("x = 1\n")
    monkeypatch.setattr(provenance, "_PACKAGE", package)
    return package


def code_hash() -> str:
    return provenance.code_hash.__wrapped__()


def test_the_code_hash_follows_what_determines_a_run(sources: Path) -> None:
    before = code_hash()
    assert code_hash() == before
    (sources / "cli" / "code.py").write_text("x = 2\n")
    assert code_hash() == before
    for name in ("network/code.py", "experiments/runner.py", "tables.py"):
        (sources / name).write_text("x = 2\n")
        after = code_hash()
        assert after != before, name
        before = after
    (sources / "media" / "code.py").rename(sources / "media" / "renamed.py")
    assert code_hash() != before


def test_every_folder_that_determines_a_run_exists() -> None:
    for name in provenance._DETERMINING:
        assert (provenance._PACKAGE / name).exists(), name


def test_the_commit_says_when_there_are_changes(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-c", "user.name=x", "-c", "user.email=x@x", *arguments]
        done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    assert provenance.git_commit.__wrapped__() is None
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "x")
    commit = git("rev-parse", "HEAD")
    assert provenance.git_commit.__wrapped__() == commit
    (sources / "tables.py").write_text("x = 3\n")
    assert provenance.git_commit.__wrapped__() == f"{commit}+changes"

    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(subprocess, "run", missing)
    assert provenance.git_commit.__wrapped__() is None


def test_versions_name_what_can_change_a_number() -> None:
    versions = provenance.versions()
    for name in ("python", "testbed", "code", "numpy", "simpy", "av", "av_ffmpeg", "ffmpeg"):
        assert versions[name], name
    assert provenance.host()["cpu"]
