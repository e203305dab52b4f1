"""The contenders of test_link.py, each run in a process of its own.

`python benchmarks/link_contenders.py NAME` reads a line, runs the traffic once, and answers with
one JSON line {packets, delivered, dropped, events, seconds}; and so on until its input ends.
ns.py and ns3 install a module of the same name `ns`, so they could not share a process anyway.

The traffic: 1504-byte packets, one every 0.9 ms, into a drop-tail queue of 100 packets in front of
12.032 Mbit/s: one delivery opportunity a millisecond, a plain fixed rate for the peers.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
import types
import warnings
from collections.abc import Callable
from typing import Any

PACKETS = 100_000
SIZE_BYTES = 1504
GAP_NS = 900_000
RATE_BPS = 12_032_000
QUEUE_PACKETS = 100

Result = dict[str, float]


def _ours(**parts: Any) -> Callable[[], Result]:
    from testbed.network.packet import Packet
    from testbed.network.path import build_path
    from testbed.network.spec import PathSpec
    from testbed.randomness import generator
    from testbed.worlds.alarm import NORMAL, EventLoop, Wake

    def run() -> Result:
        env = EventLoop()
        path = build_path(PathSpec(**parts), rng=lambda name: generator(1, name))
        enqueue, pop, next_time, schedule = path.enqueue, path.pop, path.next_time, env.schedule
        armed = -1
        sent = delivered = events = 0

        def wake(_: Any) -> None:
            nonlocal armed, delivered, events
            now_ns = armed
            delivered += len(pop(now_ns=now_ns))
            due_ns = next_time()
            if due_ns is None:
                armed = -1
            else:
                armed = due_ns
                events += 1
                schedule(Wake(due_ns, wakes), NORMAL, due_ns - now_ns)

        def send(_: Any) -> None:
            nonlocal armed, sent, events
            now_ns = sent * GAP_NS
            enqueue(Packet(SIZE_BYTES), now_ns=now_ns)
            if armed < 0:  # in order: a later packet never comes out before one under way
                due_ns = next_time()
                if due_ns is not None:
                    armed = due_ns
                    events += 1
                    schedule(Wake(due_ns, wakes), NORMAL, due_ns - now_ns)
            sent += 1
            if sent < PACKETS:
                events += 1
                schedule(Wake(now_ns + GAP_NS, sends), NORMAL, GAP_NS)

        wakes, sends = [wake], [send]
        events += 1
        schedule(Wake(0, sends), NORMAL, 0)
        started = time.process_time()
        env.run_until()
        seconds = time.process_time() - started
        return {
            "packets": sent,
            "delivered": delivered,
            "dropped": path.queue_drops + path.loss_drops,
            "events": events,
            "seconds": seconds,
        }

    return run


def opportunities() -> Callable[[], Result]:
    """Our trace-driven link."""
    import numpy as np

    from testbed.network.spec import QueueSpec
    from testbed.network.trace import OpportunityTrace

    return _ours(
        trace=OpportunityTrace(np.arange(1, 1001)),
        queue=QueueSpec("droptail", packets=QUEUE_PACKETS),
    )


def rate() -> Callable[[], Result]:
    """Our continuous link."""
    import numpy as np

    from testbed.network.spec import QueueSpec
    from testbed.network.trace import RateTrace

    trace = RateTrace(np.array([1_000_000]), np.array([RATE_BPS / 1000]))
    return _ours(trace=trace, queue=QueueSpec("droptail", packets=QUEUE_PACKETS))


def whole_path() -> Callable[[], Result]:
    """Our trace-driven link with bursty loss and a delay behind it."""
    import numpy as np

    from testbed.network.spec import DelaySpec, LossSpec, QueueSpec
    from testbed.network.trace import OpportunityTrace

    return _ours(
        trace=OpportunityTrace(np.arange(1, 1001)),
        queue=QueueSpec("droptail", packets=QUEUE_PACKETS),
        loss=(LossSpec("gilbert-elliott", {"rate": 0.05, "mean_burst": 4}),),
        delay=DelaySpec(delay_ms=50),
    )


def nspy() -> Callable[[], Result]:
    """ns.py: generator, port, sink, all SimPy processes."""
    found = importlib.util.find_spec("ns")
    if found is None or found.submodule_search_locations is None:
        raise ModuleNotFoundError("ns.py")
    package = types.ModuleType("ns")  # whichever of ns.py and ns3 wrote ns/__init__.py last
    package.__path__ = list(found.submodule_search_locations)
    sys.modules["ns"] = package
    import simpy
    from ns.packet.dist_generator import DistPacketGenerator
    from ns.packet.sink import PacketSink
    from ns.port.port import Port

    def run() -> Result:
        env = simpy.Environment()
        end = PACKETS * GAP_NS / 1e9
        source = DistPacketGenerator(
            env, "flow", lambda: GAP_NS / 1e9, lambda: SIZE_BYTES, initial_delay=0, finish=end
        )
        port = Port(env, RATE_BPS, qlimit=QUEUE_PACKETS)
        source.out = port
        port.out = sink = PacketSink(env, rec_arrivals=False, rec_waits=False)
        started = time.process_time()
        env.run(until=end + 1)
        seconds = time.process_time() - started
        return {
            "packets": source.packets_sent,
            "delivered": sum(sink.packets_received.values()),
            "dropped": port.packets_dropped,
            "events": 0,
            "seconds": seconds,
        }

    return run


def ns3() -> Callable[[], Result]:
    """ns-3 in C++: packet sockets over a point-to-point device, no IP."""
    warnings.simplefilter("ignore")
    from ns3.ns import ns

    ppp_header_bytes = 2

    def run() -> Result:
        nodes = ns.NodeContainer()
        nodes.Create(2)
        link = ns.PointToPointHelper()
        link.SetDeviceAttribute("DataRate", ns.StringValue(f"{RATE_BPS}bps"))
        link.SetDeviceAttribute("Mtu", ns.UintegerValue(SIZE_BYTES))
        link.SetQueue("ns3::DropTailQueue<Packet>", "MaxSize", ns.StringValue(f"{QUEUE_PACKETS}p"))
        devices = link.Install(nodes)
        ns.PacketSocketHelper().Install(nodes)
        address = ns.PacketSocketAddress()
        address.SetSingleDevice(devices.Get(0).GetIfIndex())
        address.SetPhysicalAddress(devices.Get(1).GetAddress())
        address.SetProtocol(0x0800)
        client = ns.CreateObject[ns.PacketSocketClient]()
        client.SetRemote(address)
        client.SetAttribute("PacketSize", ns.UintegerValue(SIZE_BYTES - ppp_header_bytes))
        client.SetAttribute("MaxPackets", ns.UintegerValue(PACKETS))
        client.SetAttribute("Interval", ns.TimeValue(ns.NanoSeconds(GAP_NS)))
        nodes.Get(0).AddApplication(client)
        server = ns.CreateObject[ns.PacketSocketServer]()
        server.SetLocal(address)
        nodes.Get(1).AddApplication(server)
        ns.Simulator.Stop(ns.NanoSeconds(PACKETS * GAP_NS + 10**9))
        started = time.process_time()
        ns.Simulator.Run()
        seconds = time.process_time() - started
        queue = devices.Get(0).GetObject[ns.PointToPointNetDevice]().GetQueue()
        dropped = queue.GetTotalDroppedPackets()
        events = ns.Simulator.GetEventCount()
        ns.Simulator.Destroy()
        return {
            "packets": PACKETS,
            "delivered": PACKETS - dropped,
            "dropped": dropped,
            "events": events,
            "seconds": seconds,
        }

    return run


CONTENDERS: dict[str, Callable[[], Callable[[], Result]]] = {
    "opportunities": opportunities,
    "rate": rate,
    "whole path": whole_path,
    "ns.py": nspy,
    "ns-3": ns3,
}


def main(name: str) -> None:
    """Serve runs of one contender."""
    try:
        run = CONTENDERS[name]()
    except ImportError as error:
        print(json.dumps({"missing": str(error)}), flush=True)
        return
    for _ in sys.stdin:
        print(json.dumps(run()), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
