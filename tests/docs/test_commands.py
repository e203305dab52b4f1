"""Every command that the documentation shows in a console block runs and succeeds.

Commands run from the repository root, block by block in the order of the page. Lines without the
prompt `$ ` are output and are not compared.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands_of(page: Path) -> list[str]:
    """The commands of a page; a trailing backslash continues on the next line."""
    found = []
    for block in BLOCK.findall(page.read_text(encoding="utf-8")):
        lines = iter(block.splitlines())
        for line in lines:
            if not line.startswith("$ "):
                continue
            command = line[2:]
            while command.endswith("\\"):
                command = command[:-1] + next(lines).strip()
            found.append(command)
    return found


SHOWN = [(page, commands) for page in PAGES if (commands := commands_of(page))]


@pytest.mark.parametrize(
    ("page", "commands"), SHOWN, ids=[str(page.relative_to(ROOT)) for page, _ in SHOWN]
)
@pytest.mark.timeout(600)
def test_shown_commands_run(page: Path, commands: list[str], tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "TMPDIR": str(tmp_path),
        "TMP": str(tmp_path),
        # What a busy machine does to real-time sessions is not the point here.
        "TESTBED_BUSY_P99_MS": "1000",
    }
    for command in commands:
        if command.startswith("make "):  # these make the very environment that runs this test
            continue
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
        assert done.returncode == 0, f"{page.name}: {command}\n{done.stdout}\n{done.stderr}"


def test_the_pages_show_commands() -> None:
    assert any(page.name == "README.md" for page, _ in SHOWN)
