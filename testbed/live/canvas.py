"""The view as an image: heading, two screens, numbers, strip charts. The screens are left black."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from testbed.live.feed import Heading, Sample
from testbed.live.look import (
    AREA,
    CARD,
    DELIVERED,
    EDGE,
    INK,
    LINE,
    LOST,
    PAPER,
    RENDERED,
    SENT,
    SOFT,
    TARGET,
    Box,
    font,
    layout,
)
from testbed.live.strips import CUT, MEAN_S, RAW_S, SAMPLE_S, Points, Strip, means, span

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

#: One entry of a legend: kind of mark ("area", "line", "dashed", ""), colour, text.
_Entry = tuple[str, str, str]


class Canvas:
    """Draws the view of one session, moment by moment.

    Args:
        heading: what is on view.
    """

    def __init__(self, heading: Heading) -> None:
        self.heading = heading
        self.layout = layout(heading.width, heading.height)
        self._blank = self._frame()

    def draw(self, samples: Sequence[Sample], source_frame: int, received_frame: int) -> Image:
        """The view after these samples (all of the session so far), as RGB.

        Args:
            samples: in order of time.
            source_frame: what the source's screen shows.
            received_frame: what the viewer's shows; -1: nothing yet.
        """
        from PIL import ImageDraw

        image = self._blank.copy()
        draw = ImageDraw.Draw(image)
        place = self.layout
        self._label(draw, place.source, "Source", f"frame {source_frame}")
        behind_ms = (source_frame - received_frame) / self.heading.fps * 1e3
        told = f"frame {received_frame}, {behind_ms:.0f} ms behind"
        self._label(
            draw, place.received, "Received", told if received_frame >= 0 else "nothing yet"
        )
        self._facts(draw, samples[-1] if samples else None)
        start_s, end_s = span(samples[-1].time_ns / 1e9 if samples else 0, self.heading.duration_s)
        shown = [sample for sample in samples if sample.time_ns / 1e9 > start_s]
        self._rate(draw, shown, start_s, end_s)
        self._loss(draw, shown, start_s, end_s)
        self._fps(draw, shown, start_s, end_s)
        return image

    # --- what stays -----------------------------------------------------------------------------

    def _frame(self) -> Image:
        from PIL import Image, ImageDraw

        place, heading = self.layout, self.heading
        image = Image.new("RGB", (place.width, place.height), PAPER)
        draw = ImageDraw.Draw(image)
        loss = "no loss" if heading.loss == "none" else heading.loss
        title = f"{heading.transport} over {heading.trace}, {loss}"
        setting = (
            f"{heading.clip}, {heading.width}×{heading.height} at {heading.fps:g} fps · "
            f"rate control {heading.control} · {heading.world}"
        )
        top = place.title.top
        self._text(draw, place.title.left, top + place.px(12), title, INK, 17, bold=True)
        self._text(draw, place.title.left, top + place.px(33), setting, SOFT, 13)
        for screen in (place.source, place.received):
            draw.rectangle(_outline(screen), "#000000")
        draw.rectangle(_outline(place.facts), CARD, LINE, max(1, round(place.unit)))
        return image

    def _text(
        self, draw: ImageDraw, x: int, y: int, text: str, colour: str, size: int, *,
        bold: bool = False, anchor: str = "lm",
    ) -> int:  # fmt: skip
        """Write one line; returns its width in pixels."""
        face = font(round(size * self.layout.unit), bold=bold)
        draw.text((x, y), text, colour, face, anchor=anchor)
        return round(face.getlength(text))

    def _label(self, draw: ImageDraw, box: Box, name: str, note: str, size: int = 13) -> int:
        """Name and note on the line above a video; returns where they end."""
        row = box.top - self.layout.caption // 2
        x = box.left + self._text(draw, box.left, row, name, INK, 14, bold=True)
        x += self.layout.px(8)
        return x + self._text(draw, x, row, note, SOFT, size)

    # --- numbers --------------------------------------------------------------------------------

    def _facts(self, draw: ImageDraw, now: Sample | None) -> None:
        place = self.layout
        cells = _facts(now, self.heading)
        step = place.facts.width / len(cells)
        for number, (name, value) in enumerate(cells):
            left = round(place.facts.left + number * step)
            if number:
                draw.line([(left, place.facts.top), (left, place.facts.bottom)], LINE)
            x = left + place.px(12)
            self._text(draw, x, place.facts.top + place.px(14), name, SOFT, 11)
            self._text(draw, x, place.facts.top + place.px(32), value, INK, 14, bold=True)

    # --- strips ---------------------------------------------------------------------------------

    def _strip(
        self, draw: ImageDraw, box: Box, head: tuple[str, str], entries: Sequence[_Entry],
        *, start_s: float, end_s: float, top: float, step_s: float = SAMPLE_S,
    ) -> Strip:  # fmt: skip
        """Caption, legend and axes of a chart."""
        place = self.layout
        down, left = place.px(18), place.px(42)
        high = box.height - place.caption - down
        plot = Box(box.left + left, box.top + place.caption, box.width - left - place.px(6), high)
        caption = Box(box.left, box.top + place.caption, box.width, high)
        self._label(draw, caption, *head, size=11)
        self._legend(draw, box, entries)
        strip = Strip(draw, plot, start_s, end_s, top, place.unit, step_s)
        strip.axes()
        return strip

    def _legend(self, draw: ImageDraw, box: Box, entries: Sequence[_Entry]) -> None:
        """Marks and words, flush right."""
        place = self.layout
        row, x = box.top + place.caption // 2, box.right
        for kind, colour, text in reversed(entries):
            self._text(draw, x, row, text, INK, 12, anchor="rm")
            x -= round(font(round(12 * place.unit)).getlength(text)) + place.px(5)
            if kind:
                self._mark(draw, kind, colour, x, row)
                x -= place.px(22) + place.px(12)

    def _mark(self, draw: ImageDraw, kind: str, colour: str, right: int, row: int) -> None:
        place = self.layout
        left, thick = right - place.px(22), max(1, round(2 * place.unit))
        if kind == "area":
            draw.rectangle([left, row - place.px(4), right, row + place.px(4)], colour, EDGE)
        elif kind == "dashed":
            for part in range(3):
                begin = left + part * place.px(8)
                draw.line([(begin, row), (begin + place.px(5), row)], colour, thick)
        else:
            draw.line([(left, row), (right, row)], colour, thick)

    def _rate(self, draw: ImageDraw, shown: Sequence[Sample], start_s: float, end_s: float) -> None:
        raw = end_s - start_s <= RAW_S
        step_s = SAMPLE_S if raw else MEAN_S
        unit = "kbit/s" if raw else f"kbit/s, {MEAN_S:g} s means"
        sent, delivered, target, capacity = (
            _points(shown, name) if raw else means(_points(shown, name), step_s)
            for name in ("sent_kbps", "delivered_kbps", "target_kbps", "capacity_kbps")
        )
        own = max([50.0, *(value or 0 for _, value in (*sent, *delivered, *target))])
        link = max([0.0, *(value or 0 for _, value in capacity)])
        cut = link > CUT * own
        beyond = f" (to {link:.0f})" if cut else ""
        entries: list[_Entry] = [
            ("area", AREA, f"capacity{beyond}"),
            ("line", SENT, f"sent {_last(sent)}"),
            ("line", DELIVERED, f"delivered {_last(delivered)}"),
            ("dashed", TARGET, f"target {_last(target)}"),
        ]
        strip = self._strip(
            draw, self.layout.rate, ("Bitrate", unit), entries,
            start_s=start_s, end_s=end_s, top=1.1 * (own if cut else max(own, link)), step_s=step_s,
        )  # fmt: skip
        strip.bars(capacity, AREA, gap=0)
        strip.steps(capacity, EDGE, 1)
        strip.steps(sent, SENT, 1.3)
        strip.steps(delivered, DELIVERED, 2)
        strip.steps(target, TARGET, 1.5, dashed=True)

    def _loss(self, draw: ImageDraw, shown: Sequence[Sample], start_s: float, end_s: float) -> None:
        lost: Points = [(s.time_ns / 1e9, 100 * s.loss_share) for s in shown]
        top = 1.05 * max([10.0, *(value or 0 for _, value in lost)])
        now = _number(100 * shown[-1].loss_share if shown else None)
        strip = self._strip(
            draw, self.layout.loss, ("Loss", "% of packets, in 100 ms"), [("", "", f"{now} %")],
            start_s=start_s, end_s=end_s, top=top,
        )  # fmt: skip
        strip.bars(lost, LOST)

    def _fps(self, draw: ImageDraw, shown: Sequence[Sample], start_s: float, end_s: float) -> None:
        now = shown[-1] if shown else None
        fastest = max([self.heading.fps, *(max(s.coding_fps, s.rendered_fps) for s in shown)])
        entries: list[_Entry] = [
            ("dashed", TARGET, f"coded {_value(now, 'coding_fps')}"),
            ("line", RENDERED, f"rendered {_value(now, 'rendered_fps')}"),
        ]
        strip = self._strip(
            draw, self.layout.fps, ("Frames", "per second"), entries,
            start_s=start_s, end_s=end_s, top=1.1 * fastest,
        )  # fmt: skip
        strip.steps(_points(shown, "rendered_fps"), RENDERED, 2)
        strip.steps(_points(shown, "coding_fps"), TARGET, 1.5, dashed=True)


def _outline(box: Box) -> list[int]:
    """A box as Pillow wants it: with its last column and row."""
    return [box.left, box.top, box.right - 1, box.bottom - 1]


def _points(samples: Sequence[Sample], name: str) -> Points:
    return [(sample.time_ns / 1e9, getattr(sample, name)) for sample in samples]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"


def _last(points: Points) -> str:
    """The number beside a curve: its last value."""
    return _number(points[-1][1] if points else None)


def _value(now: Sample | None, name: str) -> str:
    return "–" if now is None else _number(getattr(now, name))


def _facts(now: Sample | None, heading: Heading) -> list[tuple[str, str]]:
    """Names and values of the row of numbers."""
    length = "" if heading.duration_s is None else f" of {heading.duration_s:g} s"
    names = ("Elapsed", "Mode", "Controller", "Frame delay", "Late frames", "Queue")
    if now is None:
        return [(name, "–") for name in names]
    values = (
        f"{now.time_ns / 1e9:.1f} s{length}",
        now.mode or "–",
        now.state or "–",
        "–" if now.frame_delay_ms is None else f"{now.frame_delay_ms:.0f} ms",
        str(now.late_frames),
        "–" if now.queue_bytes is None else f"{now.queue_bytes / 1e3:.1f} kB",
    )
    return list(zip(names, values, strict=True))
