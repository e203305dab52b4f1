"""x264 and x265 through PyAV: one frame in, one access unit out, the quantiser set per frame."""

from __future__ import annotations

import time
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from testbed.errors import ToolFailedError, ToolMissingError
from testbed.media import annexb
from testbed.media.clips import Clip
from testbed.media.ratecontrol import FrameControl, SizeModel

if TYPE_CHECKING:
    from av.filter import Graph

    from testbed.media.encoders import EncoderConfig

#: The encoders run at this constant quantiser; the metadata shifts it.
BASE_QP = 30
#: Steps of the shift; finer steps would only multiply the filter graphs.
QP_STEPS = 4
#: FFmpeg expresses the shift as a share of the 8-bit quantiser range (libx264.c, libx265.c).
QP_RANGE = 51
#: Constant quantiser (qcomp 1), equal for all frame kinds, so that the shift alone decides; AQ on,
#: which the shift needs and which spreads bits within the picture as usual.
CONSTANT = "qcomp=1:ipratio=1:aq-mode=1:aq-strength=1"

#: Fitted to seven clips at four quantisers each, see docs/guides/encoders.md.
H264_INTRA = SizeModel(6.37, 0.71, 0.142)
H264_INTER = SizeModel(3.49, 0.79, 0.188)
H265_INTRA = SizeModel(4.89, 0.79, 0.159)
H265_INTER = SizeModel(5.73, 0.67, 0.195)


class _QpShift:
    """Marks a whole frame with a quantiser shift, through FFmpeg's `addroi` filter."""

    def __init__(self, width: int, height: int) -> None:
        self._size = (width, height)
        self._graphs: dict[int, Graph] = {}

    def __call__(self, frame: Any, qp: float) -> Any:
        step = round((qp - BASE_QP) * QP_STEPS)
        if step not in self._graphs:
            self._graphs[step] = self._graph(step)
        graph = self._graphs[step]
        graph.push(frame)
        return graph.pull()

    def _graph(self, step: int) -> Graph:
        import av
        from av.filter import Graph

        graph = Graph()
        offset = f"{step}/{QP_STEPS * QP_RANGE}"
        nodes = [
            graph.add_buffer(
                width=self._size[0],
                height=self._size[1],
                format=av.VideoFormat("yuv420p"),
                time_base=Fraction(1, 1000),
            ),
            graph.add("addroi", f"x=0:y=0:w=iw:h=ih:qoffset={offset}"),
            graph.add("buffersink"),
        ]
        graph.link_nodes(*nodes).configure()
        return graph


@lru_cache(maxsize=8)
def _qp_shift(width: int, height: int) -> _QpShift:
    """The marker for one size; its graphs keep nothing between frames."""
    return _QpShift(width, height)


class LavcSegment:
    """A fresh x264 or x265 encoder from one key frame on."""

    follows = True

    def __init__(
        self, clip: Clip, start: int, control: FrameControl, codec: str, options: dict[str, str]
    ) -> None:
        import av

        self._clip = clip
        self._start = start
        self._control = control
        self._codec = codec
        name = LIBRARIES[codec]
        try:
            context: Any = av.codec.CodecContext.create(name, "w")
        except av.codec.codec.UnknownCodecError:
            raise ToolMissingError(
                f"this PyAV has no {name}; get one with: pip install --force-reinstall av"
            ) from None
        context.width, context.height = clip.width, clip.height
        context.pix_fmt = "yuv420p"
        context.framerate = clip.fps
        context.time_base = 1 / clip.fps
        context.thread_count = 1
        context.options = {"tune": "zerolatency", "crf": str(BASE_QP), **options}
        # Opened here and not with the first frame: a live encoder would not start anew for a key
        # frame, so starting must not count as encoding time.
        try:
            context.open()
        except av.FFmpegError as error:
            raise ToolFailedError(f"{name}: does not start ({error.strerror})") from None
        self._context = context
        self._shift = _qp_shift(clip.width, clip.height)

    def close(self) -> None:
        """Nothing to do: the library frees itself."""

    def encode(self, index: int, target_kbps: float) -> list[tuple[bytes, int]]:
        """The access unit of frame `index` and the ns that it took."""
        frame, begin = self._prepare(index, target_kbps)
        data = self._coded(index, frame)
        took = time.perf_counter_ns() - begin
        self._control.record(8 * len(data), target_kbps)
        return [(data, took)]

    def _prepare(self, index: int, target_kbps: float) -> tuple[Any, int]:
        """The picture with its quantiser, and when work on it began."""
        import av

        key = index == self._start
        feature = self._clip.detail(index) if key else self._clip.motion(index)
        picture = self._clip.frame(index).reshape(-1, self._clip.width)
        begin = time.perf_counter_ns()
        frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
        qp = self._control.choose(target_kbps, key=key, feature=feature)
        frame = self._shift(frame, qp)
        frame.pts = index - self._start
        frame.time_base = self._context.time_base
        frame.pict_type = 0
        return frame, begin

    def _coded(self, index: int, frame: Any) -> bytes:
        """The cleaned access unit of a prepared picture."""
        import av

        try:
            packets = self._context.encode(frame)
        except av.FFmpegError as error:
            name = LIBRARIES[self._codec]
            raise ToolFailedError(f"{name}: frame {index} failed ({error.strerror})") from None
        if len(packets) != 1:
            raise ToolFailedError(
                f"{LIBRARIES[self._codec]}: {len(packets)} packets for frame {index}, expected one"
            )
        return annexb.clean(self._codec, bytes(packets[0]))


LIBRARIES = {"h264": "libx264", "h265": "libx265"}


def x264_options(config: EncoderConfig) -> dict[str, str]:
    """FFmpeg options of libx264 besides those common to both."""
    return {
        "preset": config.preset or "veryfast",
        "x264-params": (
            f"keyint=infinite:scenecut=0:threads=1:slices={config.slices}:mbtree=0:{CONSTANT}"
            ":cpu-independent=1:annexb=1:repeat-headers=1"
        ),
    }


def x265_options(config: EncoderConfig) -> dict[str, str]:
    """FFmpeg options of libx265 besides those common to both."""
    return {
        "preset": config.preset or "veryfast",
        "x265-params": (
            f"keyint=-1:scenecut=0:bframes=0:rc-lookahead=0"
            f":frame-threads=1:pools=none:wpp=0:cutree=0:{CONSTANT}"
            ":annexb=1:repeat-headers=1:info=0:aud=0:log-level=none"
        ),
    }
