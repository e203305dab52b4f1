"""One scheme, one name, one colour, one marker, one line, in every figure and table.

Colours are the palette of Okabe and Ito (Color Universal Design, 2008), which people with the
common colour-vision deficiencies tell apart; markers and lines differ as well, so that a figure
survives black-and-white print. Pantheon keeps the same table in its `config.yml`.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from testbed.errors import OutputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: One column of a two-column paper (ACM, USENIX: 3.33 in), and the full width.
COLUMN_IN: Final = 3.3
PAGE_IN: Final = 7.0
PNG_DPI: Final = 300

BLACK: Final = "#000000"
GREY: Final = "#7f7f7f"
#: What the link offers, behind everything else.
CAPACITY_FILL: Final = "#e3e3e3"
CAPACITY_EDGE: Final = "#9a9a9a"

Dashes = str | tuple[float, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Scheme:
    """How one transport looks.

    Attributes:
        label: its name for readers.
        colour: hex RGB.
        marker: matplotlib marker.
        line: matplotlib line style.
        hatch: matplotlib hatch of its bars.
    """

    label: str
    colour: str
    marker: str
    line: Dashes
    hatch: str


_BLUE, _ORANGE, _GREEN = "#0072B2", "#E69F00", "#009E73"
_VERMILLION, _PURPLE, _SKY = "#D55E00", "#CC79A7", "#56B4E9"
#: For lines that are no schemes: rates, bursts.
PALETTE: Final = (_BLUE, _VERMILLION, _GREEN, _ORANGE, _PURPLE, _SKY, BLACK)
_DASHED: Final[Dashes] = (0, (4, 1.5))
_DOTTED: Final[Dashes] = (0, (1, 1))
_DASHDOT: Final[Dashes] = (0, (5, 1.2, 1, 1.2))
_LONG: Final[Dashes] = (0, (8, 2))
_BACK: Final = "\\" * 4

SCHEMES: Final[dict[str, Scheme]] = {
    "morphe": Scheme("Morphe", _VERMILLION, "o", "-", ""),
    "h264": Scheme("H.264", _BLUE, "s", _DASHED, "////"),
    "h265": Scheme("H.265", _ORANGE, "^", _DASHDOT, _BACK),
    "h266": Scheme("H.266", _GREEN, "D", _LONG, "----"),
    "grace": Scheme("GRACE", _PURPLE, "v", _DOTTED, "xxxx"),
    "grace-style": Scheme("GRACE-style", _PURPLE, "v", _DOTTED, "xxxx"),
    "av1": Scheme("AV1", _SKY, "P", _DASHED, "||||"),
    "aiortc-h264": Scheme("aiortc H.264", "#6A3D9A", "<", _DOTTED, "++++"),
    "aiortc-vp8": Scheme("aiortc VP8", "#B15928", ">", _DASHDOT, "----"),
    "tambur": Scheme("Tambur", "#882255", "X", _DASHDOT, "++++"),
}

#: Variants of a scheme ("h265+fec", "h265-fec") keep its colour and differ in the rest.
_VARIANTS: Final[tuple[tuple[str, str, str, Dashes, str], ...]] = (
    ("fec", "+FEC", "p", (0, (3, 1, 1, 1, 1, 1)), "||||"),
    ("rtx", "+RTX", "h", (0, (6, 1, 1, 1)), "++++"),
    ("conceal", "+concealment", "*", (0, (2, 1)), "xxxx"),
    ("nortx", " no RTX", "<", _DOTTED, ""),
)
#: For names that are not in the table: Paul Tol's "muted" colours that stand clear of the above.
_SPARE_COLOURS: Final = ("#332288", "#88CCEE", "#44AA99", "#999933", "#AA4499", "#661100")
_SPARE_MARKERS: Final = ("d", ">", "<", "8", "H", "*")
_SPARE_HATCHES: Final = ("", "////", _BACK, "----", "xxxx", "||||", "++++")
_SPARE_LINES: Final[tuple[Dashes, ...]] = (
    (0, (6, 1, 1, 1, 1, 1)),
    (0, (2, 2)),
    (0, (10, 1.5)),
    (0, (3, 1, 3, 1, 1, 1)),
)


def scheme(name: str) -> Scheme:
    """The look of transport `name`: a pure function of the name, known or not."""
    if name in SCHEMES:
        return SCHEMES[name]
    digest = hashlib.sha256(name.encode()).digest()
    for separator in ("+", "-", "_"):
        base, found, suffix = name.partition(separator)
        if not found or base not in SCHEMES:
            continue
        parent = SCHEMES[base]
        for known, label, marker, line, hatch in _VARIANTS:
            if suffix == known:
                return Scheme(parent.label + label, parent.colour, marker, line, hatch)
        return Scheme(
            f"{parent.label}{separator}{suffix}",
            parent.colour,
            _SPARE_MARKERS[digest[1] % len(_SPARE_MARKERS)],
            _SPARE_LINES[digest[2] % len(_SPARE_LINES)],
            _SPARE_HATCHES[digest[3] % len(_SPARE_HATCHES)],
        )
    return Scheme(
        name,
        _SPARE_COLOURS[digest[0] % len(_SPARE_COLOURS)],
        _SPARE_MARKERS[digest[1] % len(_SPARE_MARKERS)],
        _SPARE_LINES[digest[2] % len(_SPARE_LINES)],
        _SPARE_HATCHES[digest[3] % len(_SPARE_HATCHES)],
    )


def order(names: set[str] | list[str]) -> list[str]:
    """Transports in the order of every legend: known ones as listed above, then by name."""
    known = list(SCHEMES)
    return sorted(set(names), key=lambda n: (known.index(n) if n in SCHEMES else len(known), n))


def _settings() -> Any:
    return {
        "figure.dpi": 100,
        "savefig.dpi": PNG_DPI,
        "font.family": "DejaVu Sans",  # ships with matplotlib: the same picture everywhere
        "font.size": 8,
        "axes.titlesize": 8,
        "axes.labelsize": 8,
        "xtick.labelsize": 7,
        "ytick.labelsize": 7,
        "legend.fontsize": 7,
        "legend.frameon": False,
        "legend.handlelength": 2.6,
        "legend.columnspacing": 1.4,
        "axes.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#e6e6e6",
        "grid.linewidth": 0.5,
        "lines.linewidth": 1.3,
        "lines.markersize": 4,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "errorbar.capsize": 2,
        "hatch.linewidth": 0.5,
        # Editors and arXiv want TrueType, not Type 3, in PDF and PostScript.
        "pdf.fonttype": 42,
        "ps.fonttype": 42,
        # SVG element names come from the content, so the same data gives the same bytes.
        "svg.hashsalt": "morphe-testbed",
    }


@contextmanager
def paper_style() -> Iterator[None]:
    """Our matplotlib settings for the time of a `with`, over matplotlib's defaults.

    A user's own matplotlibrc does not show through, so the same runs give the same picture
    everywhere. Figures are made with `new_figure`, without pyplot: no window system, no state.
    """
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_settings())
        yield


def new_figure(width_in: float, height_in: float) -> Figure:
    """An empty figure on the file-only Agg canvas; call inside `paper_style`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as NewFigure

    figure = NewFigure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, folder: Path, stem: str) -> tuple[Path, Path]:
    """Write `stem.svg` and `stem.png` (300 dpi), each whole or not at all.

    The same figure twice gives the same bytes; call inside `paper_style`.

    Raises:
        OutputError: the files cannot be written.
    """
    paths = (folder / f"{stem}.svg", folder / f"{stem}.png")
    # Lay out once and keep it; otherwise every format does it twice over.
    figure.draw_without_rendering()
    figure.set_layout_engine(None)
    for path, metadata in zip(paths, ({"Date": None}, None), strict=True):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=path.suffix[1:], metadata=metadata)
        write_whole(path, buffer.getvalue())
    return paths


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a temporary name and rename it: it is there whole or not at all.

    Raises:
        OutputError: no permission, no room, or something in the way.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from None
