"""Spans packed for a bug report: names, times and outcomes, and nothing else.

A bundle is a zip of two members: `bundle.json` says what it is, `spans.jsonl` has a list a span, by
`FIELDS`. What is opened comes from elsewhere: nothing of it is written anywhere but as spans that
are made anew from it, and neither its names nor its sizes are believed.
"""

from __future__ import annotations

import io
import json
import re
import time
import zipfile
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

from orchwatch import semconv
from orchwatch.errors import OrchwatchError
from orchwatch.recording import files, otlp_json, spool
from orchwatch.recording.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from orchwatch.store.outlines import Outline

VERSION = 1
MAX_BYTES = 1024 * 1024 * 1024
"""Of its spans, unpacked: more is no report but an attack, or wants a shorter window."""

FIELDS = (
    "trace_id", "span_id", "parent_span_id", "name", "operation", "start_ns", "end_ns", "status",
    "error_type", "session_id", "agent", "agent_id", "hook", "hook_event", "hook_outcome", "host",
)  # fmt: skip
"""Of `Outline`, in this order; machines are numbered, as their names are nobody's business."""

_HEAD, _SPANS = "bundle.json", "spans.jsonl"
_HEAD_BYTES = 64 * 1024
_LINE_BYTES = 64 * 1024
_TEXTS = slice(8, 16)
_TRACE_DIGITS = 32
_TRACE_ID = re.compile(f"[0-9a-fA-F]{{{_TRACE_DIGITS}}}")
_MAX_ID, _MAX_NS, _MAX_STATUS = (1 << 64) - 1, (1 << 63) - 1, 2
_SEGMENT_BYTES = 8 * 1024 * 1024
_ATTRIBUTES = {
    "operation": semconv.OPERATION_NAME,
    "error_type": semconv.ERROR_TYPE,
    "session_id": semconv.SESSION_ID,
    "agent": semconv.GEN_AI_AGENT_NAME,
    "agent_id": semconv.GEN_AI_AGENT_ID,
    "hook": semconv.HOOK_NAME,
    "hook_event": semconv.HOOK_EVENT_NAME,
    "hook_outcome": semconv.HOOK_OUTCOME,
}
_BROKEN = (
    ValueError, LookupError, TypeError, RecursionError, EOFError, NotImplementedError, RuntimeError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What a damaged zip, or one that was made to do harm, has the library raise."""


class _DamagedError(Exception):
    """What is not as it must be, in words for a person."""


class Bundle(NamedTuple):
    """What was unpacked.

    Attributes:
        spans: How many.
        end_ns: When the last one ended, in Unix nanoseconds.
    """

    spans: int
    end_ns: int


def packed(spans: Iterable[Outline]) -> bytes:
    """A bundle of spans."""
    machines: dict[str | None, str | None] = {None: None}
    lines = []
    for span in spans:
        machines.setdefault(span.host, f"machine-{len(machines)}")
        row = [getattr(span, field) for field in FIELDS[:-1]]
        lines.append(json.dumps([*row, machines[span.host]], separators=(",", ":")))
    head = {
        "orchwatch_bundle": VERSION,
        "orchwatch": __version__,
        "made_at_ns": time.time_ns(),
        "fields": FIELDS,
        "spans": len(lines),
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(_HEAD, json.dumps(head, indent=1) + "\n")
        archive.writestr(_SPANS, "".join(line + "\n" for line in lines))
    return file.getvalue()


def unpack(path: str, home: Path) -> Bundle:
    """Puts what a bundle holds into a home that is still empty, as if it was recorded there.

    Raises:
        OrchwatchError: The file cannot be opened, is no bundle, of another version, or too large.
    """
    try:
        with files.reader(path) as file:
            return _unpack(file, home)
    except OSError as error:
        raise OrchwatchError(f"{path}: {error.strerror or error}") from error
    except _DamagedError as error:
        raise OrchwatchError(f"{path} is no bundle of orchwatch, or damaged: {error}") from error
    except _BROKEN as error:
        why = "it cannot be read as a zip file"
        raise OrchwatchError(f"{path} is no bundle of orchwatch, or damaged: {why}") from error
    except OrchwatchError as error:
        raise OrchwatchError(f"{path}: {error}") from error


def _unpack(file: BinaryIO, home: Path) -> Bundle:
    with zipfile.ZipFile(file) as archive:
        missing = [name for name in (_HEAD, _SPANS) if name not in archive.namelist()]
        if missing:
            raise _DamagedError(f"it has no {missing[0]}")
        with archive.open(_HEAD) as member:
            announced = _announced(member.read(_HEAD_BYTES + 1))
        directory = home / "spool"
        directory.mkdir(mode=0o700, parents=True)
        count = end_ns = size_bytes = 0
        segment, held = 1, list[str]()
        with archive.open(_SPANS) as member:
            for row in _rows(member):
                held.append(_line(row))
                count, end_ns = count + 1, max(end_ns, row["end_ns"])
                size_bytes += len(held[-1])
                if size_bytes >= _SEGMENT_BYTES:
                    _write(directory, segment, held)
                    segment, size_bytes = segment + 1, 0
                    held.clear()
        _write(directory, segment, held)
    if count != announced:
        raise _DamagedError(f"it holds {count} of the {announced} spans that {_HEAD} says")
    return Bundle(count, end_ns)


def _announced(text: bytes) -> int:
    """How many spans there are, by a head that is as `packed` writes it; later keys are let be."""
    head = _json(text, _HEAD) if len(text) <= _HEAD_BYTES else None
    if not isinstance(head, dict):
        raise _DamagedError(f"{_HEAD} is no JSON object of at most {_HEAD_BYTES >> 10} KiB")
    version = head.get("orchwatch_bundle")
    if type(version) is not int or version < 1:
        raise _DamagedError(f"orchwatch_bundle in {_HEAD} must be its version")
    if version != VERSION:
        raise OrchwatchError(f"a bundle of version {version}; this orchwatch opens {VERSION}")
    if not isinstance(head.get("orchwatch"), str):
        raise _DamagedError(f"orchwatch in {_HEAD} must be the version of orchwatch that wrote it")
    if head.get("fields") != list(FIELDS):
        raise _DamagedError(f"fields in {_HEAD} must be those of version {VERSION}")
    for key in ("made_at_ns", "spans"):
        if type(head.get(key)) is not int or not 0 < head[key] <= _MAX_NS:
            raise _DamagedError(f"{key} in {_HEAD} must be a whole number above 0")
    spans: int = head["spans"]
    return spans


def _json(text: bytes, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _DamagedError(f"{where} is no JSON") from error


def _rows(member: Any) -> Iterator[dict[str, Any]]:
    """The spans, each checked; what its head says of its size is not asked."""
    left_bytes = MAX_BYTES
    number = 0
    while line := member.readline(_LINE_BYTES + 1):
        left_bytes -= len(line)
        if left_bytes < 0:
            raise OrchwatchError(f"unpacked, it has more than {MAX_BYTES >> 20} MiB")
        number += 1
        where = f"line {number} of {_SPANS}"
        if len(line) > _LINE_BYTES:
            raise _DamagedError(f"{where} has more than {_LINE_BYTES >> 10} KiB")
        yield _checked(_json(line, where), where)


def _checked(values: Any, where: str) -> dict[str, Any]:
    if not isinstance(values, list) or len(values) != len(FIELDS):
        raise _DamagedError(f"{where} is no list of {len(FIELDS)} values")
    row = dict(zip(FIELDS, values, strict=True))
    trace_id = row["trace_id"]
    if not isinstance(trace_id, str) or not _TRACE_ID.fullmatch(trace_id):
        raise _DamagedError(f"{where}: trace_id must be {_TRACE_DIGITS} hexadecimal digits")
    for field, most in (
        ("span_id", _MAX_ID),
        ("start_ns", _MAX_NS),
        ("end_ns", _MAX_NS),
        ("status", _MAX_STATUS),
    ):
        if type(row[field]) is not int or not 0 <= row[field] <= most:
            raise _DamagedError(f"{where}: {field} must be a whole number from 0 to {most}")
    parent = row["parent_span_id"]
    if parent is not None and (type(parent) is not int or not 0 < parent <= _MAX_ID):
        raise _DamagedError(f"{where}: parent_span_id must be a whole number above 0, or null")
    for field in ("name", "operation", *FIELDS[_TEXTS]):
        if not isinstance(row[field], str) and (field == "name" or row[field] is not None):
            raise _DamagedError(f"{where}: {field} must be text")
    return row


def _line(row: dict[str, Any]) -> str:
    attributes = {key: row[field] for field, key in _ATTRIBUTES.items() if row[field]}
    resource = {semconv.SERVICE_NAME: "bundle"}
    if row["host"]:
        resource[semconv.HOST_NAME] = row["host"]
    parent = row["parent_span_id"]
    span = otlp_json.encode_span(
        trace_id=row["trace_id"].lower(),
        span_id=f"{row['span_id']:016x}",
        parent_span_id="" if parent is None else f"{parent:016x}",
        name=otlp_json.quote(row["name"]),
        start_ns=row["start_ns"],
        end_ns=row["end_ns"],
        attributes=otlp_json.encode_attributes(attributes),
        status=row["status"],
    )
    prefix = otlp_json.spans_prefix(otlp_json.encode_attributes(resource))
    return f"{prefix}{span}{otlp_json.LINE_SUFFIX}"


def _write(directory: Path, number: int, lines: list[str]) -> None:
    """Writes a segment of the spool."""
    path = spool.segment_path(str(directory), spool.OPERATIONS, number)
    header = f'{{"orchwatch":{{"id":"{number:032x}"}},"resourceSpans":[]}}\n'
    files.replace(path, otlp_json.to_bytes(header + "".join(lines)))
