"""How late asyncio's timers are: with the usual selector, and with the one of the real-time worlds.

python benchmarks/timers.py
"""

from __future__ import annotations

import asyncio

from testbed.worlds.realtime.clock import new_loop, prompt
from testbed.worlds.realtime.lateness import Lateness

COUNT = 2_000
STEP_S = 0.00213  # no multiple of a millisecond


async def timers() -> Lateness:
    """`COUNT` timers, one after the other."""
    loop = asyncio.get_running_loop()
    late, done = Lateness(), loop.create_future()

    def fire(at_s: float) -> None:
        late.add(round((loop.time() - at_s) * 1e9))
        if late.count == COUNT:
            done.set_result(None)
        else:
            loop.call_at(at_s + STEP_S, fire, at_s + STEP_S)

    start_s = loop.time() + STEP_S
    loop.call_at(start_s, fire, start_s)
    await done
    return late


def main() -> None:
    """Both, as they are and with what the worlds ask of the machine."""
    for name, make in (("asyncio's own", asyncio.new_event_loop), ("ours", new_loop)):
        loop = make()
        late = loop.run_until_complete(timers())
        with prompt(priority=True) as scheduling:
            prompt_late = loop.run_until_complete(timers())
        loop.close()
        for how, one in (("normal", late), (scheduling, prompt_late)):
            shown = (one.percentile_ns(p) / 1e6 for p in (50.0, 99.0))
            print(f"{name}, {how}:", "median {:.3f} ms, p99 {:.3f} ms late".format(*shown))


if __name__ == "__main__":
    main()
