"""A machine's place in a fleet, and a gateway's tokens, as lines and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, TextIO

from orchwatch.recording.safe_text import ljust, safe, width
from orchwatch.reporters import json_document

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchwatch.diagnosis.fleet.tokens import Token

_HEADS = ("ID", "MACHINE", "CREATED")


@dataclass(frozen=True, kw_only=True)
class Status:
    """A machine in its fleet.

    Attributes:
        host_id: Its id, which it keeps.
        host_name: What it is called now.
        url: The gateway's address.
        team: What it is grouped by, None for nothing.
        problems: A sentence for each thing that keeps its operations from getting through.
    """

    host_id: str
    host_name: str
    url: str
    team: str | None
    problems: tuple[str, ...]


def render_status(status: Status, file: TextIO) -> None:
    """Writes a line for each, but for the first problem, which is an error's."""
    lines = {
        "machine": f"{status.host_name} ({status.host_id})",
        "team": status.team or "none",
        "gateway": status.url,
    }
    file.writelines(f"{name:8}  {safe(text)}\n" for name, text in lines.items())
    file.writelines(f"also      {safe(problem)}\n" for problem in status.problems[1:])
    if not status.problems:
        file.write("state     the gateway takes what this machine sends, and its agent runs\n")


def render_status_json(status: Status, file: TextIO) -> None:
    """Writes one object."""
    json_document.answer("fleet status", asdict(status), file)


def render_tokens(tokens: Sequence[Token], path: str, file: TextIO) -> None:
    """Writes one a line, without the secret."""
    if not tokens:
        file.write(f"No machine has a token in {safe(path)}.\n")
        return
    rows = [_HEADS, *((one.id, one.machine, one.created) for one in tokens)]
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    for *cells, last in rows:
        first = "  ".join(ljust(cell, size) for cell, size in zip(cells, widths, strict=False))
        file.write(f"{first}  {last}\n")


def render_tokens_json(tokens: Sequence[Token], file: TextIO) -> None:
    """Writes one object, without the secrets."""
    rows = [{"id": one.id, "machine": one.machine, "created": one.created} for one in tokens]
    json_document.answer("fleet token list", {"tokens": rows}, file)
