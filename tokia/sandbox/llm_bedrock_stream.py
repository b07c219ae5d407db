"""`application/vnd.amazon.eventstream`: a stream's events as binary frames with their checksums, and what can break them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from tokia.sandbox.asgi import dump
from tokia.sandbox.llm_bedrock_rules import Body
from tokia.sandbox.llm_delivery import CHUNKS_DEFAULT, Broken, Delivery, Frame

CONTENT_TYPE = "application/vnd.amazon.eventstream"
# HTTP status → the exception event that a stream may hold, and the status that it stands for
EXCEPTIONS = {
    400: "validationException",
    424: "modelStreamErrorException",
    429: "throttlingException",
    500: "internalServerException",
    503: "serviceUnavailableException",
}
MESSAGES = {
    400: "The model returned the following errors: bad input.",
    424: "The model stream ended in an error.",
    429: "Too many tokens, please wait before trying again.",
    500: "The system encountered an unexpected error during processing.",
    503: "Bedrock is unable to process your request.",
}
STRING = 7


def encode_frame(headers: dict[str, str], payload: bytes) -> bytes:
    """One message: prelude, headers (all strings), payload, and two CRC32s."""
    block = b"".join(
        struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", STRING, len(value.encode())) + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack("!II", 16 + len(block) + len(payload), len(block))
    frame = prelude + struct.pack("!I", zlib.crc32(prelude)) + block + payload
    return frame + struct.pack("!I", zlib.crc32(frame))


def encode_event(name: str, payload: bytes) -> bytes:
    return encode_frame({":event-type": name, ":content-type": "application/json", ":message-type": "event"}, payload)


def encode_exception(status: int) -> bytes:
    payload: Body = {"message": MESSAGES.get(status, MESSAGES[500])}
    if status == 424:
        payload |= {"originalStatusCode": 500, "originalMessage": "upstream error"}
    kind = EXCEPTIONS.get(status, EXCEPTIONS[500])
    return encode_frame({":exception-type": kind, ":content-type": "application/json", ":message-type": "exception"}, dump(payload))


class EventStreamDelivery(Delivery):
    """AWS generates, and bills, to the end even where the client hung up."""

    stream_type = CONTENT_TYPE
    bills_on = True

    def _encode(self, frame: Frame, number: int, contents: int) -> Iterator[bytes]:
        yield encode_event(frame.event or "", frame.data)

    async def _misbehave(self, contents: int, frame: Frame) -> None:
        if not self.faults.faults:
            return
        event = encode_event(frame.event or "", frame.data)
        if self.faults.has("truncated") and contents == CHUNKS_DEFAULT:
            await self._end_with(event[: len(event) // 2])
        if self.faults.has("badcrc") and contents == CHUNKS_DEFAULT:
            await self._end_with(event[:-1] + bytes([event[-1] ^ 1]))
        if self.faults.has("malformed") and contents == CHUNKS_DEFAULT:
            await self._write(encode_event(frame.event or "", b'{"delta":{"text":"x"'))
        if self.faults.has("exception") and contents == CHUNKS_DEFAULT:
            await self._end_with(encode_exception(self.faults.number("exception", 429)))
        if not {"truncated", "malformed"} & {fault.kind for fault in self.faults.faults}:  # the others are of the connection
            await super()._misbehave(contents, frame)

    async def _send_error_event(self) -> None:
        await self._end_with(encode_exception(503))

    async def _end_with(self, last: bytes) -> None:
        await self._write(last)
        await self.request.write(b"", more=False)
        raise Broken
