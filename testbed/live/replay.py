"""A finished session over again, at its own pace, into a feed.

Everything comes when it came in the session: frames go to the decoder when they could be decoded,
pictures onto the screens slot by slot, samples every 100 ms.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from heapq import merge
from time import perf_counter_ns

import numpy as np

from morphe_core.errors import MorpheError
from testbed.errors import TestbedError
from testbed.live.decoder import LiveDecoder
from testbed.live.feed import Feed, Shown
from testbed.live.recording import Recording
from testbed.live.timeline import NEVER

#: What happens at one time, in this order.
_FRAME, _SLOT, _SAMPLE = range(3)
_Step = tuple[int, int, int]


class Replay:
    """A thread that plays a recording into a feed; use as a context manager.

    Args:
        recording: what to play.
        feed: of the recording's heading.
        speed: 2 is twice as fast as it was.
    """

    def __init__(self, recording: Recording, feed: Feed, *, speed: float = 1.0) -> None:
        self._recording = recording
        self._feed = feed
        self._speed = speed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live-replay")
        self._thread.start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the end, for so long at most; whether it has come."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def close(self) -> None:
        """Stop, wherever it is."""
        self._stop.set()
        self._thread.join()

    def __enter__(self) -> Replay:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        recording = self._recording
        try:
            with LiveDecoder(
                recording.codec,
                width=recording.clip.width,
                height=recording.clip.height,
                conceal=recording.conceal,
                options=recording.decoder_options,
            ) as decoder:
                if self._play(decoder):
                    self._feed.finish()
                else:
                    self._feed.fail("stopped")
        except (TestbedError, MorpheError) as error:
            self._feed.fail(str(error))
        except Exception as error:
            self._feed.fail(f"internal error ({type(error).__name__}: {error})")
            raise

    def _play(self, decoder: LiveDecoder) -> bool:
        """Whether it came to the end."""
        recording, feed = self._recording, self._feed
        slots = _Slots(recording)
        began_ns = perf_counter_ns()
        for time_ns, what, index in _steps(recording, slots):
            due_ns = began_ns + round(time_ns / self._speed)
            if self._stop.wait(max(0, due_ns - perf_counter_ns()) / 1e9):
                return False
            if what == _FRAME:
                decoder.push(recording.received[index])
            elif what == _SAMPLE:
                feed.sample(recording.samples[index])
            else:
                due = slots.received[index]
                at, picture = decoder.picture(due)
                source = min(index, recording.clip.frame_count - 1)
                sent = recording.clip.frame(source)
                feed.show(Shown(index, time_ns, source, at, sent, picture, due))
        return True


class _Slots:
    """The clip's slots, and those in which its last frames come onto the viewer's screen."""

    def __init__(self, recording: Recording) -> None:
        frames = recording.frames
        count = frames.capture_ns.size
        period_ns = 1e9 / float(recording.clip.fps)
        rendered = frames.render_ns[frames.render_ns != NEVER]
        end_ns = int(rendered.max(initial=0))
        more = max(0, int(np.ceil((end_ns - int(frames.capture_ns[-1])) / period_ns)))
        tail = np.rint(np.arange(count, count + more) * period_ns).astype(np.int64)
        self.time_ns = np.concatenate([frames.capture_ns, tail])
        self.received = frames.on_screen(self.time_ns)


def _steps(recording: Recording, slots: _Slots) -> Iterator[_Step]:
    """All that happens, in order of time."""
    final = recording.frames.final_ns()
    frames = [(int(t), _FRAME, n) for n, t in enumerate(final) if t != NEVER]
    shown = [(int(t), _SLOT, n) for n, t in enumerate(slots.time_ns)]
    samples = [(s.time_ns, _SAMPLE, n) for n, s in enumerate(recording.samples)]
    return merge(frames, shown, samples)
