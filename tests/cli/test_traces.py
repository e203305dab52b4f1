"""`testbed traces` as a user runs it."""

import json

import pytest

from testbed.cli.main import run_command
from testbed.traces import fetch, resolve


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TESTBED_TRACES", raising=False)
    monkeypatch.setenv("TESTBED_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fetch, "INSTALLED", tmp_path / "not-installed")


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    code = run_command(["traces", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def ok(capsys, *arguments: str) -> str:
    code, out, err = run(capsys, *arguments)
    assert code == 0, err
    return out


def test_list(capsys):
    out = ok(capsys, "list")
    assert "bandwidth-tracking " in out
    assert "a proxy for high-speed rail" in out
    assert "not here; testbed traces fetch driving" in out
    answer = json.loads(ok(capsys, "list", "--json"))
    assert all(entry["licence"] and entry["citation"] for entry in answer["entries"])


def test_show(capsys):
    out = ok(capsys, "show", "bandwidth-tracking", "constant:50kbps")
    assert out.splitlines()[1].split()[:3] == ["bandwidth-tracking", "30.0", "350"]
    (answer,) = json.loads(ok(capsys, "show", "constant:50kbps", "--json"))
    assert answer["outage_share"] == 1.0
    assert answer["autocorrelation_1s"] is None
    assert len(answer["sha256"]) == 64


def test_notes_go_to_stderr(capsys, tmp_path):
    (tmp_path / "p.txt").write_text("0 1.5\n2 2.5\n")
    code, out, err = run(capsys, "show", "puffer:p.txt")
    assert code == 0
    assert "megabytes per second" in err
    assert "megabytes" not in out
    code, _, err = run(capsys, "show", "puffer(unit=MB/s):p.txt")
    assert (code, err) == (0, "")


def test_import_with_a_unit(capsys, tmp_path):
    (tmp_path / "p.txt").write_text("0 1.5\n2 2.5\n")
    assert ok(capsys, "import", "p.txt", "--format", "puffer", "-o", "a.csv") == "a.csv\n"
    ok(capsys, "import", "p.txt", "--format", "puffer", "--unit", "Mbps", "-o", "b.csv")
    (one,), (two,) = (resolve(name, base=tmp_path) for name in ("a.csv", "b.csv"))
    assert one.trace.rates_kbps.tolist() == [12_000.0, 20_000.0]
    assert two.trace.rates_kbps.tolist() == [1500.0, 2500.0]


def test_import_chooses_a_series(capsys, tmp_path):
    (tmp_path / "g.csv").write_text("num_tcp_conn,A_throughput_mbps,B_throughput_mbps\n8,5,6\n")
    code, _, err = run(capsys, "import", "g.csv", "-o", "x.csv")
    assert code == 2
    assert "holds 2 series; choose one with --series: A, B" in err
    ok(capsys, "import", "g.csv", "--series", "B", "-o", "x.csv")
    ok(capsys, "import", "g.csv", "--option", "carrier=A", "-o", "y.csv")
    assert resolve("x.csv", base=tmp_path)[0].trace.mean_kbps == 6000.0
    assert resolve("y.csv", base=tmp_path)[0].trace.mean_kbps == 5000.0
    code, _, err = run(capsys, "import", "g.csv", "--series", "C", "-o", "x.csv")
    assert code == 2


def test_export_scale_and_cut(capsys, tmp_path):
    ok(capsys, "export", "rfc8867-5.1", "-o", "r.mahimahi")
    ok(capsys, "scale", "rfc8867-5.1", "--to-mean", "400kbps", "-o", "s.csv")
    ok(capsys, "scale", "rfc8867-5.1", "--by", "0.5", "-o", "h.json")
    ok(capsys, "cut", "rfc8867-5.1", "--start", "40s", "--duration", "20s", "-o", "c.csv")
    means = {n: resolve(n, base=tmp_path)[0].trace.mean_kbps for n in ("s.csv", "h.json", "c.csv")}
    assert means == pytest.approx({"s.csv": 400.0, "h.json": 610.0, "c.csv": 2500.0}, rel=1e-5)
    manifest = json.loads((tmp_path / "s.csv.manifest.json").read_text())
    assert manifest["source"].endswith("scaled to a mean of 400kbps")


def test_generate_is_repeatable_and_says_synthetic(capsys, tmp_path):
    arguments = ("generate", "rail", "--count", "2", "--duration", "30s", "--seed", "7")
    first = ok(capsys, *arguments, "-o", "one").split()
    second = ok(capsys, *arguments, "-o", "two", "--to", "csv").split()
    assert first == ["one/rail-synthetic-30s-0-seed7.csv", "one/rail-synthetic-30s-1-seed7.csv"]
    for one, two in zip(first, second, strict=True):
        assert (tmp_path / one).read_bytes() == (tmp_path / two).read_bytes()
        manifest = json.loads((tmp_path / f"{one}.manifest.json").read_text())
        assert manifest["synthetic"] is True
        assert any("proxy for high-speed rail" in note for note in manifest["notes"])
    ok(capsys, *arguments, "-o", "three", "--to", "mahimahi")
    assert len(resolve("three", base=tmp_path)) == 2


def test_plot(capsys, tmp_path):
    ok(capsys, "plot", "bandwidth-tracking", "model:metro@60s", "-o", "x.svg")
    assert "metro-synthetic-60s-0" in (tmp_path / "x.svg").read_text()


def test_fit_and_validate(capsys, tmp_path):
    ok(capsys, "generate", "metro", "-o", "real", "--count", "4", "--duration", "300s")
    out = ok(capsys, "fit", "real", "--name", "own", "--note", "a test", "-o", "own.json")
    assert "2 files held out" in out
    ok(capsys, "show", "model:own.json@30s#1")
    table = ok(capsys, "validate", "own.json", "--against", "real", "--figure", "x.png")
    assert "| KS of rates |" in table
    assert (tmp_path / "x.png").is_file()
    answer = json.loads(ok(capsys, "validate", "own.json", "--against", "real", "--json"))
    assert answer["held_files"] == 2


def test_fetch_what_is_already_there(capsys):
    folder = fetch.fetched_folder()
    folder.mkdir(parents=True)
    (folder / "A.down").write_text("1\n")
    out = ok(capsys, "fetch", "driving")
    assert f"1 traces are already in {folder}" in out
    assert ok(capsys, "show", "debian:A.down").splitlines()[1].startswith("A.down")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "nothing"), "trace 'nothing' is no file"),
        (("show", "empty.down"), "empty.down: the file is empty"),
        (("show", "back.down"), "back.down: trace line 2 is 3 after 5"),
        (("show", "minus.down"), "minus.down: line 1 is negative"),
        (("show", "model:tram"), "unknown trace model 'tram'"),
        (("export", "set:parametric", "-o", "x.csv"), "stands for 4 traces"),
        (("export", "constant-400", "-o", "x.dat"), "does not tell the format"),
        (("export", "constant-400", "-o", "x.csv", "--to", "sabre"), "only read"),
        (("export", "constant-400", "-o", "."), "is a folder"),
        (("export", "constant-400", "-o", "back.down/x.csv"), "cannot be written"),
        (("export", "model:rail@30s", "-o", "x.csv"), "must say so"),
        (("scale", "constant-400", "-o", "x.csv"), "either --by FACTOR or --to-mean RATE"),
        (("scale", "constant-400", "-o", "x.csv", "--by", "-1"), "must be a number > 0"),
        (("cut", "constant-400", "-o", "x.csv", "--duration", "2h"), "not inside the trace"),
        (("plot", "constant-400", "-o", "x.gif"), "a picture ends in"),
        (("generate", "rail", "-o", "back.down"), "is a file; name a folder"),
        (("generate", "rail", "-o", "d", "--count", "0"), "--count"),
        (("generate", "rail", "-o", "d", "--to", "word"), "unknown trace format"),
        (("import", "nothing", "-o", "x.csv"), "cannot be read"),
        (("import", "back.down", "-o", "x.csv", "--option", "x"), "not of the form NAME=VALUE"),
        (("fetch", "moon"), "cannot fetch 'moon'; known: driving"),
        (("fit", "nothing", "--name", "x", "-o", "x.json"), "nothing: no such file"),
        (("validate", "rail", "--against", "nothing"), "nothing: no such file"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(capsys, tmp_path, arguments, message):
    (tmp_path / "empty.down").write_text("")
    (tmp_path / "back.down").write_text("5\n3\n")
    (tmp_path / "minus.down").write_text("-1\n")
    before = sorted(tmp_path.rglob("*"))
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert message in err
    assert len(err.splitlines()) == 1
    assert out == ""
    assert sorted(tmp_path.rglob("*")) == before  # nothing half written
