"""The contenders of test_session.py, each run in a process of its own.

`python benchmarks/session_contenders.py NAME FOLDER` answers every input line with one JSON line
{packets, delivered, seconds}. `session` runs a whole 60 s session at 1 Mbit/s without pixels:
encoder (from the cache), RTP, pacing, link, loss, retransmission, RTCP both ways, tables on disk.
It leaves what it put on the downlink in FOLDER; the peers carry the same packets (ns.py), or as
many of the same mean size in the same time (ns-3), over a
link of the same rate, and do nothing else.

`h264-400` and `morphe-400` are the same at 400 kbit/s. `h264-bbr` and `morphe-bbr` find the rate of
the scenario `bandwidth-tracking` by BBR, without loss; Morphe does so with its ladder of encodes.
"""

from __future__ import annotations

import json
import sys
import time
import types
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

MEDIA_S = 60.0
TARGET_KBPS = 1000.0
LINK_KBPS = 2000.0
ONE_WAY_MS = 50.0

Result = dict[str, float]


def session(
    folder: Path, transport: str = "h264", *, kbps: float | None = TARGET_KBPS, peers: bool = False
) -> Callable[[], Result]:
    """A whole session of ours, with its four tables written as in a suite.

    Args:
        folder: for the tables.
        transport: a registered name.
        kbps: target rate over the constant link; None: BBR over a capacity that changes.
        peers: leave the traffic in `folder` for the peers.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from testbed.media.spec import ClipSpec
    from testbed.network.spec import DelaySpec, LossSpec, PathSpec, QueueSpec
    from testbed.network.trace import RateTrace
    from testbed.tables import TABLES
    from testbed.traces.parametric import sine
    from testbed.worlds.session import SessionSpec
    from testbed.worlds.simulator import run_session

    trace = RateTrace(np.array([1_000_000]), np.array([LINK_KBPS]))
    loss: tuple[LossSpec, ...] = (LossSpec("bernoulli", {"rate": 0.01}),)
    control, options = "fixed", {"kbps": kbps}
    if kbps is None:
        trace, loss, control, options = sine(200, 500, 30_000_000), (), "bbr", {}

    def path(*loss: LossSpec) -> PathSpec:
        return PathSpec(
            trace=trace,
            queue=QueueSpec("droptail", packets=60),
            loss=loss,
            delay=DelaySpec(delay_ms=ONE_WAY_MS),
        )

    spec = SessionSpec(
        transport=transport,
        clip=ClipSpec("bbb-720p", 640, 360, 30.0, MEDIA_S),
        downlink=path(*loss),
        uplink=path(),
        rate_control=control,
        rate_options=options,
        keep_received=False,
    )

    class ParquetSink:
        def __init__(self) -> None:
            self.rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in TABLES}

        def append(self, table: str, rows: list[tuple[Any, ...]]) -> None:
            self.rows[table].extend(rows)

        def write(self) -> None:
            for name, schema in TABLES.items():
                arrays = [
                    pa.array(column, type=field.type)
                    for column, field in zip(
                        zip(*self.rows[name], strict=True), schema, strict=True
                    )
                ]
                table = pa.Table.from_arrays(arrays, schema=schema)
                pq.write_table(table, folder / f"{name}.parquet", compression="zstd")

    def run() -> Result:
        sink = ParquetSink()
        started = time.process_time()
        run_session(spec, sink, base=Path.cwd())
        sink.write()
        seconds = time.process_time() - started
        down = [(row[5], row[4]) for row in sink.rows["packets"] if row[0] == "down"]
        if peers:
            (folder / "traffic.json").write_text(json.dumps({"packets": down}))
        return {"packets": len(down), "delivered": len(down), "seconds": seconds}

    run()  # fills the encode cache and loads everything
    return run


def nspy(folder: Path) -> Callable[[], Result]:
    """ns.py: the same packets at the same times through a port and a wire."""
    found = find_spec("ns")
    if found is None or found.submodule_search_locations is None:
        raise ModuleNotFoundError("ns.py")
    package = types.ModuleType("ns")  # whichever of ns.py and ns3 wrote ns/__init__.py last
    package.__path__ = list(found.submodule_search_locations)
    sys.modules["ns"] = package
    import simpy
    from ns.packet.dist_generator import DistPacketGenerator
    from ns.packet.sink import PacketSink
    from ns.port.port import Port
    from ns.port.wire import Wire

    traffic = json.loads((folder / "traffic.json").read_text())["packets"]

    def run() -> Result:
        env = simpy.Environment()
        gaps = iter([(b[0] - a[0]) / 1e9 for a, b in pairwise(traffic)])
        sizes = iter([size for _, size in traffic])
        source = DistPacketGenerator(
            env, "flow", lambda: next(gaps, 1e9), lambda: next(sizes), initial_delay=0
        )
        port = Port(env, LINK_KBPS * 1e3, qlimit=60)
        wire = Wire(env, lambda: ONE_WAY_MS / 1e3)
        sink = PacketSink(env, rec_arrivals=False, rec_waits=False)
        source.out, port.out, wire.out = port, wire, sink
        started = time.process_time()
        env.run(until=MEDIA_S + 1)
        seconds = time.process_time() - started
        delivered = sum(sink.packets_received.values())
        return {"packets": len(traffic), "delivered": delivered, "seconds": seconds}

    return run


def ns3(folder: Path) -> Callable[[], Result]:
    """ns-3: as many packets of the same mean size through test_link.py's point-to-point link."""
    import link_contenders as link

    traffic = json.loads((folder / "traffic.json").read_text())["packets"]
    link.PACKETS = len(traffic)
    link.SIZE_BYTES = round(sum(size for _, size in traffic) / len(traffic))
    link.GAP_NS = round(MEDIA_S * 1e9 / len(traffic))
    link.RATE_BPS = round(LINK_KBPS * 1e3)
    return link.ns3()


CONTENDERS: dict[str, Callable[[Path], Callable[[], Result]]] = {
    "session": partial(session, peers=True),
    "h264-400": partial(session, kbps=400.0),
    "morphe-400": partial(session, transport="morphe", kbps=400.0),
    "h264-bbr": partial(session, kbps=None),
    "morphe-bbr": partial(session, transport="morphe", kbps=None),
    "ns.py": nspy,
    "ns-3": ns3,
}


def main(name: str, folder: Path) -> None:
    """Serve runs of one contender."""
    try:
        run = CONTENDERS[name](folder)
    except ImportError as error:
        print(json.dumps({"missing": str(error)}), flush=True)
        return
    for _ in sys.stdin:
        print(json.dumps(run()), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
