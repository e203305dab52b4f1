"""A session of an emulated world while it runs, into a feed.

The world's processes tell what happens (see `testbed.worlds.realtime.world.Watcher`); samples are
made of that, decoded frames go to the decoder, and a thread puts both screens into the feed, slot
by slot. Nothing here can hold the session up: what comes too late is skipped.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np

from morphe_core.errors import MorpheError
from testbed.errors import InputError, TestbedError
from testbed.experiments.cell import Cell
from testbed.live.decoder import LiveDecoder
from testbed.live.feed import Feed, Heading, Sample, Shown
from testbed.live.timeline import spread
from testbed.media.decoding import decode
from testbed.media.types import ReceivedFrame
from testbed.transports.base import FrameDecoded, FrameEncoded, has_pictures
from testbed.worlds.ends import EndFactory
from testbed.worlds.realtime.clock import monotonic_ns
from testbed.worlds.realtime.relay import session_paths
from testbed.worlds.realtime.world import Watcher, run_relay_session
from testbed.worlds.session import NoRows, SessionResult, SessionSpec
from testbed.worlds.simulator import run_session
from testbed.worlds.ticks import TICK_NS

#: What frame rates and the frame delay of a sample are taken over.
WINDOW_NS: Final = 1_000_000_000
#: How long it is remembered when frames were coded: the group before the window counts too.
CODED_NS: Final = 10 * WINDOW_NS


def runner_of(world: str) -> Callable[..., SessionResult]:
    """The world's function.

    Raises:
        InputError: no world that can be watched.
    """
    if world == "relay":
        return run_relay_session
    if world == "mahimahi":
        from testbed.worlds.realtime.mahimahi_world import run_mahimahi_session

        return run_mahimahi_session
    raise InputError(f"--world {world}: cannot be watched; relay and mahimahi can")


def heading_of(cell: Cell, make: EndFactory) -> Heading:
    """What is on view.

    Raises:
        InputError: the session has no pictures.
    """
    if not has_pictures(make.transport):
        raise InputError(
            f"transport {make.transport.name}: has no pictures to view: of its codec only sizes "
            "are known"
        )
    conditions, clip = cell.conditions, make.clip
    kbps = conditions.get("kbps")
    control = str(conditions["control"])
    return Heading(
        transport=cell.transport,
        clip=str(conditions["clip"]),
        trace=str(conditions["trace"]),
        loss=str(conditions["loss"]),
        control=control if kbps is None else f"{control} {kbps:g} kbps",
        world=cell.world,
        width=clip.width,
        height=clip.height,
        fps=float(clip.fps),
        duration_s=float(conditions["duration_s"]),
    )


class Watch:
    """Makes samples and pictures of what a session's processes tell.

    Calls come from one thread; the screens have a thread of their own.

    Args:
        cell: the session.
        make: its ends.
        feed: of its heading.
        decoder: of its codec.
    """

    def __init__(self, cell: Cell, make: EndFactory, feed: Feed, decoder: LiveDecoder) -> None:
        self._make = make
        self._feed = feed
        self._decoder = decoder
        # Truth, in every world: the bottleneck's trace.
        self._path = session_paths(cell.session)["down"]
        self._counts = _Counts()
        self._encoded_ns: dict[int, int] = {}
        self._due_ns: dict[int, int] = {}  # when a frame that is not on the screen is late
        self._coded: deque[int] = deque()  # when frames came out of the encoder
        self._decodable: deque[tuple[int, float]] = deque()  # when, and after how many ms
        self._rendered: deque[int] = deque()  # when; may lie ahead
        self._on_time: set[int] = set()
        self._late = 0
        self._checked = 0
        self._queue_bytes: int | None = None
        self._fates: tuple[int, int] | None = None  # since the last sample: lost, of how many
        self._decided = 0
        self._pushed = -1
        self._render_ns: deque[tuple[int, int]] = deque()  # (when, frame), in order of frames
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._screens: threading.Thread | None = None

    def __call__(self, process: str, what: tuple[Any, ...]) -> None:
        """One thing happened."""
        kind = what[0]
        if kind == "start":
            self._screens = threading.Thread(
                target=self._show, args=(what[1],), name="live-screens"
            )
            self._screens.start()
        elif kind == "tick":
            self._feed.sample(self._sample(what[1]))
        elif kind == "encoded":
            self._on_encoded(what[1])
        elif kind == "decoded":
            self._on_decoded(what[1], what[2])
        elif kind == "arrived" and process == "receiver":
            self._counts.arrived_bytes = what[3]
        elif kind == "link":
            self._on_link(what[1], what[2])

    def close(self) -> None:
        """End the screens' thread."""
        self._stop.set()
        if self._screens is not None:
            self._screens.join()

    # --- frames -------------------------------------------------------------------------------

    def _on_encoded(self, event: FrameEncoded) -> None:
        self._encoded_ns[event.index] = event.encode_end_ns
        # Frames that are coded together wait for the last of them, and have its deadline.
        self._due_ns[event.index] = event.encode_end_ns + self._make.deadline_ns
        self._coded.append(event.encode_end_ns)

    def _on_decoded(self, event: FrameDecoded, received: ReceivedFrame | None) -> None:
        encoded_ns = self._encoded_ns.pop(event.index, None)
        if encoded_ns is not None:
            delay_ms = max(0, event.decodable_ns - encoded_ns) / 1e6
            self._decodable.append((event.decodable_ns, delay_ms))
        # Frames before it that nothing was heard of are final now: nothing of them is there.
        for index in range(self._pushed + 1, event.index):
            self._decoder.push(ReceivedFrame(index, key=False, data=b"", complete=False))
        if event.index > self._pushed:
            nothing = ReceivedFrame(event.index, key=False, data=b"", complete=False)
            self._decoder.push(received or nothing)
            self._pushed = event.index
        if event.render_ns >= 0:
            self._on_time.add(event.index)
            self._rendered.append(event.render_ns)
            with self._lock:
                self._render_ns.append((event.render_ns, event.index))

    # --- numbers ------------------------------------------------------------------------------

    def _sample(self, tick: tuple[Any, ...]) -> Sample:
        now_ns, estimate, _, reported_loss, state, mode, target, _, sent_bytes = tick
        before, self._counts = self._counts, replace(self._counts)
        counts = self._counts
        counts.sent_bytes = sent_bytes
        capacity = self._path.capacity_bytes(now_ns - TICK_NS, now_ns) or None
        seconds = min(now_ns, WINDOW_NS) / 1e9
        sample = Sample(
            time_ns=now_ns,
            capacity_kbps=None if capacity is None else _kbps(capacity),
            sent_kbps=_kbps(sent_bytes - before.sent_bytes),
            delivered_kbps=_kbps(counts.arrived_bytes - before.told_bytes),
            target_kbps=target,
            estimate_kbps=estimate,
            mode=mode,
            state=state,
            loss_share=self._loss(reported_loss),
            queue_bytes=self._queue_bytes,
            coding_fps=_coding_fps(self._coded, now_ns),
            rendered_fps=_recent(self._rendered, now_ns) / seconds,
            late_frames=self._late_frames(now_ns),
            frame_delay_ms=self._delay_ms(now_ns),
        )
        counts.told_bytes = counts.arrived_bytes
        return sample

    def _on_link(self, row: tuple[Any, ...], decided: int) -> None:
        """A row of the link's table, and of how many packets the fate is known so far."""
        lost, known = self._fates or (0, 0)
        self._fates = (lost + row[6] + row[7], known + decided - self._decided)
        self._decided, self._queue_bytes = decided, row[5]

    def _loss(self, reported: float | None) -> float:
        """Of the packets whose fate was decided since the last sample, where the world knows.

        Elsewhere it is what the receiver reported.
        """
        if self._fates is None:
            return min(1.0, max(0.0, reported or 0.0))
        lost, known = self._fates
        self._fates = (0, 0)
        return min(1.0, lost / known) if known else 0.0

    def _late_frames(self, now_ns: int) -> int:
        make = self._make
        while self._checked < make.clip.frame_count:
            # One that is not coded yet may be waiting for the rest of its group.
            never_coded_ns = make.capture_ns(self._checked) + make.deadline_ns + WINDOW_NS
            if self._due_ns.get(self._checked, never_coded_ns) > now_ns:
                break
            self._due_ns.pop(self._checked, None)
            self._late += self._checked not in self._on_time
            self._on_time.discard(self._checked)
            self._checked += 1
        return self._late

    def _delay_ms(self, now_ns: int) -> float | None:
        while self._decodable and self._decodable[0][0] <= now_ns - WINDOW_NS:
            self._decodable.popleft()
        return median(ms for _, ms in self._decodable) if self._decodable else None

    # --- screens ------------------------------------------------------------------------------

    def _show(self, epoch_ns: int) -> None:
        make, slot = self._make, 0
        period_ns = round(1e9 / float(make.clip.fps))
        while True:
            at_ns = make.capture_ns(slot)
            wait_ns = epoch_ns + at_ns - monotonic_ns()
            if at_ns > make.end_ns or self._stop.wait(max(0, wait_ns) / 1e9):
                return
            if wait_ns < -period_ns:  # too late for this one
                slot += 1
                continue
            source = min(slot, make.clip.frame_count - 1)
            try:
                due = self._newest(at_ns)
                at, picture = self._decoder.picture(due)
            except Exception as error:
                self._feed.fail(f"the view's decoder failed ({error})")
                return
            sent = make.clip.frame(source)
            self._feed.show(Shown(slot, at_ns, source, at, sent, picture, due))
            slot += 1

    def _newest(self, now_ns: int) -> int:
        """The newest frame whose time on the screen has come."""
        with self._lock:
            newest = -1
            for render_ns, index in self._render_ns:
                if render_ns <= now_ns:
                    newest = max(newest, index)
            while len(self._render_ns) > 1 and self._render_ns[0][1] < newest:
                self._render_ns.popleft()
        return newest


