"""The page in a real browser: what it shows, and that nothing is blocked or goes wrong in it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from browser import Browser, program
from PIL import Image
from viewing import HEADING, flat, sample, shown

from testbed.live.feed import Feed, Shown
from testbed.live.recording import Recording
from testbed.live.replay import Replay
from testbed.live.server import LiveServer

pytestmark = pytest.mark.skipif(
    program() is None and os.environ.get("TESTBED_REQUIRE_CHROMIUM") != "1",
    reason="no Chromium here; get it with: sh tools/install_chromium.sh",
)

SCENARIO = """\
name: watched
clips: ["test:testsrc2"]
width: 160
height: 96
fps: 15
duration_s: 2
downlink: {trace: [constant:2000kbps], delay_ms: 20}
uplink: {delay_ms: 20}
transports: [TRANSPORT]
rate: {control: fixed, kbps: 200}
"""
CANVASES = ("rate-chart", "loss-chart", "fps-chart")
#: Number of pixels of a canvas that are not transparent, and how many colours they have.
INK = """(() => {{
  const c = document.getElementById("{name}");
  const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
  const colours = new Set(); let n = 0;
  for (let i = 0; i < d.length; i += 4) if (d[i + 3]) {{
    n += 1; colours.add((d[i] << 16) | (d[i + 1] << 8) | d[i + 2]);
  }}
  return [n, colours.size, c.width];
}})()"""


def test_chromium_is_here_where_it_must_be() -> None:
    assert program() is not None


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def browser(window: Browser) -> Browser:
    """The window, of the usual size, on an empty page."""
    window.window(1280, 800)
    window.open("about:blank")
    return window


def text(browser: Browser, name: str) -> str:
    return str(browser.ask(f"document.getElementById('{name}').textContent"))


def test_a_session_on_the_page(browser: Browser, recording: Recording, tmp_path: Path) -> None:
    feed = Feed(recording.heading)
    with LiveServer(feed) as server, Replay(recording, feed, speed=1.0) as replay:
        browser.open(server.url)
        browser.until("document.getElementById('badge').dataset.state === 'running'")
        assert replay.wait(60)
        browser.until("document.getElementById('badge').dataset.state === 'done'")
        assert text(browser, "badge") == "■ done"
        assert text(browser, "title") == (
            "h264 over rail-synthetic-30s-0-mean300kbps, bernoulli 10 %"
        )
        assert text(browser, "setting").startswith("test:testsrc2, 160×96 at 15 fps")
        last = recording.samples[-1]
        assert text(browser, "elapsed") == "3.0 s of 3.0 s"
        assert text(browser, "mode") == "h264"
        assert text(browser, "state") == "fixed"
        assert text(browser, "late") == str(last.late_frames)
        assert text(browser, "sent") == str(round(last.sent_kbps))
        assert text(browser, "delivered") == str(round(last.delivered_kbps))
        assert text(browser, "target") == "200"
        for name in ("source", "received"):
            size = browser.ask(
                f"(i => [i.naturalWidth, i.naturalHeight])(document.getElementById('{name}'))"
            )
            assert size == [160, 96]
        for name in CANVASES:
            ink, colours, width = browser.ask(INK.format(name=name))
            assert width > 300
            assert ink > 500
            assert colours > 2
        assert "sent" in browser.ask(
            "document.getElementById('rate-chart').getAttribute('aria-label')"
        )
        image = tmp_path / "page.png"
        image.write_bytes(browser.screenshot())
        assert browser.errors == []
        _videos_are_side_by_side(browser, image)


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["h264", "morphe"])
def test_a_scenario_on_the_page_while_it_runs(
    browser: Browser, tmp_path: Path, transport: str
) -> None:
    scenario = tmp_path / "watched.yaml"
    scenario.write_text(SCENARIO.replace("TRANSPORT", transport), encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, "-m", "testbed.cli.main", "live", str(scenario), "--no-browser"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "TESTBED_BUSY_P99_MS": "1000"},
    ) as live:  # fmt: skip
        try:
            assert live.stdout is not None
            browser.open(live.stdout.readline().strip())
            browser.until("document.getElementById('badge').dataset.state === 'running'")
            browser.until("document.getElementById('badge').dataset.state !== 'running'")
            assert text(browser, "badge") == "■ done"
            assert text(browser, "title") == f"{transport} over constant-2000kbps, no loss"
            assert text(browser, "setting").endswith("rate control fixed 200 kbps · relay")
            assert text(browser, "elapsed") == "2.0 s of 2.0 s"
            assert text(browser, "target") == "200"
            for name in ("sent", "delivered", "rendered", "coding"):
                assert float(text(browser, name)) >= 0
            assert float(text(browser, "delay").removesuffix(" ms")) > 0
            assert text(browser, "queue").endswith(" kB")
            # The feed keeps the last pictures: both screens show one, the viewer's not the first.
            assert text(browser, "source-note") == "frame 29"
            # How far a decoder of groups came is a matter of the machine.
            note = re.match(r"frame (\d+)", text(browser, "received-note"))
            assert note is not None
            assert int(note[1]) > 0
            for name in ("source", "received"):
                size = (
                    f"(i => [i.naturalWidth, i.naturalHeight])(document.getElementById('{name}'))"
                )
                assert browser.ask(size) == [160, 96]
            assert browser.errors == []
        finally:
            live.send_signal(signal.SIGINT)
            _, complaints = live.communicate(timeout=60)
    assert "Traceback" not in complaints


def _videos_are_side_by_side(browser: Browser, image: Path) -> None:
    """On the screenshot both videos have the colours of the test pattern."""
    with Image.open(image) as opened:
        page = np.asarray(opened.convert("RGB")).astype(int)
    assert page.shape == (800, 1280, 3)
    boxes = [
        browser.ask(
            "(r => [r.left, r.top, r.right, r.bottom].map(Math.round))"
            f"(document.getElementById('{name}').getBoundingClientRect())"
        )
        for name in ("source", "received")
    ]
    (left, top, right, bottom), (left2, top2, right2, bottom2) = boxes
    assert right < left2
    assert (top, bottom) == (top2, bottom2)
    for x0, x1 in ((left, right), (left2, right2)):
        screen = page[top + 5 : bottom - 5, x0 + 5 : x1 - 5]
        assert (screen.max(axis=2) - screen.min(axis=2)).mean() > 40  # vivid
        assert screen.std() > 40


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (1920, 1080), (700, 900), (380, 800)])
@pytest.mark.parametrize("dark", [False, True])
def test_every_window_and_both_colour_schemes(
    browser: Browser, feed: Feed, width: int, height: int, dark: bool
) -> None:
    browser.window(width, height, dark=dark)
    for number in range(1, 40):
        feed.sample(sample(number))
    feed.show(shown(30))
    with LiveServer(feed) as server:
        browser.open(server.url)
        browser.until("document.getElementById('sent').textContent === '279'")
        browser.until("document.getElementById('received').naturalWidth === 32")
        wide = browser.ask("document.documentElement.scrollWidth")
        assert wide <= width  # nothing sticks out to the side
        if width >= 1280:
            assert browser.ask("document.documentElement.scrollHeight") <= height
        paper = browser.ask("getComputedStyle(document.body).backgroundColor")
        brightness = sum(int(n) for n in paper.removeprefix("rgb(").removesuffix(")").split(","))
        assert (brightness < 200) == dark
        assert text(browser, "received-note") == "frame 29, 33 ms behind"
        assert browser.errors == []


def test_rates_of_a_long_session_are_means_of_a_second(browser: Browser) -> None:
    feed = Feed(replace(HEADING, duration_s=40.0))
    for number in range(1, 256):
        feed.sample(sample(number, target_kbps=None))
    with LiveServer(feed) as server:
        browser.open(server.url)
        # The 25th second is that of samples 241 to 250, which sent 240 kbit/s and their number.
        browser.until("document.getElementById('sent').textContent === '486'")
        browser.until("document.getElementById('rate-unit').textContent === 'kbit/s, 1 s means'")
        assert text(browser, "target") == "–"
        ink, _, _ = browser.ask(INK.format(name="rate-chart"))
        assert ink > 5000
        assert browser.errors == []


def test_a_session_that_fails_says_so_in_words(browser: Browser, feed: Feed) -> None:
    feed.sample(sample(1, capacity_kbps=None, frame_delay_ms=None, queue_bytes=None))
    with LiveServer(feed) as server:
        browser.open(server.url)
        browser.until("document.getElementById('sent').textContent === '241'")
        assert text(browser, "delay") == text(browser, "queue") == "–"
        feed.fail("<img src=x onerror=alert(1)> the link is gone")
        browser.until("document.getElementById('badge').dataset.state === 'failed'")
        assert text(browser, "badge") == "▲ failed: <img src=x onerror=alert(1)> the link is gone"
        assert browser.ask("document.images.length") == 2


def test_the_page_says_when_its_own_decoder_is_behind(browser: Browser, feed: Feed) -> None:
    feed.sample(sample(10))
    feed.show(Shown(30, 10**9, 30, 15, flat(100), flat(60), 24))
    with LiveServer(feed) as server:
        browser.open(server.url)
        browser.until("document.getElementById('received-note').textContent !== ''")
        told = "frame 15, 500 ms behind, 300 ms of it for decoding here"
        assert text(browser, "received-note") == told


def test_longer_sessions_have_means(browser: Browser) -> None:
    """Ten sent and ten not: nobody could read that, and nothing says so but the mean."""
    feed = Feed(replace(HEADING, duration_s=20.0))
    for number in range(1, 25):
        feed.sample(sample(number, sent_kbps=1000.0 * (number % 2), capacity_kbps=9000.0))
    with LiveServer(feed) as server:
        browser.open(server.url)
        browser.until("document.getElementById('sent').textContent !== ''")
        assert text(browser, "sent") == "500"
        assert text(browser, "rate-unit") == "kbit/s, 1 s means"
        assert text(browser, "beyond") == " (to 9000)"
        high, window = browser.ask("[document.documentElement.scrollHeight, innerHeight]")
        assert high <= window  # the legend is one line


def test_a_server_that_goes_away_is_told(browser: Browser, feed: Feed) -> None:
    feed.sample(sample(1))
    with LiveServer(feed) as server:
        browser.open(server.url)
        browser.until("document.getElementById('sent').textContent === '241'")
    browser.until("document.getElementById('badge').dataset.state === 'cut'")
    assert text(browser, "badge") == "▲ no connection"
    assert not [t for t in threading.enumerate() if t.name.startswith("live-")]
