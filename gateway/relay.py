"""One upstream stream on its way to the caller: bytes in, frames out, the tally filled as they pass."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from gateway.calls import ChatCall
from gateway.dialects.base import ChatReader, Dialect, Tally, malformed
from gateway.errors import UpstreamError
from gateway.refrain import Refrain
from gateway.sse import Event, LineTooLong
from gateway.surfaces.base import Shaper
from gateway.upstream import Exchange

OPENING_BYTES_MAX = 4_096  # a frame that is longer says something, though it may be no text: sound, a picture
TAIL_SECONDS = 0.05  # how long a finished upstream may take to end its body, so that its connection can serve again


class Relay:
    """Reads one answer to its end. `close` is due in any case."""

    def __init__(self, exchange: Exchange, dialect: Dialect, call: ChatCall, shaper: Shaper) -> None:
        self._exchange = exchange
        self._parser = dialect.open_parser()
        self.shaper = shaper
        reader, tally = dialect.open_stream(call)
        self.reader: ChatReader = reader
        self.tally: Tally = tally
        self._is_at_end = False
        self._has_begun = False  # frames were handed out
        self._opening_bytes = 0
        self._failure: Exception | None = None
        self._left = b""  # frames that a sink did not take
        # Only where a frame depends on nothing but its event.
        self._refrain = Refrain() if shaper.passes else None

    async def first(self) -> bytes:
        """The first frames that say something, with the opening before them (a role, an id): until then nothing was promised to
        the caller, so an error here may still be tried elsewhere."""
        frames = b""
        while not self._is_at_end and not self.tally.is_complete:
            frames += await self.next()
            tally = self.tally
            if frames and (tally.delivered_bytes or tally.finish_reason or self._opening_bytes > OPENING_BYTES_MAX):
                self._has_begun = True
                return frames
        if self.tally.is_complete or self.tally.finish_reason:
            self._has_begun = True
            return frames
        raise malformed("The provider's stream ended before it began.")

    async def next(self) -> bytes:
        """The frames of what comes next; empty where it held none. Raises UpstreamError, ClientGone."""
        if self._failure is not None:
            raise self._failure
        chunk = await self._exchange.answer.read_some()
        try:
            if chunk is None:
                self._is_at_end = True
                return self.shaper.read(self._read(self._parser.close()))
            return self.shaper.read(self._read(self._parser.feed(chunk)))
        except LineTooLong:
            raise malformed("A line of the provider's stream is too long.") from None

    async def pump(self, sink: Callable[[bytes], bool]) -> bytes:
        """Frames go to the sink as they come, while it takes them, in one wait for all of them: waking the task for each would cost
        more than the rest of it. Gives those that it did not take, or what `next` has to tell. Raises UpstreamError, ClientGone."""
        answer = self._exchange.answer
        if self._failure is not None or answer.has_news:
            return await self.next()

        refrain, tally, parser = self._refrain, self.tally, self._parser

        def take(chunk: bytes) -> bool:
            if refrain is not None and parser.is_between and (known := refrain.read(chunk)) is not None:
                tally.add_text(refrain.text)
                if sink(known):
                    return True
                self._left = known
                return False
            try:
                frames = self._take_unknown(chunk, refrain)
            except LineTooLong:
                self._failure = malformed("A line of the provider's stream is too long.")
                return False
            except Exception as error:  # the task's to raise: here we are a callback of the connection
                self._failure = error
                return False
            if frames and not sink(frames):
                self._left = frames
                return False
            return self._failure is None and not self.tally.is_complete

        await answer.pump(take)
        left, self._left = self._left, b""
        return left

    def _take_unknown(self, chunk: bytes, refrain: Refrain | None) -> bytes:
        was_between = refrain is not None and self._parser.is_between
        events = self._parser.feed(chunk)
        frames = self.shaper.read(self._read(events))
        if refrain is not None and was_between and len(events) == 1 and self.reader.said and self._parser.is_between:
            refrain.learn(chunk, frames, self.reader.said)
        return frames

    def _read(self, events: list[Event]) -> bytes:
        """What came before an error in the same bytes was counted, so it is delivered too: the error is raised by the next reading.

        Before anything was handed out it is raised at once: another deployment may still be asked."""
        frames = b""
        for event in events:
            try:
                frames += self.reader.read([event])
            except UpstreamError as error:
                if not self._has_begun or not frames:
                    raise
                self._failure = error
                break
        if not self._has_begun:
            self._opening_bytes += len(frames)
        return frames

    @property
    def has_ended(self) -> bool:
        """There is nothing more to read. Whether it ended well is `check_end`'s to say."""
        return self._failure is None and (self._is_at_end or self.tally.is_complete)

    def check_end(self) -> None:
        """Raises UpstreamError where the body ended before the answer did."""
        if not self.tally.is_complete and not (self._is_at_end and self.tally.finish_reason and self.reader.may_end_by_eof):
            raise cut()
        self.tally.is_complete = True

    async def read_tail(self) -> None:
        """What follows the end, which is nothing: then the connection can be used again."""
        if not self._is_at_end:
            with contextlib.suppress(TimeoutError, UpstreamError):
                async with asyncio.timeout(TAIL_SECONDS):
                    while await self._exchange.answer.read_some() is not None:
                        pass

    def close(self) -> None:
        self._exchange.close()


def cut() -> UpstreamError:
    return UpstreamError(
        "A resposta do provedor foi interrompida. Só o que foi entregue é cobrado.",
        "The provider's answer was cut. Only what was delivered is charged.",
        code="upstream_cut",
    )
