"""One scheme, one name, one colour, one marker, one line, in every figure and table.

Colours are the palette of Okabe and Ito (Color Universal Design, 2008), which people with the
common colour-vision deficiencies tell apart; markers and lines differ as well, so that a figure
survives black-and-white print. Where a scheme is set up, in its file, is also where its look is
written (`testbed/transports/schemes`); Pantheon keeps such a table in its `config.yml`.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from testbed.errors import OutputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from testbed.analysis.runs import Run

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

#: Schemes of other people's that have no file here, kept for results that name them.
_WITHOUT_FILE: Final[dict[str, Scheme]] = {
    "grace": Scheme("GRACE", _PURPLE, "v", _DOTTED, "xxxx"),
    "av1": Scheme("AV1", _SKY, "P", _DASHED, "||||"),
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
#: Where those are taken.
_MORE_MARKERS: Final = ("P", "X", "p", "v", "^", "h", "D", "s", "o")
_MORE_HATCHES: Final = ("oo", "..", "///|||", "---///", "OO", "xx--")
_SPARE_HATCHES: Final = ("", "////", "\\" * 4, "----", "xxxx", "||||", "++++")
_SPARE_LINES: Final[tuple[Dashes, ...]] = (
    (0, (6, 1, 1, 1, 1, 1)),
    (0, (2, 2)),
    (0, (10, 1.5)),
    (0, (3, 1, 3, 1, 1, 1)),
)
_MORE_LINES: Final[tuple[Dashes, ...]] = (
    (0, (8, 1, 2, 1)),
    (0, (1, 2.5)),
    (0, (4, 3)),
    (0, (3, 1, 1, 1)),
    (0, (12, 3)),
    (0, (5, 1, 5, 3)),
)
#: Looks that the runs being drawn bring along: of schemes that are not shipped (`looks_of`).
_brought: ContextVar[Mapping[str, Scheme] | None] = ContextVar("brought", default=None)


@cache
def schemes() -> Mapping[str, Scheme]:
    """The looks of all shipped schemes in the order of every legend, from their files.

    A variant stands behind the scheme that it is one of.
    """
    from testbed.transports.schemes.file import shipped_names, shipped_scheme

    files = {name: found for name in shipped_names() if (found := shipped_scheme(name))}

    def place(name: str) -> tuple[float, str, bool, float, str]:
        found = files[name]
        parent = files.get(found.variant_of or "", found)
        return parent.rank, parent.name, parent is not found, found.rank, name

    known = {name: look_from(files[name].look()) for name in sorted(files, key=place)}
    shipped = {name: look for name, look in known.items() if look is not None}
    return shipped | {name: look for name, look in _WITHOUT_FILE.items() if name not in shipped}


def look_from(told: Any) -> Scheme | None:
    """A look as a manifest tells it (`SchemeFile.look`); None: it tells none that can be drawn."""
    from testbed.transports.schemes.model import LookPart

    try:
        part = LookPart.model_validate(told)
    except ValueError:
        return None
    line: Dashes = part.line if isinstance(part.line, str) else (0, part.line)
    return Scheme(part.display_name, part.colour, part.marker, line, part.hatch)


@contextmanager
def looks_of(runs: Iterable[Run]) -> Iterator[None]:
    """For the time of a `with`, `scheme` knows what these runs' manifests say of their looks.

    Shipped schemes stay as they are. A look is the scheme's: a run under a label of its own, such
    as `mine+slices=4`, is a variant of it. Of two names that would look the same the later one in
    the alphabet gets another marker and line.
    """
    told = {
        str(named): look
        for run in runs
        if (named := _named(run)) is not None
        and named not in schemes()
        and (look := look_from(run.manifest.get("look"))) is not None
    }
    token = _brought.set(told)
    try:
        labels = sorted({run.transport for run in runs} - set(schemes()))
        _brought.set(told | _apart(labels))
        yield
    finally:
        _brought.reset(token)


def _named(run: Run) -> str | None:
    """The scheme of a run, whatever its label."""
    try:
        return str(run.manifest["resolved"]["transport"]["name"])
    except (KeyError, TypeError):
        return None


def _apart(labels: Sequence[str]) -> dict[str, Scheme]:
    """Looks of these labels, changed where one has colour and marker, line or hatch of another."""
    spare: dict[str, Sequence[Any]] = {
        "marker": _SPARE_MARKERS + _MORE_MARKERS,
        "line": _SPARE_LINES + _MORE_LINES,
        "hatch": _SPARE_HATCHES + _MORE_HATCHES,
    }
    taken = {
        (field, look.colour, getattr(look, field)) for look in schemes().values() for field in spare
    }
    found: dict[str, Scheme] = {}
    for label in labels:
        look = scheme(label)
        for field, values in spare.items():
            own = getattr(look, field)
            free = (v for v in (own, *values) if (field, look.colour, v) not in taken)
            look = replace(look, **{field: next(free, own)})
            taken.add((field, look.colour, getattr(look, field)))
        found[label] = look
    return found


def scheme(name: str) -> Scheme:
    """The look of transport `name`, known or not.

    A pure function of the name, but for schemes that the runs being drawn bring (`looks_of`).
    """
    known = {**schemes(), **(_brought.get() or {})}
    if name in known:
        return known[name]
    digest = hashlib.sha256(name.encode()).digest()
    for base, separator, suffix in _partitions(name):
        if base not in known:
            continue
        parent = known[base]
        for word, label, marker, line, hatch in _VARIANTS:
            if suffix == word:
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


def _partitions(name: str) -> Iterator[tuple[str, str, str]]:
    """Every way to cut a name at a sign that joins variants, the longest scheme first."""
    for at in range(len(name) - 2, 0, -1):
        if name[at] in "+-_":
            yield name[:at], name[at], name[at + 1 :]


def order(names: set[str] | list[str]) -> list[str]:
    """Transports in the order of every legend: shipped ones as their files say, then by name."""
    known = list(schemes())
    return sorted(set(names), key=lambda n: (known.index(n) if n in known else len(known), n))


def _settings() -> Any:
    return {
        "figure.dpi": 100,
        "savefig.dpi": PNG_DPI,
        "font.family": "DejaVu Sans",  # ships with matplotlib: the same picture everywhere
        "font.size": 8,
        "text.parse_math": False,  # a name with a $ in it is a name, not a formula
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
