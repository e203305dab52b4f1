import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import testbed
from testbed.cli import main as cli
from testbed.errors import InputError, ToolFailedError

#: What no command may import before it runs; each costs more than a tenth of a second. (Pydantic is
#: missing here because typer itself brings it.)
HEAVY = {"pandas", "scipy", "matplotlib", "av", "pyarrow", "torch", "numpy", "simpy", "rich"}
COMMANDS = [
    [],
    ["run"],
    ["schema"],
    ["report"],
    ["fidelity"],
    ["doctor"],
    ["transports"],
    ["transports", "list"],
    ["transports", "show"],
    ["traces"],
    ["clips"],
]
PROBE = """
import sys, json
from testbed.cli.main import run_command
code = run_command(sys.argv[1:])
print("\\n" + json.dumps([code, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def probe(*arguments: str) -> tuple[int, set[str], str]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, check=True
    )
    text, _, last = done.stdout.rstrip().rpartition("\n")
    code, modules = json.loads(last)
    return code, set(modules), text + done.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_is_there_and_imports_nothing_heavy(command: list[str]) -> None:
    code, modules, text = probe(*command, "--help")
    assert code == 0
    assert " ".join(["Usage: testbed", *command]) in text
    assert not modules & HEAVY


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run_command(["--version"]) == 0
    assert capsys.readouterr().out == f"testbed {testbed.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "error: No such command 'nothing' (see testbed --help)\n"),
        (["run"], "error: Missing argument 'SCENARIO...' (see testbed run --help)\n"),
        (
            ["run", "x.yaml", "--jobs", "0"],
            "error: Invalid value for '--jobs': ",
        ),
        (["run", "--foo"], "error: No such option: --foo"),
        (
            ["transports", "show", "h277"],
            "error: unknown transport 'h277'; known: aiortc-h264, aiortc-vp8, ",
        ),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert cli.run_command(arguments) == 2
    errors = capsys.readouterr().err
    assert errors.startswith(message)
    assert errors.count("\n") == 1


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run_command([]) == 2
    captured = capsys.readouterr()
    assert "Usage: testbed" in captured.out + captured.err


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (InputError("x.yaml:3: wrong"), 2, "error: x.yaml:3: wrong\n"),
        (ToolFailedError("ffmpeg:\n it  broke"), 1, "error: ffmpeg: it broke\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
        (
            ValueError(),
            70,
            "error: internal error (ValueError); please report it; TESTBED_DEBUG=1 shows more\n",
        ),
    ],
)
def test_whatever_goes_wrong_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    message: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    monkeypatch.delenv("TESTBED_DEBUG", raising=False)
    assert cli.run_command([]) == code
    assert capsys.readouterr().err == message


def test_debug_keeps_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("odd")

    monkeypatch.setattr(cli, "app", fail)
    monkeypatch.setenv("TESTBED_DEBUG", "1")
    with pytest.raises(ValueError, match="odd"):
        cli.run_command([])


@pytest.mark.parametrize("unbuffered", ["0", "1"])
def test_a_reader_that_leaves_is_no_noise(unbuffered: str) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": "" if unbuffered == "0" else "1"}
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "testbed.cli.main", "--version"],
        stdout=writing, stderr=subprocess.PIPE, env=environment, check=False,
        cwd=Path(testbed.__file__).parents[1],
    )  # fmt: skip
    os.close(writing)
    assert done.stderr == b""
