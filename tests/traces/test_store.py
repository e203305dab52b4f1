"""Written traces and their manifests."""

import json

import numpy as np
import pytest

from testbed.errors import OutputError, TraceError
from testbed.network.trace import RateTrace
from testbed.traces import ResolvedTrace, resolve
from testbed.traces.files import write_text_whole, written_whole
from testbed.traces.store import save

TRACE = ResolvedTrace("mine", RateTrace(np.array([2_000_000]), np.array([400.0])), "by hand")


@pytest.mark.parametrize("name", ["x.csv", "x.json", "x.mahimahi", "x.down", "x.up"])
def test_the_ending_tells_the_format_and_it_reads_back(tmp_path, name):
    save(TRACE, tmp_path / name)
    (back,) = resolve(name, base=tmp_path)
    assert back.opportunities().times_ms.tolist() == TRACE.opportunities().times_ms.tolist()
    assert sorted(path.name for path in tmp_path.iterdir()) == [name, f"{name}.manifest.json"]


def test_the_manifest_says_where_it_comes_from(tmp_path):
    manifest = json.loads(save(TRACE, tmp_path / "x.csv").read_text())
    assert manifest["source"] == "by hand"
    assert manifest["synthetic"] is False
    assert manifest["sha256"] == TRACE.sha256
    assert manifest["statistics"]["mean_kbps"] == 400.0


def test_a_synthetic_trace_does_not_hide(tmp_path):
    (drawn,) = resolve("model:metro@30s", base=tmp_path)
    with pytest.raises(TraceError, match=r"synthetic; the name of its file must say so"):
        save(drawn, tmp_path / "metro.csv")
    manifest = save(drawn, tmp_path / "metro-synthetic.csv")
    assert json.loads(manifest.read_text())["synthetic"] is True
    (back,) = resolve("metro-synthetic.csv", base=tmp_path)
    assert back.synthetic
    assert back.sha256 == drawn.sha256


def test_outputs_that_cannot_be(tmp_path):
    with pytest.raises(TraceError, match=r"ending does not tell the format"):
        save(TRACE, tmp_path / "x.dat")
    save(TRACE, tmp_path / "x.dat", format_name="pensieve")
    with pytest.raises(OutputError, match=r"is a folder"):
        save(TRACE, tmp_path, format_name="csv")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot be written"):
        save(TRACE, tmp_path / "file" / "x.csv")
    with pytest.raises(OutputError, match=r"No space left"):
        write_text_whole_on_full_disk(tmp_path)


def write_text_whole_on_full_disk(folder):
    with written_whole(folder / "x"):
        raise OSError(28, "No space left on device")


def write_half(path):
    with written_whole(path) as temporary:
        temporary.write_text("half")
        raise KeyError


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "x"
    write_text_whole(path, "old")
    with pytest.raises(KeyError):
        write_half(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
