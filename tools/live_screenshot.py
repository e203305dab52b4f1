"""Make a picture of the live view, as a browser shows it, for the guide.

    python tools/live_screenshot.py docs/images/live.png --after 12 -- fidelity --set 'seeds=[1]'

What follows the dashes goes to `testbed live`: a scenario, or a run folder. The browser is opened
after so many seconds of the session; a few more go by until the picture is taken. It is brought to
256 colours, which keeps it small. Needs Chromium (tools/install_chromium.sh).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import urlopen

from PIL import Image, ImageColor

from testbed.live.look import DELIVERED, LOST, RENDERED, SENT

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars",
)  # fmt: skip
#: What Chromium gives the page before it takes the picture, milliseconds.
SETTLE_MS = 2000


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("what", nargs="+", help="for `testbed live`")
    parser.add_argument("--after", type=float, default=10.0, help="seconds of the session")
    parser.add_argument("--size", default="1280x800")
    given = parser.parse_args()
    command = [sys.executable, "-m", "testbed.cli.main", "live", "--no-browser", *given.what]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as live:
        assert live.stdout is not None
        url = live.stdout.readline().strip()
        try:
            if url:
                wait(url, given.after)
                take(url, given.out, given.size)
        finally:
            live.terminate()
    if not url:
        sys.exit("live_screenshot: `testbed live` did not start; see above")


def wait(url: str, after_s: float) -> None:
    """Come back when the session is so old, or over."""
    with urlopen(f"{url}events") as events:  # noqa: S310 - our own server
        for line in events:
            name, _, value = line.decode().rstrip().partition(": ")
            if name == "event" and value == "end":
                return
            samples = json.loads(value) if name == "data" else None
            if isinstance(samples, list) and samples[-1]["time_ns"] >= after_s * 1e9:
                return


def take(url: str, out: Path, size: str) -> None:
    """Open the page and keep what is to be seen."""
    with TemporaryDirectory() as folder:
        shot = Path(folder) / "page.png"
        subprocess.run(
            [
                "chromium", *FLAGS, f"--user-data-dir={folder}/profile", f"--screenshot={shot}",
                f"--window-size={size.replace('x', ',')}",
                f"--timeout={SETTLE_MS}", url,
            ],
            check=True, stderr=subprocess.DEVNULL, timeout=60,
        )  # fmt: skip
        with Image.open(shot) as image:
            shrink(image, out)
    print(f"{out}: {out.stat().st_size / 1000:.0f} kB")


def shrink(image: Image.Image, out: Path) -> None:
    """Save in 256 colours, mixed from neighbours where there is no such colour."""
    full = image.convert("RGB")
    # The curves' own colours must be among them, or they would be mixed too.
    own = [ImageColor.getrgb(colour) for colour in (SENT, DELIVERED, RENDERED, LOST)]
    few = full.quantize(256 - len(own), method=Image.Quantize.MEDIANCUT)
    palette = Image.new("P", (1, 1))
    found = few.getpalette() or []
    palette.putpalette(found[: 3 * (256 - len(own))] + [part for rgb in own for part in rgb])
    full.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(out, optimize=True)


if __name__ == "__main__":
    main()
