"""Decoding for the view while a session goes on, in a thread of its own.

Frames go in as they become final; pictures are there when the decoder is done with them. Nobody
waits for it: who asks gets the newest picture that there is. A decoder that is too slow falls
behind, and jumps: to the latest key frame in the queue, from where it can go on.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final

from testbed.errors import LocalProtocolError
from testbed.media.clips import Picture
from testbed.media.decoding import decode
from testbed.media.quality import black
from testbed.media.types import ReceivedFrame

#: Frames that wait before the decoder jumps to a key frame: 1.5 s at 30 fps.
MOST_WAITING: Final = 45
#: Frames that wait before it jumps without one, to stay dark until the next.
MOST_WITHOUT_KEY: Final = 450
#: Decoded pictures that wait to be asked for: more than come before a usual playout deadline.
MOST_PICTURES: Final = 48


class LiveDecoder:
    """One decoder and its thread; use as a context manager.

    Args:
        codec: a name of `testbed.media.decoding.DECODERS`.
        width: luma width.
        height: luma height.
        conceal: as in `testbed.media.decoding.decode`.
        options: likewise.
    """

    def __init__(
        self,
        codec: str,
        *,
        width: int,
        height: int,
        conceal: bool,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._news = threading.Condition()
        self._waiting: deque[ReceivedFrame] = deque()
        self._pictures: dict[int, Picture] = {}
        self._at: tuple[int, Picture] = (-1, black(width, height))
        self._closed = False
        self._failure: Exception | None = None
        self._last_index = -1
        self.jumped_over = 0  # frames that were never decoded because the decoder was behind
        self._decoded = decode(
            codec, self._frames(), width=width, height=height, conceal=conceal, options=options
        )
        self._thread = threading.Thread(target=self._run, name="live-decoder")
        self._thread.start()

    def push(self, frame: ReceivedFrame) -> None:
        """Take a frame, in order of index; never blocks.

        Raises:
            LocalProtocolError: the index goes back.
        """
        if frame.index <= self._last_index:
            raise LocalProtocolError(f"frame {frame.index} comes after frame {self._last_index}")
        self._last_index = frame.index
        with self._news:
            self._waiting.append(frame)
            if len(self._waiting) > MOST_WAITING:
                self._jump()
            self._news.notify_all()

    def _jump(self) -> None:
        """Leave out what comes before the latest key frame; the lock is held."""
        waiting = self._waiting
        keys = [at for at, frame in enumerate(waiting) if frame.key and frame.data]
        if not keys and len(waiting) <= MOST_WITHOUT_KEY:
            return
        over = keys[-1] if keys else len(waiting)
        if not over:
            return
        gone = [waiting.popleft() for _ in range(over)]
        self.jumped_over += len(gone)
        # The decoder must know that something is missing: it has no look at the numbers.
        waiting.appendleft(ReceivedFrame(gone[-1].index, key=False, data=b"", complete=False))

    def picture(self, index: int) -> tuple[int, Picture]:
        """The newest decoded picture up to frame `index`, and its frame; -1 and black before one.

        Ask in order: what is older than the answer is forgotten.

        Raises:
            Exception: what ended the decoder, such as weights that are not there.
        """
        with self._news:
            if self._failure is not None:
                raise self._failure
            ready = [number for number in self._pictures if number <= index]
            if ready:
                newest = max(ready)
                self._at = (newest, self._pictures[newest])
                for number in ready:
                    del self._pictures[number]
            return self._at

    def close(self) -> None:
        """End the thread; what waits is not decoded any more."""
        with self._news:
            self._closed = True
            self._waiting.clear()
            self._news.notify_all()
        self._thread.join()

    def __enter__(self) -> LiveDecoder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _frames(self) -> Iterator[ReceivedFrame]:
        """What the decoder reads: the queue, until it is closed."""
        while True:
            with self._news:
                self._news.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                frame = self._waiting.popleft()
            yield frame

    def _run(self) -> None:
        try:
            for decoded in self._decoded:
                with self._news:
                    self._pictures[decoded.index] = decoded.picture
                    while len(self._pictures) > MOST_PICTURES:
                        del self._pictures[min(self._pictures)]
        except Exception as error:  # whoever asks for pictures gets it
            with self._news:
                self._failure = error
                self._closed = True