@dataclass(slots=True)
class _Counts:
    """Totals at the last sample; `told_bytes` of those that arrived are in one already."""

    sent_bytes: int = 0
    arrived_bytes: int = 0
    told_bytes: int = 0


def _kbps(count: int) -> float:
    return max(0, count) * 8e6 / TICK_NS


def _coding_fps(ends_ns: deque[int], now_ns: int) -> float:
    """Frames coded in the second up to the last one, groups spread over their time.

    Of the time since then nothing is known, until that is a second too.
    """
    while ends_ns and ends_ns[0] <= now_ns - CODED_NS:
        ends_ns.popleft()
    if not ends_ns or ends_ns[-1] <= now_ns - WINDOW_NS:
        return 0.0
    window_ns = min(max(1, ends_ns[-1]), WINDOW_NS)
    times_ns = spread(np.array(ends_ns, np.int64))
    return np.count_nonzero(times_ns > ends_ns[-1] - window_ns) * 1e9 / window_ns


def _recent(times_ns: deque[int], now_ns: int) -> int:
    """How many lie in the second up to now; older ones are forgotten."""
    while times_ns and times_ns[0] <= now_ns - WINDOW_NS:
        times_ns.popleft()
    return sum(at_ns <= now_ns for at_ns in times_ns)


def warm_up(spec: SessionSpec, make: EndFactory, *, base: Path) -> None:
    """Decode one picture of the session as the simulator has it.

    The first one takes a learned decoder seconds, for its libraries and weights: the session's
    first pictures would come that much late. The encodes are in the cache for the world itself.

    Args:
        spec: the session; it keeps what was received.
        make: its ends.
        base: folder that relative clip paths start from.
    """
    result = run_session(spec, NoRows(), base=base)
    pictures = decode(
        result.codec, result.received, width=make.clip.width, height=make.clip.height,
        conceal=result.conceal, options=result.decoder_options,
    )  # fmt: skip
    next(pictures, None)


