"""What a live view shows: samples, the latest pictures, and how the session stands.

One producer (a world, or a replay) puts things in and is never held up. Any number of readers wait
for what is new, each at its own speed: of pictures there is only ever the latest, so that a slow
reader misses some; of samples the last ten minutes are kept.

The state of a session follows a table: it runs until it is done or has failed, once.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import Enum
from threading import Condition
from typing import Final

from testbed.errors import LocalProtocolError
from testbed.media.clips import Picture

#: Time between two samples, and what their rates and losses are averaged over: the receiver's
#: report interval (paper section 6.1), as in the run tables.
SAMPLE_NS: Final = 100_000_000
#: Samples that are kept: ten minutes of them.
KEPT_SAMPLES: Final = 10 * 60 * 10**9 // SAMPLE_NS


@dataclass(frozen=True, slots=True)
class Heading:
    """What is on view.

    Attributes:
        transport: registered name of the scheme.
        clip: name of the source.
        trace: what limits the media direction.
        loss: its loss model, in words.
        control: rate controller.
        world: where the session runs, or "replay".
        width, height: luma size of the pictures.
        fps: of the source.
        duration_s: length of the clip; None: it goes on until it is stopped.
    """

    transport: str
    clip: str
    trace: str
    loss: str
    control: str
    world: str
    width: int
    height: int
    fps: float
    duration_s: float | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """The session in numbers over the 100 ms before `time_ns`.

    Rates are of the media direction, in kbit/s on the link; None stands for not known.

    Attributes:
        time_ns: since the session began.
        capacity_kbps: what the link offered.
        sent_kbps: what the sender put on it.
        delivered_kbps: what came out of it at the receiver.
        target_kbps: what the encoder is asked for.
        estimate_kbps: what the controller believes the link carries.
        mode: how the encoder works now.
        state: of the rate controller.
        loss_share: packets lost, of those that were sent or, live, whose fate was decided; 0..1.
        queue_bytes: waiting at the bottleneck.
        coding_fps: frames out of the encoder in the last second.
        rendered_fps: frames that came onto the screen in the last second.
        late_frames: so far, frames that never came onto the screen, counted when their playout
            deadline goes by; live, that of the last frame that they were coded with.
        frame_delay_ms: encoder's end to decodable, median of the last second.
    """

    time_ns: int
    capacity_kbps: float | None
    sent_kbps: float
    delivered_kbps: float
    target_kbps: float | None
    estimate_kbps: float | None
    mode: str
    state: str
    loss_share: float
    queue_bytes: int | None
    coding_fps: float
    rendered_fps: float
    late_frames: int
    frame_delay_ms: float | None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise LocalProtocolError(f"sample: {field.name} is {value}; None says not known")
        if not 0 <= self.loss_share <= 1:
            raise LocalProtocolError(f"sample: loss_share {self.loss_share} is not within 0..1")


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """Both screens in one frame slot.

    Pictures are packed yuv420p planes of the heading's size, or JPEG files as bytes.

    Attributes:
        slot: number of the slot, from 0.
        time_ns: when it began.
        source_frame: what the source shows.
        received_frame: what the viewer sees; -1: nothing yet.
        source: its picture.
        received: its picture.
        due_frame: what he would see if the view's decoder were never behind.
    """

    slot: int
    time_ns: int
    source_frame: int
    received_frame: int
    source: Picture | bytes
    received: Picture | bytes
    due_frame: int = -1


class State(Enum):
    """How a session stands."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class End(Enum):
    """How a session ends."""

    FINISH = "finish"
    FAIL = "fail"


TRANSITIONS: Final[Mapping[tuple[State, End], State]] = {
    (State.RUNNING, End.FINISH): State.DONE,
    (State.RUNNING, End.FAIL): State.FAILED,
}


@dataclass(frozen=True, slots=True)
class Status:
    """A session's state; `reason` says in one line why it failed, and is "" otherwise."""

    state: State = State.RUNNING
    reason: str = ""

    @property
    def over(self) -> bool:
        """Nothing more will come."""
        return self.state is not State.RUNNING


class Feed:
    """From one producer to many readers; safe to use from any thread.

    Readers keep a serial number of what they have seen, 0 at first, and get the next one with every
    answer.

    Args:
        heading: what is on view.
        kept_samples: of the samples, only the latest so many are kept.
    """

    def __init__(self, heading: Heading, *, kept_samples: int = KEPT_SAMPLES) -> None:
        self.heading = heading
        self._news = Condition()
        self._samples: deque[Sample] = deque(maxlen=kept_samples)
        self._sampled = 0
        self._shown: Shown | None = None
        self._pictures = 0
        self._status = Status()
        self._awake = True

    # --- the producer's side --------------------------------------------------------------------

    def sample(self, sample: Sample) -> None:
        """Add a sample; never blocks. After the end it is ignored."""
        with self._news:
            if not self._status.over:
                self._samples.append(sample)
                self._sampled += 1
                self._news.notify_all()

    def show(self, shown: Shown) -> None:
        """Put new pictures in the place of the last ones; never blocks. After the end: ignored."""
        with self._news:
            if not self._status.over:
                self._shown = shown
                self._pictures += 1
                self._news.notify_all()

    def finish(self) -> None:
        """The session came to its end.

        Raises:
            LocalProtocolError: it is over already.
        """
        self._end(End.FINISH, "")

    def fail(self, reason: str) -> None:
        """The session broke off; `reason` is for the reader, in one line.

        Raises:
            LocalProtocolError: it is over already.
        """
        self._end(End.FAIL, " ".join(reason.split()))

    def _end(self, event: End, reason: str) -> None:
        with self._news:
            state = TRANSITIONS.get((self._status.state, event))
            if state is None:
                raise LocalProtocolError(
                    f"feed: cannot {event.value}, it is {self._status.state.value}"
                )
            self._status = Status(state, reason)
            self._news.notify_all()

    # --- the readers' side ----------------------------------------------------------------------

    @property
    def status(self) -> Status:
        """How the session stands."""
        return self._status

    def samples_after(self, serial: int, *, timeout_s: float) -> tuple[list[Sample], int]:
        """Samples that came after `serial`, oldest first, and the new serial.

        Waits up to `timeout_s` seconds for one, but not when the session is over or readers were
        sent away. Samples that are not kept any more are left out.
        """
        with self._news:
            self._wait(lambda: self._sampled > serial, timeout_s)
            new = min(max(0, self._sampled - serial), len(self._samples))
            kept = list(self._samples)
            return kept[len(kept) - new :], self._sampled

    def shown_after(self, serial: int, *, timeout_s: float) -> tuple[Shown | None, int]:
        """The latest pictures, if they came after `serial`, and their serial; waits likewise."""
        with self._news:
            self._wait(lambda: self._pictures > serial, timeout_s)
            return (self._shown if self._pictures > serial else None), self._pictures

    def latest(self) -> Shown | None:
        """The pictures on the screens now; None before the first."""
        return self._shown

    def release(self) -> None:
        """Send waiting readers away now, and let none wait from here on."""
        with self._news:
            self._awake = False
            self._news.notify_all()

    def _wait(self, ready: Callable[[], bool], timeout_s: float) -> None:
        self._news.wait_for(
            lambda: ready() or self._status.over or not self._awake, timeout=timeout_s
        )
