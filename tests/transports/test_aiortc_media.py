from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from testbed.errors import InputError, ToolMissingError
from testbed.transports import TRANSPORTS, aiortc_media, parse_options
from testbed.worlds.realtime.world import run_relay_session
from testbed.worlds.simulator import run_session
from tests.worlds.helpers import MemorySink, session

NAMES = ("aiortc-h264", "aiortc-vp8")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("run", [run_session, run_relay_session])
def test_the_other_worlds_refuse_it_in_one_line(name: str, run: object) -> None:
    assert callable(run)
    with pytest.raises(InputError) as refused:
        run(session(transport=name, duration_s=1.0), MemorySink(), base=Path.cwd())
    assert str(refused.value) == f"transport {name} runs in --world webrtc only"


@pytest.mark.parametrize("name", NAMES)
def test_it_takes_no_options(name: str) -> None:
    transport = TRANSPORTS.get(name)
    with pytest.raises(InputError, match="unknown option 'payload_bytes'"):
        parse_options(transport, {"payload_bytes": 1000})
    assert transport.decoder_options(parse_options(transport, {})) == {}


def test_its_runs_are_named_after_the_version_of_aiortc(monkeypatch: pytest.MonkeyPatch) -> None:
    transport = TRANSPORTS.get("aiortc-vp8")
    options = parse_options(transport, {})
    monkeypatch.setattr(aiortc_media, "package_version", {"aiortc": "1.2.3"}.__getitem__)
    assert transport.made_with(options) == {"aiortc": "1.2.3"}

    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(aiortc_media, "package_version", missing)
    with pytest.raises(ToolMissingError, match=r"needs the package aiortc: pip install '.*'$"):
        transport.made_with(options)
