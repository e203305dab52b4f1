"""Outside programs of the media floor: the ffmpeg that comes with `imageio-ffmpeg`."""

from __future__ import annotations

import os
import queue
import subprocess
import weakref
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from threading import Event, Thread, Timer
from typing import IO

from testbed.errors import ToolFailedError, ToolMissingError


@cache
def ffmpeg_exe() -> str:
    """Path of the ffmpeg that has libvvenc and libvmaf.

    Raises:
        ToolMissingError: `imageio-ffmpeg` is not installed or brings no binary.
    """
    try:
        import imageio_ffmpeg

        path = str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError) as error:
        raise ToolMissingError(
            f"ffmpeg with libvvenc and libvmaf is not there ({error}); "
            "get it with: pip install --force-reinstall imageio-ffmpeg"
        ) from None
    return path


@cache
def ffmpeg_identity() -> str:
    """Name of the binary, which carries its version; part of what determines an encode."""
    return Path(ffmpeg_exe()).name


def run_ffmpeg(
    arguments: Sequence[str], *, pieces: Iterable[bytes | memoryview] = (), timeout_s: float
) -> bytes:
    """Run ffmpeg with `pieces` as standard input and return its standard output.

    Standard output is read by a thread, so neither pipe can fill up and stop the other; standard
    error is kept for the message.

    Args:
        arguments: what follows the program name.
        pieces: standard input, piece by piece, so that a clip is never in memory as a whole.
        timeout_s: the process is killed after this many seconds.

    Raises:
        ToolMissingError: there is no ffmpeg.
        ToolFailedError: it failed or took too long; the message has its last line of stderr.
    """
    command = [ffmpeg_exe(), "-hide_banner", "-nostdin", "-loglevel", "error", *arguments]
    with TemporaryFile() as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        )
        assert process.stdin is not None
        assert process.stdout is not None
        output: list[bytes] = []
        stdout = process.stdout
        reader = Thread(target=lambda: output.append(stdout.read()), daemon=True)
        too_long = Event()

        def stop() -> None:
            too_long.set()
            process.kill()

        timer = Timer(timeout_s, stop)
        timer.start()
        reader.start()
        try:
            for piece in pieces:
                process.stdin.write(piece)
            process.stdin.close()
        except BrokenPipeError:
            pass  # it ended early; its exit status and stderr say why
        finally:
            if process.stdin and not process.stdin.closed:
                _close_quietly(process)
            try:
                process.wait()
            except BaseException:
                process.kill()
                process.wait()
                raise
            finally:
                timer.cancel()
                reader.join()
                stdout.close()
        errors.seek(0)
        complaint = errors.read().decode(errors="replace").strip().splitlines()
    if too_long.is_set():
        raise ToolFailedError(f"ffmpeg took longer than {timeout_s:g} s and was stopped")
    if process.returncode != 0:
        last = complaint[-1] if complaint else f"exit status {process.returncode}"
        raise ToolFailedError(f"ffmpeg failed: {last}")
    return output[0] if output else b""


def _close_quietly(process: subprocess.Popen[bytes]) -> None:
    try:
        if process.stdin:
            process.stdin.close()
    except BrokenPipeError:
        pass


class FfmpegStream:
    """An ffmpeg that is fed and read while it runs.

    Its output goes through a pipe of its own: encoders (VVenC does) print to standard output, too.
    Call `close` when done; a forgotten one is stopped when it is collected.

    Args:
        arguments: what follows the program name, up to the options of the output.

    Raises:
        ToolMissingError: there is no ffmpeg.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        command = [ffmpeg_exe(), "-hide_banner", "-nostdin", "-loglevel", "error", *arguments]
        self._errors = TemporaryFile()  # noqa: SIM115 (closed by `close`)
        ours, theirs = os.pipe()
        try:
            self._process = subprocess.Popen(
                [*command, f"pipe:{theirs}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                pass_fds=(theirs,),
            )
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        self._output: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        Thread(target=_pump, args=(ours, self._output), daemon=True).start()
        self.close = weakref.finalize(self, _stop, self._process, self._errors)

    def feed(self, data: bytes) -> None:
        """Write to its standard input.

        Raises:
            ToolFailedError: it has ended.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise ToolFailedError(f"ffmpeg failed: {self._complaint()}") from None

    def finish(self) -> None:
        """No more input."""
        _close_quietly(self._process)

    def read(self, timeout_s: float) -> bytes:
        """Some of its output; empty at the end.

        Raises:
            ToolFailedError: nothing came within the time, or it failed.
        """
        try:
            data = self._output.get(timeout=timeout_s)
        except queue.Empty:
            raise ToolFailedError(f"ffmpeg gave nothing within {timeout_s:g} s") from None
        if not data and self._process.wait(timeout_s) != 0:
            raise ToolFailedError(f"ffmpeg failed: {self._complaint()}")
        return data

    def _complaint(self) -> str:
        self._process.wait(10)
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit status {self._process.returncode}"


def _pump(source: int, output: queue.SimpleQueue[bytes]) -> None:
    """Hand over what comes, and an empty piece at the end."""
    with os.fdopen(source, "rb", buffering=0) as file:
        while data := file.read(1 << 16):
            output.put(data)
    output.put(b"")


def _stop(process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
    process.kill()
    process.wait()
    _close_quietly(process)
    errors.close()
