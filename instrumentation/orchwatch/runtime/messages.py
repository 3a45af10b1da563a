"""Messages between processes: framed JSON over a Unix socket, each acknowledged on receipt."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import struct
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchwatch import semconv
from orchwatch.errors import OrchwatchError
from orchwatch.recording.operation import operation
from orchwatch.recording.propagation import inject

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LENGTH = struct.Struct("!I")
# Larger than any batch report; a length beyond it means that the stream is out of step.
FRAME_LIMIT_BYTES = 64 * 1024 * 1024
SEND_TIMEOUT_S = 5
ACKNOWLEDGE_TIMEOUT_S = 10.0
ACKNOWLEDGED = "acknowledged"


class DeliveryError(OrchwatchError):
    """A message was not acknowledged: its receiver is gone or does not answer in time."""


@dataclass(frozen=True)
class Message:
    """What arrived.

    Attributes:
        kind: What it is about, e.g. `task`.
        headers: `traceparent` and `baggage` of the sender; `attach()` them to continue its trace.
        body: The content, JSON.
    """

    kind: str
    headers: dict[str, str]
    body: dict[str, Any]


class Channel:
    """One end of a connection; both ends may send at any time.

    A thread reads and acknowledges, so that an acknowledgement says "received", however busy the
    receiver is. What it reads goes to `sink`; `None` says that the other end is gone.
    """

    def __init__(
        self, connection: socket.socket, peer: str, sink: Callable[[Message | None], None]
    ) -> None:
        # Without a limit a full socket to a stopped process would hold the sender for ever.
        timeout = struct.pack("ll", SEND_TIMEOUT_S, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
        self.peer = peer
        self._connection = connection
        self._sink = sink
        self._numbers = itertools.count(1)
        self._writing = threading.Lock()
        self._awaited: dict[int, threading.Event] = {}
        self._gone = threading.Event()
        self._reader = threading.Thread(target=self._read, name=f"from-{peer}", daemon=True)
        self._reader.start()

    def deliver(
        self,
        kind: str,
        body: Mapping[str, Any],
        baggage: Mapping[str, str] | None = None,
    ) -> None:
        """Send a message and wait until the other end has acknowledged it.

        Args:
            kind: What it is about.
            body: The content, JSON.
            baggage: What the receiver's spans inherit, beside what this context carries.

        Raises:
            DeliveryError: The other end is gone, or did not acknowledge in time.
        """
        attributes = {semconv.MESSAGING_DESTINATION_NAME: self.peer, semconv.MESSAGE_KIND: kind}
        with operation(semconv.MESSAGE_DELIVER, attributes) as op:
            headers: dict[str, str] = {}
            inject(headers, baggage)
            number = next(self._numbers)
            arrived = self._awaited[number] = threading.Event()
            frame = {"id": number, "kind": kind, "headers": headers, "body": dict(body)}
            try:
                op.set_attribute(semconv.MESSAGING_BODY_SIZE, self._send(frame))
                if not self._gone.is_set() and not arrived.wait(ACKNOWLEDGE_TIMEOUT_S):
                    raise DeliveryError(f"{self.peer} did not acknowledge a {kind} message")
                # The reader takes out what was acknowledged.
                if number in self._awaited:
                    raise DeliveryError(f"{self.peer} is gone, a {kind} message to it is lost")
            finally:
                self._awaited.pop(number, None)

    def close(self) -> None:
        """Hang up; the other end notices at once."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        if self._reader is not threading.current_thread():
            self._reader.join(SEND_TIMEOUT_S)
        self._connection.close()

    def _send(self, frame: dict[str, Any]) -> int:
        data = json.dumps(frame, separators=(",", ":")).encode()
        try:
            with self._writing:
                self._connection.sendall(LENGTH.pack(len(data)) + data)
        except OSError as error:
            # Part of a frame may be out: nothing after it could be read.
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)
            raise DeliveryError(f"{self.peer} takes no messages: {error.strerror}") from error
        return len(data)

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError, KeyError, DeliveryError):
            while (frame := self._receive()) is not None:
                if frame["kind"] == ACKNOWLEDGED:
                    arrived = self._awaited.pop(frame["id"], None)
                    if arrived is not None:
                        arrived.set()
                else:
                    self._sink(Message(frame["kind"], frame["headers"], frame["body"]))
                    self._send({"id": frame["id"], "kind": ACKNOWLEDGED})
        self._gone.set()
        for arrived in list(self._awaited.values()):
            arrived.set()
        self._sink(None)

    def _receive(self) -> dict[str, Any] | None:
        """The next frame, None at the end of the stream."""
        prefix = self._exactly(LENGTH.size)
        if prefix is None:
            return None
        (length,) = LENGTH.unpack(prefix)
        if length > FRAME_LIMIT_BYTES:
            return None
        data = self._exactly(length)
        frame: dict[str, Any] | None = None if data is None else json.loads(data)
        return frame

    def _exactly(self, size: int) -> bytes | None:
        data = bytearray()
        while len(data) < size:
            chunk = self._connection.recv(min(size - len(data), 1 << 20))
            if not chunk:
                return None
            data += chunk
        return bytes(data)
