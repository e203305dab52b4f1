"""A run folder opened for viewing: its clip, what was received, and when it was on the screen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from testbed.analysis.runs import Run, open_run
from testbed.errors import BrokenLogError, ClipError, InputError
from testbed.live.feed import Heading, Sample
from testbed.live.timeline import Timeline, heading, samples, timeline
from testbed.media.clips import Clip, Picture, open_clip
from testbed.media.decoding import DecodedFrame, decode
from testbed.media.quality import black
from testbed.media.spec import ClipSpec
from testbed.media.types import ReceivedFrame

#: What `testbed run --capture` leaves in a run folder.
CAPTURE: Final = "capture.pcapng"


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """One finished session.

    Attributes:
        heading: what is on view.
        clip: the source.
        frames: the times of every frame.
        samples: the session in numbers.
        received: what arrived, one entry a source frame.
        codec, conceal, decoder_options: as for `testbed.media.decoding.decode`.
    """

    heading: Heading
    clip: Clip
    frames: Timeline
    samples: Sequence[Sample]
    received: Sequence[ReceivedFrame]
    codec: str
    conceal: bool
    decoder_options: Mapping[str, Any]

    def decoded(self) -> Iterator[DecodedFrame]:
        """The pictures that the decoder makes of what was received."""
        return decode(
            self.codec, self.received, width=self.clip.width, height=self.clip.height,
            conceal=self.conceal, options=self.decoder_options,
        )  # fmt: skip


def open_recording(folder: Path, *, base: Path | None = None, world: str = "") -> Recording:
    """Open a run folder, and get at what was received: from its capture, or by a new session.

    Args:
        folder: of one run.
        base: folder that relative paths start from: the scenario's own; None: the working folder.
        world: for the heading; "": the run's.

    Raises:
        InputError: no run folder, no clip, or no way to its pictures.
    """
    run = _open(folder)
    base = base or Path.cwd()
    clip = _clip(run, base)
    if len(run.frames) != clip.frame_count:
        raise BrokenLogError(f"{folder}: {len(run.frames)} frames of a clip of {clip.frame_count}")
    _check_pictures(run)
    received, codec, conceal, options = _received(run, clip, base)
    return Recording(
        heading(run, world=world or str(run.manifest.get("world", ""))),
        clip, timeline(run), samples(run), received, codec, conceal, options,
    )  # fmt: skip


def _open(folder: Path) -> Run:
    """The run, or one line that says what to give instead."""
    if not (folder / "manifest.json").is_file():
        if (folder / "runs").is_dir():
            raise InputError(
                f"{folder}: holds many runs; give one of the folders in {folder / 'runs'}"
            )
        raise InputError(f"{folder}: not a run folder (it has no manifest.json)")
    return open_run(folder)


def _clip(run: Run, base: Path) -> Clip:
    """The clip, the very same content."""
    try:
        spec = ClipSpec(**run.manifest["resolved"]["clip"])
        sha256 = run.manifest["inputs"]["clip"]["sha256"]
    except (KeyError, TypeError) as error:
        raise BrokenLogError(f"{run.folder}: manifest: lacks or garbles clip ({error})") from None
    try:
        clip = open_clip(spec, base=base)
    except ClipError as error:
        missing = "no such file" in str(error)
        hint = "; relative paths start from --base, the scenario's folder" if missing else ""
        raise ClipError(f"{run.folder}: {error}{hint}") from None
    if clip.sha256 != sha256:
        raise ClipError(f"{run.folder}: clip {spec.source!r} is not the one of the run (its hash)")
    return clip


def _check_pictures(run: Run) -> None:
    """Refuse a run whose encoder only had sizes (`testbed.codec.gops.LadderGops`)."""
    if run.sizes_only:
        raise InputError(
            f"{run.folder}: has no pictures: of the codec of {run.transport} only sizes are known"
        )
    sender = run.manifest.get("facts", {}).get("sender", {})
    if sender.get("encoder", {}).get("kind") == "ladder":
        raise InputError(
            f"{run.folder}: has no pictures: it took its sizes from a ladder of encodes; run it "
            "again with --set 'quality=[psnr]'"
        )


_Received = tuple[Sequence[ReceivedFrame], str, bool, Mapping[str, Any]]


def _received(run: Run, clip: Clip, base: Path) -> _Received:
    """What arrived, and how to decode it."""
    if (run.folder / CAPTURE).is_file():
        return _captured(run, clip)
    from testbed.live.again import run_again

    result = run_again(run, base=base)
    return result.received, result.codec, result.conceal, result.decoder_options


def _captured(run: Run, clip: Clip) -> _Received:
    """What arrived, from the folder's capture."""
    from testbed.capture.replay import arrivals
    from testbed.live.rebuild import rebuild, recorded_decode_ns
    from testbed.transports import TRANSPORTS, parse_options
    from testbed.worlds.ends import DRAIN_NS

    told = run.manifest["resolved"]["transport"]
    transport = TRANSPORTS.get(told.get("base", told["name"]))
    options = parse_options(transport, told["options"])
    deadline_ns = round(float(run.cell["playout_deadline_ms"]) * 1e6)
    length_ns = -(-clip.frame_count * 10**9 * clip.fps.denominator // clip.fps.numerator)
    received = rebuild(
        arrivals(run.folder / CAPTURE),
        transport,
        options,
        fps=clip.fps,
        frame_count=clip.frame_count,
        deadline_ns=deadline_ns,
        end_ns=length_ns + deadline_ns + DRAIN_NS,
        decode_ns=recorded_decode_ns(run.manifest.get("facts", {}).get("compute", {})),
    )
    conceal = bool(getattr(options, "conceal", False))
    return received, transport.codec, conceal, transport.decoder_options(options)


def pictures_at(
    decoded: Iterator[DecodedFrame], slots: Sequence[int], *, width: int, height: int
) -> Iterator[tuple[int, Picture]]:
    """For each slot the picture on the screen, and the frame that it is of (-1: black).

    A frame that the decoder does not give leaves the one before on the screen.

    Args:
        decoded: in order of index.
        slots: the frame that should be there, never going back; -1: none.
        width: luma width.
        height: luma height.
    """
    picture, at = black(width, height), -1
    ahead = next(decoded, None)
    for index in slots:
        while ahead is not None and ahead.index <= index:
            picture, at = ahead.picture, ahead.index
            ahead = next(decoded, None)
        yield at, picture
