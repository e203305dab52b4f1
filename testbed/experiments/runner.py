"""One cell from start to finish: session, pixels, metrics, folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from testbed.capture.tap import Tap
from testbed.experiments.cell import Cell
from testbed.experiments.store import MANIFEST_SCHEMA, RunWriter
from testbed.registry import Registry
from testbed.worlds.session import SessionResult, SessionSpec, TableSink

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: Runs `(spec, sink, base=folder)`, and with a capture `tap=tap` besides; see
#: `testbed.worlds.session`. It goes to worker processes, so it must be a function of a module.
SessionRunner = Callable[..., SessionResult]

WORLDS: Registry[SessionRunner] = Registry("world", group="testbed.worlds")
#: Worlds in which a session takes as long as it lasts.
REAL_TIME: Final = frozenset({"relay", "mahimahi", "webrtc"})


@WORLDS.register("simulator")
def simulator(
    spec: SessionSpec, sink: TableSink, *, base: Path, tap: Tap | None = None
) -> SessionResult:
    """Virtual time; see `testbed.worlds.simulator`."""
    from testbed.worlds.simulator import run_session

    return run_session(spec, sink, base=base, tap=tap)


@WORLDS.register("relay")
def relay(
    spec: SessionSpec, sink: TableSink, *, base: Path, tap: Tap | None = None
) -> SessionResult:
    """Real time, over real sockets through our relay; see `testbed.worlds.realtime`."""
    from testbed.worlds.realtime.world import run_relay_session

    return run_relay_session(spec, sink, base=base, tap=tap)


@WORLDS.register("mahimahi")
def mahimahi(
    spec: SessionSpec, sink: TableSink, *, base: Path, tap: Tap | None = None
) -> SessionResult:
    """Real time, through mahimahi's shells; see `testbed.worlds.realtime.mahimahi_world`."""
    from testbed.worlds.realtime.mahimahi_world import run_mahimahi_session

    return run_mahimahi_session(spec, sink, base=base, tap=tap)


@WORLDS.register("webrtc")
def webrtc(
    spec: SessionSpec, sink: TableSink, *, base: Path, tap: Tap | None = None
) -> SessionResult:
    """Real time, between two aiortc peers through our relay; see `testbed.worlds.webrtc`."""
    from testbed.worlds.webrtc.world import run_webrtc_session

    return run_webrtc_session(spec, sink, base=base, tap=tap)


def _webrtc_needs() -> None:
    from testbed.worlds.webrtc.needs import require_aiortc

    require_aiortc()


def _mahimahi_needs() -> None:
    from testbed.worlds.mahimahi_conditions import require_shells

    require_shells(nested=False)  # each session asks anew, for as many as it has


def _relay_refuses(spec: SessionSpec) -> None:
    from testbed.worlds.realtime.world import check

    check(spec, "relay")


def _mahimahi_refuses(spec: SessionSpec) -> None:
    from testbed.worlds.realtime.shells import check_paths
    from testbed.worlds.realtime.world import check

    check(spec, "mahimahi")
    check_paths(spec)


def _webrtc_refuses(spec: SessionSpec) -> None:
    from testbed.worlds.realtime.world import check
    from testbed.worlds.webrtc.world import check_losses

    check(spec, "webrtc")
    check_losses(spec)


#: What worlds need beside the core; each refuses with one line where it is missing.
WORLD_NEEDS: Final[Mapping[str, Callable[[], None]]] = {
    "mahimahi": _mahimahi_needs,
    "webrtc": _webrtc_needs,
}
#: What sessions worlds cannot run; each refuses with one line that names the field.
WORLD_REFUSES: Final[Mapping[str, Callable[[SessionSpec], None]]] = {
    "relay": _relay_refuses,
    "mahimahi": _mahimahi_refuses,
    "webrtc": _webrtc_refuses,
}


def check_world(name: str) -> None:
    """Refuse a world that is not known, or that lacks what it needs.

    Raises:
        InputError: says what to do.
    """
    WORLDS.get(name)
    WORLD_NEEDS.get(name, lambda: None)()


def check_session(world: str, spec: SessionSpec) -> None:
    """Refuse a session that its world cannot run, before anything runs.

    Raises:
        InputError: says what.
    """
    refuse = WORLD_REFUSES.get(world)
    if refuse is not None:
        refuse(spec)


def run_cell(cell: Cell, *, out: Path, session: SessionRunner, capture: bool = False) -> None:
    """Run one cell into `out/runs/<hash>`; nothing stays behind when it fails.

    Args:
        cell: what to run.
        out: results folder, prepared.
        session: the world; with `capture` one that takes a tap.
        capture: leave a capture of the session's packets in the folder. It is no part of what
            determines the run: all else is the same with and without.

    Raises:
        OutputError: the disk is full or the folder cannot be written.
        Exception: whatever the session raised.
    """
    with RunWriter(out, cell.run) as writer:
        if capture:
            with writer.tap() as tap:
                result = session(cell.session, writer, base=cell.base, tap=tap)
        else:
            result = session(cell.session, writer, base=cell.base)
        writer.close_tables()
        if cell.quality and "pixels" not in result.facts:
            writer.add_frame_columns(_measure(cell, result))
        content = manifest(cell, result.facts)
        writer.publish(manifest=content, summary=_summarise(writer, content))


def manifest(cell: Cell, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that a reader of the run needs to know besides the tables."""
    return {
        "schema": MANIFEST_SCHEMA,
        "run": cell.run,
        "scenario": cell.scenario,
        "description": cell.description,
        "transport": cell.transport,
        "look": dict(cell.look),
        "seed": cell.seed,
        "world": cell.world,
        "warmup_s": cell.warmup_s,
        "cell": dict(cell.conditions),
        "cell_id": cell.cell_id,
        "resolved": dict(cell.resolved),
        "inputs": dict(cell.inputs),
        "facts": dict(facts),
        "versions": dict(cell.versions),
        "host": dict(cell.host),
    }


def _measure(cell: Cell, result: SessionResult) -> dict[str, npt.NDArray[np.float64]]:
    from testbed.media.clips import open_clip
    from testbed.media.quality import measure_displayed

    return measure_displayed(
        open_clip(cell.session.clip, base=cell.base),
        result.codec,
        result.received,
        result.displayed,
        metrics=cell.quality,
        conceal=result.conceal,
        decoder_options=result.decoder_options,
    )


def _summarise(writer: RunWriter, content: Mapping[str, Any]) -> dict[str, Any]:
    from testbed.analysis.metrics import summarise

    found = summarise(
        writer.table("frames"),
        writer.table("packets"),
        writer.table("control"),
        writer.table("link"),
        manifest=content,
        flows=writer.optional_table("flows"),
    )
    # Why there is no picture quality, for who reads the summary alone.
    pixels = content["facts"].get("pixels")
    return found if pixels is None else {**found, "pixels": pixels}
