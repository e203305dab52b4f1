import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.utils import wrpcap

from testbed.capture.replay import arrivals
from testbed.cli.main import run_command
from testbed.experiments.store import is_whole
from testbed.protocol.rtp import pack_rtp
from tests.capture.tshark import fields, needs_tshark
from tests.cli.test_run import SCENARIO

TABLES = ("frames", "packets", "control", "link")


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    """Two runs of a second: H.264 and Morphe over a path that loses."""
    path = tmp_path / "tiny.yaml"
    text = SCENARIO.replace("rate: [0, 0.05]", "rate: 0.1").replace("h265", "morphe")
    path.write_text(text.replace("seeds: [1, 2]", "seeds: [1]"), encoding="utf-8")
    return path


def answer_of(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def run_folders(out: Path) -> list[Path]:
    return sorted(out.glob("runs/*"))


def test_a_capture_changes_no_table_and_no_name(
    scenario: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, with_capture = tmp_path / "plain", tmp_path / "with"
    assert run_command(["run", str(scenario), "--out", str(plain), "-q"]) == 0
    arguments = ["run", str(scenario), "--out", str(with_capture), "-q", "--capture"]
    assert run_command(arguments) == 0
    assert len(run_folders(plain)) == 2
    for one, other in zip(run_folders(plain), run_folders(with_capture), strict=True):
        assert one.name == other.name
        for name in TABLES:
            assert_frame_equal(
                pd.read_parquet(one / f"{name}.parquet"),
                pd.read_parquet(other / f"{name}.parquet"),
            )
        assert (one / "summary.json").read_bytes() == (other / "summary.json").read_bytes()
        files = {path.name for path in other.iterdir()} - {path.name for path in one.iterdir()}
        assert files == {"capture.pcapng"}
        packets = pd.read_parquet(other / "packets.parquet")
        came = packets[(packets.direction == "down") & packets.arrival_ns.notna()]
        found = [at for at, _ in arrivals(other / "capture.pcapng")]
        assert found == sorted(came.arrival_ns.astype("int64"))


def test_the_same_run_has_the_same_capture(
    scenario: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, jobs in (("one", "1"), ("two", "2")):
        out = str(tmp_path / name)
        assert (
            run_command(["run", str(scenario), "--out", out, "-q", "--capture", "--jobs", jobs])
            == 0
        )
    captures = [
        [(path / "capture.pcapng").read_bytes() for path in run_folders(tmp_path / name)]
        for name in ("one", "two")
    ]
    assert captures[0] == captures[1]
    assert len(set(captures[0])) == 2


def test_whole_runs_without_a_capture_are_run_again(
    scenario: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["run", str(scenario), "--out", str(out)]
    assert run_command([*arguments, "-q", "--set", "transports=[h264]"]) == 0
    capsys.readouterr()
    assert run_command([*arguments, "--dry-run", "--capture"]) == 0
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["to", "to", "2"]
    assert run_command([*arguments, "--capture"]) == 0
    said = capsys.readouterr()
    assert said.out == f"{out}: 2 of 2 runs are whole, 1 run again for a capture\n"
    assert "[2/2]" in said.err
    assert sorted(path.name[0] == "." for path in run_folders(out)) == [False, False]
    assert all(is_whole(out, path.name, capture=True) for path in run_folders(out))
    # With captures there, both ways of asking keep them.
    for options in (["--capture"], []):
        assert run_command([*arguments, "--json", *options]) == 0
        (answer,) = answer_of(capsys)
        assert (len(answer["made"]), len(answer["kept"]), answer["again"]) == (0, 2, [])
    assert all((path / "capture.pcapng").is_file() for path in run_folders(out))


def test_a_world_that_makes_none_is_refused(
    scenario: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from testbed.experiments.runner import WORLDS
    from tests.experiments import fakeworld

    monkeypatch.setitem(WORLDS._entries, "good", fakeworld.good)
    out = tmp_path / "out"
    arguments = ["run", str(scenario), "--out", str(out), "--world", "good", "--capture"]
    assert run_command(arguments) == 2
    assert capsys.readouterr().err == "error: this world makes no captures; run without --capture\n"
    assert not out.exists()


@pytest.fixture
def run_folder(scenario: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    out = tmp_path / "out"
    arguments = ["run", str(scenario), "--out", str(out), "-q", "--capture"]
    assert run_command([*arguments, "--set", "transports=[morphe]"]) == 0
    capsys.readouterr()
    return run_folders(out)[0]


def test_inspect_answers_as_text_and_json(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(run_folder / "capture.pcapng")
    assert run_command(["capture", "inspect", file]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"{file}: ")
    assert "sender: 192.0.2.1:50004 -> 198.51.100.1:5004  " in text
    assert "  0x4d6f7270  98 " in text
    assert "  Morphe: 4 GoPs (4 complete), 64x36, " in text
    assert "not RTP" not in text
    assert run_command(["capture", "inspect", file, "--json"]) == 0
    found = answer_of(capsys)
    assert [flow["interface"] for flow in found["flows"]] == [
        "sender", "receiver", "receiver", "sender",
    ]  # fmt: skip
    assert found["flows"][0]["morphe"]["gops"] == 4


def test_inspect_takes_the_captures_of_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packets = []
    for n in range(5):
        data = pack_rtp(b"x", payload_type=111, marker=False, sequence=n, timestamp=960 * n, ssrc=1)
        packet = Ether() / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1, dport=2) / data
        packet.time = n * 0.02
        packets.append(packet)
    packets += [Ether() / IP() / UDP(sport=9, dport=53) / b"other", Ether(dst="ff:ff:ff:ff:ff:ff")]
    file = tmp_path / "other.pcap"
    wrpcap(str(file), packets)
    assert run_command(["capture", "inspect", str(file), "--clock-hz", "48000"]) == 0
    text = capsys.readouterr().out
    assert "\n10.0.0.1:1 -> 10.0.0.2:2  5 datagrams, 65 bytes\n" in text
    assert "  0x00000001  111 " in text
    assert "not RTP: 1 datagrams in 1 flows\nnot UDP over IP: 1 packets\n" in text
    (source,) = inspect_json(file, capsys)["flows"][0]["sources"]
    assert source["jitter_ms"] == pytest.approx(0, abs=1e-3)


def inspect_json(file: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    assert run_command(["capture", "inspect", str(file), "--clock-hz", "48000", "--json"]) == 0
    return answer_of(capsys)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "offset 0: the file ends after 0 of 4 bytes that should follow"),
        (b"\x0a\x0d\x0d\x0a", "offset 0: the file ends after 4 of 8 bytes that should follow"),
        (b"PK\x03\x04zip", "offset 0: neither pcapng nor pcap: the first bytes are 50 4b 03 04"),
    ],
)
def test_garbage_is_one_line_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, message: str
) -> None:
    file = tmp_path / "x"
    file.write_bytes(content)
    assert run_command(["capture", "inspect", str(file)]) == 2
    assert capsys.readouterr().err == f"error: {file}: {message}\n"


@needs_tshark
def test_the_printed_script_works_in_tshark(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["capture", "lua"]) == 0
    script = capsys.readouterr().out.strip()
    rows = fields(
        run_folder / "capture.pcapng", "morphe.packets", options=("-X", f"lua_script:{script}")
    )
    assert sum(row != [""] for row in rows) > 4


def test_qlog_goes_where_it_should(
    run_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "logs" / "here"
    assert run_command(["capture", "qlog", str(run_folder), "--out", str(out)]) == 0
    paths = [out / f"{run_folder.name}.{name}.sqlog" for name in ("sender", "network", "receiver")]
    assert capsys.readouterr().out.splitlines() == [str(path) for path in paths]
    for path in paths:
        header = json.loads(path.read_text(encoding="utf-8").split("\x1e")[1])
        assert header["trace"]["common_fields"]["group_id"] == run_folder.name
    monkeypatch.setenv("QLOGDIR", str(tmp_path / "elsewhere"))
    assert run_command(["capture", "qlog", str(run_folder), "--vantage", "network"]) == 0
    assert [p.name for p in (tmp_path / "elsewhere").iterdir()] == [paths[1].name]


def test_qlog_of_nothing_is_one_line(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["capture", "qlog", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path}/manifest.json: missing\n"
    assert run_command(["capture", "qlog", str(run_folder), "--vantage", "moon"]) == 2
    assert "must be one of sender, network, receiver (got 'moon')" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    arguments = ["capture", "qlog", str(run_folder), "--out", str(tmp_path / "file")]
    assert run_command(arguments) == 2
    assert "file: cannot make the folder: File exists" in capsys.readouterr().err


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from testbed.cli.main import run_command; "
        "run_command(['capture', '--help']); run_command(['capture', 'inspect', '--help']); "
        "print([m for m in ('torch', 'scapy', 'pandas', 'pyarrow', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
