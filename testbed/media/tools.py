"""Outside programs of the media floor: the ffmpeg that comes with `imageio-ffmpeg`."""

from __future__ import annotations


def ffmpeg_exe() -> str:
    """Path of the ffmpeg that has libvvenc and libvmaf.

    Raises:
        ToolMissingError: `imageio-ffmpeg` is not installed or brings no binary.
    """
    raise NotImplementedError
