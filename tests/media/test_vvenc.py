from pathlib import Path

import pytest

from testbed.media.clips import open_clip
from testbed.media.encoders import EncoderConfig
from testbed.media.spec import ClipSpec
from testbed.media.vvenc import VvencSegment


@pytest.mark.parametrize("length", [1, 7, 13, 14, 15, 16, 22])
def test_a_segment_gives_every_frame_however_near_the_end_it_starts(length: int) -> None:
    """ffmpeg's wrapper of VVenC loses everything when flushed after 14 or 15 frames."""
    clip = open_clip(ClipSpec("test:testsrc2", 96, 64, 10.0, 3.0), base=Path.cwd())
    start = clip.frame_count - length
    segment = VvencSegment(clip, start, clip.frame_count, 32, 30, EncoderConfig())
    units: list[tuple[bytes, int]] = []
    while len(units) < length:
        units += segment.encode(start + len(units), 100.0)
    segment.close()
    assert len(units) == length
    assert all(data.startswith(b"\x00\x00\x00\x01") for data, _ in units)


def test_what_follows_the_end_of_a_segment_changes_nothing_before_it() -> None:
    clip = open_clip(ClipSpec("test:testsrc2", 96, 64, 10.0, 3.0), base=Path.cwd())

    def bytes_of(end: int) -> list[bytes]:
        segment = VvencSegment(clip, 0, end, 32, 30, EncoderConfig())
        units: list[tuple[bytes, int]] = []
        while len(units) < end:
            units += segment.encode(len(units), 100.0)
        segment.close()
        return [data for data, _ in units]

    whole = bytes_of(clip.frame_count)
    for end in (9, 15, 24):
        assert bytes_of(end) == whole[:end]