class LiveSession:
    """Runs a session in a thread, into a feed; use as a context manager.

    Args:
        cell: the session; its world must be one that `runner_of` knows.
        feed: of its heading.
        make: its ends.
    """

    def __init__(self, cell: Cell, feed: Feed, make: EndFactory) -> None:
        self._cell = cell
        self._feed = feed
        self._make = make
        self._run_session = runner_of(cell.world)
        self._thread = threading.Thread(target=self._run, name="live-session", daemon=True)
        self._thread.start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the end, for so long at most; whether it has come."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        make = self._make
        spec = replace(self._cell.session, keep_received=True)
        try:
            warm_up(spec, make, base=Path(self._cell.base))
            with LiveDecoder(
                make.transport.codec,
                width=make.clip.width,
                height=make.clip.height,
                conceal=bool(getattr(make.options, "conceal", False)),
                options=make.transport.decoder_options(make.options),
            ) as decoder:
                watch = Watch(self._cell, make, self._feed, decoder)
                try:
                    self._session(spec, watch)
                finally:
                    watch.close()
        except (TestbedError, MorpheError) as error:
            self._feed.fail(str(error))
        except Exception as error:
            self._feed.fail(f"internal error ({type(error).__name__}: {error})")
            raise

    def _session(self, spec: Any, watch: Watcher) -> None:
        self._run_session(spec, NoRows(), base=Path(self._cell.base), watcher=watch)
        if not self._feed.status.over:
            self._feed.finish()
