"""Make a picture of the live view, as a browser shows it, for the guide.

    python tools/live_screenshot.py RUN docs/images/live.png --after 24

RUN is a run folder. It is replayed at its own pace; the picture is taken after so many seconds, and
brought to 176 colours, which keeps it small. Needs Chromium (tools/install_chromium.sh).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

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
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--after", type=float, default=10.0, help="seconds of the session")
    parser.add_argument("--size", default="1280x800")
    parser.add_argument("--base", type=Path, default=Path())
    given = parser.parse_args()
    command = [sys.executable, "-m", "testbed.cli.main", "live", str(given.run), "--no-browser"]
    with subprocess.Popen(
        [*command, "--base", str(given.base)], stdout=subprocess.PIPE, text=True
    ) as live:
        assert live.stdout is not None
        url = live.stdout.readline().strip()
        try:
            if url:
                time.sleep(given.after)
                take(url, given.out, given.size)
        finally:
            live.terminate()
    if not url:
        sys.exit("live_screenshot: `testbed live` did not start; see above")


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
            small(image.convert("RGB")).save(out, optimize=True)
    print(f"{out}: {out.stat().st_size / 1000:.0f} kB")


def small(image: Image.Image) -> Image.Image:
    """In few colours; those of the curves, in the lower half, have some of their own."""
    width, height = image.size
    middle = round(0.55 * height)
    colours: list[int] = []
    for box, count in (((0, 0, width, middle), 128), ((0, middle, width, height), 48)):
        colours += image.crop(box).quantize(count, kmeans=1).getpalette()[: 3 * count]
    palette = Image.new("P", (1, 1))
    palette.putpalette(colours)
    return image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)


if __name__ == "__main__":
    main()
