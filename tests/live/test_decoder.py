"""Live decoding: the same pictures as decoding at leisure, and never in anybody's way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from viewing import flat

from morphe_core.errors import MorpheError
from testbed.errors import LocalProtocolError
from testbed.live import decoder as module
from testbed.live.decoder import MOST_PICTURES, MOST_WAITING, MOST_WITHOUT_KEY, LiveDecoder
from testbed.live.recording import Recording, open_recording
from testbed.media.clips import Picture
from testbed.media.decoding import DECODERS, DecodedFrame
from testbed.media.types import ReceivedFrame


def of(recording: Recording) -> LiveDecoder:
    return LiveDecoder(
        recording.codec, width=160, height=96, conceal=recording.conceal,
        options=recording.decoder_options,
    )  # fmt: skip


def wait_for(decoder: LiveDecoder, index: int) -> tuple[int, Picture]:
    """The picture up to `index`, once the decoder has come there."""
    pause = threading.Event()
    for _ in range(3000):
        at, picture = decoder.picture(index)
        if at == index:
            return at, picture
        pause.wait(0.01)
    raise AssertionError(f"frame {index} was not decoded")


@pytest.mark.parametrize("transport", ["h264", "morphe"])
def test_the_same_pictures_as_at_leisure(run_of: Callable[[str], Path], transport: str) -> None:
    recording = open_recording(run_of(transport))
    expected = {d.index: d.picture for d in recording.decoded()}
    indexes = sorted(expected)
    with of(recording) as decoder:
        fed = 0
        for index in indexes:
            while fed <= index:  # in small steps, as a session goes on
                decoder.push(recording.received[fed])
                fed += 1
            _, picture = wait_for(decoder, index)
            assert np.array_equal(picture, expected[index])
        assert decoder.jumped_over == 0


def test_before_the_first_picture_the_screen_is_black(recording: Recording) -> None:
    with of(recording) as decoder:
        at, picture = decoder.picture(10)
    assert at == -1
    assert set(picture[: 160 * 96].tolist()) == {16}


def test_frames_come_in_order(recording: Recording) -> None:
    with of(recording) as decoder:
        decoder.push(recording.received[3])
        for index in (3, 2):
            with pytest.raises(LocalProtocolError, match=f"frame {index} comes after frame 3"):
                decoder.push(recording.received[index])


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Semaphore]:
    """A codec called `slow`, which decodes a frame each time that the semaphore is released."""
    go = threading.Semaphore(0)

    def decode_slowly(received: Iterator[ReceivedFrame], **_: object) -> Iterator[DecodedFrame]:
        for frame in received:
            go.acquire(timeout=60)
            if frame.data:
                yield DecodedFrame(frame.index, flat(frame.index % 256))

    monkeypatch.setitem(DECODERS._entries, "slow", decode_slowly)
    return go


def frame(index: int, *, key: bool = False) -> ReceivedFrame:
    return ReceivedFrame(index, key, b"x", complete=True)


def release(go: threading.Semaphore) -> None:
    go.release(10_000)


def test_a_slow_decoder_jumps_to_the_latest_key_frame(slow: threading.Semaphore) -> None:
    with LiveDecoder("slow", width=32, height=16, conceal=False) as decoder:
        for index in range(10 * MOST_WAITING):
            decoder.push(frame(index, key=index % 20 == 0))
            assert len(decoder._waiting) <= MOST_WAITING + 1
        last = 10 * MOST_WAITING - 1
        assert decoder.jumped_over > 8 * MOST_WAITING
        assert decoder._waiting[0] == ReceivedFrame(
            decoder._waiting[1].index - 1, key=False, data=b"", complete=False
        )
        assert decoder._waiting[1].key
        release(slow)
        assert wait_for(decoder, last)[0] == last


def test_without_a_key_frame_it_works_off_what_there_is(slow: threading.Semaphore) -> None:
    with LiveDecoder("slow", width=32, height=16, conceal=False) as decoder:
        for index in range(MOST_WITHOUT_KEY):
            decoder.push(frame(index))
        assert decoder.jumped_over == 0
        for index in range(MOST_WITHOUT_KEY, 3 * MOST_WITHOUT_KEY):
            decoder.push(frame(index))
        assert decoder.jumped_over > 0
        assert len(decoder._waiting) <= MOST_WITHOUT_KEY + 1
        release(slow)


def test_pictures_that_nobody_asks_for_do_not_pile_up(slow: threading.Semaphore) -> None:
    release(slow)
    with LiveDecoder("slow", width=32, height=16, conceal=False) as decoder:
        for index in range(200):
            decoder.push(frame(index, key=True))
        wait_for(decoder, 199)
    assert len(decoder._pictures) <= MOST_PICTURES


def test_closing_does_not_wait_for_the_queue(slow: threading.Semaphore) -> None:
    decoder = LiveDecoder("slow", width=32, height=16, conceal=False)
    for index in range(20):
        decoder.push(frame(index))
    slow.release(1)  # it is in the middle of the second
    release(slow)
    decoder.close()
    assert not decoder._thread.is_alive()
    assert not decoder._waiting


def test_a_decoder_that_cannot_be_had_says_so() -> None:
    options = {"weights": "no-such-weights"}
    with LiveDecoder("morphe", width=32, height=16, conceal=False, options=options) as decoder:
        decoder.push(frame(0, key=True))
        decoder._thread.join(60)
        with pytest.raises(MorpheError, match="no-such-weights"):
            decoder.picture(0)


def test_bounds_are_as_documented() -> None:
    assert module.MOST_WAITING == 45
    assert module.MOST_WITHOUT_KEY == 10 * module.MOST_WAITING
