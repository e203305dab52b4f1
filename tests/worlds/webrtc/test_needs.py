import pytest

from testbed.errors import ToolMissingError
from testbed.worlds.webrtc import needs
from testbed.worlds.webrtc.needs import require_aiortc


def test_what_is_missing_is_named_with_the_command_that_brings_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(needs, "find_spec", lambda _name: None)
    with pytest.raises(ToolMissingError) as refused:
        require_aiortc()
    assert str(refused.value) == (
        "--world webrtc needs the package aiortc: pip install 'morphe-testbed[webrtc]'"
    )
    assert refused.value.exit_code == 2
