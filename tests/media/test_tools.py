"""Outside programs: their errors and their ends."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

from testbed.errors import ToolFailedError, ToolMissingError
from testbed.media import tools
from testbed.media.tools import FfmpegStream, ffmpeg_exe, run_ffmpeg

COPY = ("-f", "rawvideo", "-pix_fmt", "gray", "-s", "4x4", "-i", "-", "-f", "rawvideo")


def test_there_is_an_ffmpeg_with_what_we_need() -> None:
    assert os.access(ffmpeg_exe(), os.X_OK)
    assert b"libvvenc" in run_ffmpeg(["-encoders"], timeout_s=60)
    assert b"libvmaf" in run_ffmpeg(["-filters"], timeout_s=60)


def test_more_than_the_pipes_hold_goes_through() -> None:
    pictures = [os.urandom(16) for _ in range(40_000)]
    out = run_ffmpeg([*COPY, "-"], pieces=pictures, timeout_s=120)
    assert out == b"".join(pictures)


def test_the_message_has_the_last_line_of_stderr() -> None:
    with pytest.raises(ToolFailedError, match=r"ffmpeg failed: .*(No such|not found|Error)"):
        run_ffmpeg(["-i", "/no/such/file", "-f", "null", "-"], timeout_s=60)


def test_an_early_end_is_no_broken_pipe() -> None:
    with pytest.raises(ToolFailedError, match="ffmpeg failed"):
        run_ffmpeg(["-bad-option"], pieces=[bytes(1 << 20)] * 10, timeout_s=60)


def test_what_takes_too_long_is_stopped() -> None:
    with pytest.raises(ToolFailedError, match=r"longer than 0\.5 s"):
        run_ffmpeg(["-re", "-f", "lavfi", "-i", "testsrc", "-f", "null", "-"], timeout_s=0.5)


def test_a_failing_source_of_pieces_ends_the_process() -> None:
    def pieces() -> object:
        yield bytes(16)
        raise KeyError("from the source")

    with pytest.raises(KeyError, match="from the source"):
        run_ffmpeg([*COPY, "-"], pieces=pieces(), timeout_s=60)  # type: ignore[arg-type]


def test_no_ffmpeg_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import imageio_ffmpeg

    def missing() -> str:
        raise RuntimeError("No ffmpeg exe could be found")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", missing)
    tools.ffmpeg_exe.cache_clear()
    try:
        with pytest.raises(ToolMissingError, match="pip install") as caught:
            ffmpeg_exe()
        assert caught.value.exit_code == 2
    finally:
        tools.ffmpeg_exe.cache_clear()


def test_a_stream_is_fed_and_read_while_it_runs() -> None:
    stream = FfmpegStream([*COPY, "-flush_packets", "1"])
    for number in range(50):
        stream.feed(bytes([number]) * 16)
    stream.finish()
    seen = b""
    while data := stream.read(60):
        seen += data
    assert seen == b"".join(bytes([number]) * 16 for number in range(50))
    stream.close()


def test_a_stream_that_fails_says_why() -> None:
    stream = FfmpegStream(["-i", "/no/such/file", "-f", "null"])
    with pytest.raises(ToolFailedError, match=r"ffmpeg failed: \S+"):
        stream.read(60)
    with pytest.raises(ToolFailedError, match=r"ffmpeg failed: \S+"):
        stream.feed(bytes(1 << 22))


def test_chatter_on_standard_output_stays_out_of_the_stream() -> None:
    """VVenC prints a line to standard output when it ends."""
    stream = FfmpegStream([*COPY, "-", *COPY[-2:]])
    stream.feed(b"0123456789abcdef")
    stream.finish()
    assert stream.read(60) == b"0123456789abcdef"
    assert stream.read(60) == b""


def test_a_silent_stream_is_given_up() -> None:
    stream = FfmpegStream(COPY)
    with pytest.raises(ToolFailedError, match=r"nothing within 0\.2 s"):
        stream.read(0.2)
    stream.close()


def test_a_forgotten_stream_is_ended() -> None:
    stream = FfmpegStream(COPY)
    pid = stream._process.pid
    assert Path(f"/proc/{pid}").exists()
    del stream
    gc.collect()
    assert not Path(f"/proc/{pid}").exists()
