"""Writes the spans of operations whose process is gone, once, into the spool.

Every reader does it before it reads; see `orchwatch.recording.in_flight` for what a process leaves
behind. A process lives as long as its file is locked or, where it has closed that by mistake, as
long as the same process runs. What is found alive gets a new time of modification: the
last sign of life that is known when it is found dead.
"""

from __future__ import annotations

import fcntl
import json
import os
from typing import TYPE_CHECKING, Any

from orchwatch import semconv
from orchwatch.recording import files, in_flight, spool
from orchwatch.recording.home import home as current_home
from orchwatch.recording.otlp_json import (
    LINE_SUFFIX,
    STATUS_ERROR,
    encode_attributes,
    encode_span,
    quote,
    to_bytes,
)
from orchwatch.store import segments

if TYPE_CHECKING:
    from pathlib import Path

KILLED = "killed"
REBOOTED = "host rebooted"

FILE_BYTES = in_flight.HEADER_BYTES + in_flight.SLOTS * in_flight.SLOT_BYTES
_MAX_SEGMENTS = 2  # where a span is that was written just before its process was killed
_TRACE_ID_LENGTH, _SPAN_ID_LENGTH = 32, 16


def close(home: Path) -> None:
    """Closes what dead processes have left open in a home; others may do so at the same time.

    Nothing is done in a home that is not the current one: the spool is written to.
    """
    directory = home / in_flight.DIRECTORY
    try:
        left = os.listdir(directory)
        if not left or os.path.realpath(home) != os.path.realpath(current_home()):
            return
    except OSError:
        return
    for name in left:
        try:
            _close(home, str(directory / name))
        except OSError:  # gone meanwhile, or another user's
            continue


def _close(home: Path, path: str) -> None:
    file = files.descriptor(path, os.O_RDWR, links=False)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.utime(file)
            return
        status = os.fstat(file)
        data = os.pread(file, FILE_BYTES, 0)
        identity, prefix, reason = header(data)
        if not status.st_nlink or os.path.basename(path).startswith("."):
            return
        if _is_alive(identity):
            os.utime(file)
            return
        if not reason:
            reason = REBOOTED if identity[3:] not in ([], ["-"], [in_flight.boot_id()]) else KILLED
        lines = [
            f"{prefix}{_span(slot, status.st_mtime_ns, reason)}{LINE_SUFFIX}"
            for slot in slots(data)
            if not _is_recorded(home, slot["spanId"])
        ]
        if not lines or spool.append(spool.OPERATIONS, to_bytes("".join(lines)), 0):
            os.unlink(path)
    finally:
        os.close(file)


def header(data: bytes) -> tuple[list[str], str, str]:
    """Who it was (pid, start, namespace, boot), what its lines start with, why it ended."""
    header = data[: in_flight.HEADER_BYTES - in_flight.REASON_BYTES].decode("utf-8", "replace")
    identity, _, rest = header.partition("\n")
    end = data[in_flight.HEADER_BYTES - in_flight.REASON_BYTES : in_flight.HEADER_BYTES]
    reason = end.partition(b"\n")[0].strip(b"\0").decode("ascii", "replace")
    return identity.split(), rest.partition("\n")[0], reason


def _is_alive(identity: list[str]) -> bool:
    if len(identity) != 4 or not identity[0].isdecimal():  # noqa: PLR2004 - as it is written
        return False
    pid, started, namespace, boot = identity
    if started == "-" or (namespace, boot) != (in_flight.namespace(), in_flight.boot_id()):
        return False
    return in_flight.start_time(int(pid)) == started


def slots(data: bytes) -> list[dict[str, Any]]:
    """The operations that are open, as OTLP/JSON has a span."""
    found = []
    for start in range(in_flight.HEADER_BYTES, len(data), in_flight.SLOT_BYTES):
        line = data[start : start + in_flight.SLOT_BYTES].partition(b"\n")[0]
        try:
            slot = json.loads(line)
            if (
                len(bytes.fromhex(slot["traceId"])) * 2 == _TRACE_ID_LENGTH
                and len(bytes.fromhex(slot["spanId"])) * 2 == _SPAN_ID_LENGTH
                and slot["startTimeUnixNano"].isdecimal()
                and isinstance(slot["attributes"], list)
            ):
                found.append(slot)
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # empty, or half written when its process was killed
    return found


def _span(slot: dict[str, Any], seen_ns: int, reason: str) -> str:
    start_ns = int(slot["startTimeUnixNano"])
    more = encode_attributes(
        {semconv.ERROR_TYPE: semconv.UNFINISHED, semconv.UNFINISHED_REASON: reason}
    )
    attributes = json.dumps(slot["attributes"], separators=(",", ":"))[1:-1]
    return encode_span(
        trace_id=slot["traceId"],
        span_id=slot["spanId"],
        parent_span_id=slot["parentSpanId"],
        name=quote(slot["name"]),
        start_ns=start_ns,
        end_ns=max(start_ns, seen_ns),
        attributes=f"{attributes},{more}" if attributes else more,
        status=STATUS_ERROR,
    )


def _is_recorded(home: Path, span_id: str) -> bool:
    """Whether it ended after all: its process was killed before it could say so in its file."""
    wanted, whole = f'"spanId":"{span_id}"'.encode(), to_bytes(LINE_SUFFIX)
    found = [one for one in segments.find(home / "spool") if one.family == spool.OPERATIONS]
    latest = sorted(found, key=lambda segment: segment.name)[-_MAX_SEGMENTS:]
    return any(
        wanted in line and line.endswith(whole)  # not what a kill in the middle of it has left
        for segment in latest
        for piece, _ in segments.read(segment, 0)
        if wanted in piece
        for line in piece.splitlines(keepends=True)
    )
