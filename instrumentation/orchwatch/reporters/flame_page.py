"""A flame graph as one page that needs no network: light, dark, by keyboard, on paper.

No text of a span can become markup: it stands in a block of JSON in which `<`, `>` and `&` are
written as escapes, and is only ever set as text. The page's policy allows its own script alone.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchwatch import units
from orchwatch.recording import files
from orchwatch.recording.safe_text import safe

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from orchwatch.analysis.flame import Flame
    from orchwatch.analysis.flame_diff import Change

_NS = 1_000_000_000
_MAX_BYTES = 1 << 20
_NAME_COLUMNS = 300
_MAX_ROWS = 50
_KINDS = ("agent", "model", "tool", "hook", "message", "person", "other")
_COMPARED = (("more", "longer"), ("less", "shorter"), ("same", "within 5 %"))
_UNSAFE = str.maketrans({letter: f"\\u{ord(letter):04x}" for letter in "<>&"})


@dataclass(frozen=True, kw_only=True)
class Page:
    """What a page is about.

    Attributes:
        title: Whose time it is.
        summary: A sentence about it.
    """

    title: str
    summary: str


def page(of: Page, flame: Flame, changes: Sequence[Change] | None = None) -> str:
    """The whole document, in ASCII.

    Args:
        of: What it is about.
        flame: The graph.
        changes: By place in it, where two are compared.
    """
    style, script = part("flame_page.css"), part("flame_page.js")
    parts = {
        "POLICY": policy(style, script),
        "TITLE": html.escape(safe(of.title)),
        "SUMMARY": html.escape(safe(of.summary, 2 * _NAME_COLUMNS)),
        "GRAPH": graph(flame, changes),
        "STYLE": style,
        "SCRIPT": script,
    }
    return filled("flame_page.html", parts)


def graph(flame: Flame, changes: Sequence[Change] | None = None) -> str:
    """The graph, its table and its data, for a page that has this one's style and script."""
    legend = _COMPARED if changes is not None else [(kind, kind) for kind in _kinds(flame)]
    parts = {
        "LEGEND": "".join(f'<li class="{look}">{text}</li>' for look, text in legend),
        "TABLE": "\n".join(_table(flame, changes)),
        "DATA": json.dumps(_data(flame, changes), separators=(",", ":")).translate(_UNSAFE),
    }
    return filled("flame_graph.html", parts)


def policy(style: str, script: str) -> str:
    """A content security policy that allows this style and this script, and nothing else."""
    return (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)};"
        " base-uri 'none'; form-action 'none'"
    )


def filled(template: str, parts: Mapping[str, str]) -> str:
    """A template of this folder with its parts, in ASCII.

    In one pass: what a part holds is never looked at again.
    """
    first, *rest = part(template).split("@@")
    found = [first]
    for name, text in zip(rest[::2], rest[1::2], strict=True):
        found += (parts[name], text)
    return "".join(found).encode("ascii", "xmlcharrefreplace").decode()


def part(name: str) -> str:
    """A file beside this one."""
    return files.read(Path(__file__).with_name(name), _MAX_BYTES).decode()


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _kinds(flame: Flame) -> list[str]:
    found = {frame.kind for frame in flame.frames}
    return [kind for kind in _KINDS if kind in found]


def _data(flame: Flame, changes: Sequence[Change] | None) -> dict[str, Any]:
    numbers: dict[str, int] = {}
    rows = []
    for place, frame in enumerate(flame.frames):
        row: list[float] = [
            *(numbers.setdefault(safe(frame.name, _NAME_COLUMNS), len(numbers)),),
            *(_KINDS.index(frame.kind), frame.level, frame.total_ns, frame.self_ns),
            *(frame.count, frame.errors),
        ]
        if changes is not None:
            row += (round(changes[place].total_ns), round(changes[place].before_ns))
        rows.append(row)
    compared = changes is not None
    return {"names": list(numbers), "kinds": _KINDS, "frames": rows, "compared": compared}


def _table(flame: Flame, changes: Sequence[Change] | None) -> Iterable[str]:
    """What took most time of its own, by name, for people who cannot see the graph."""
    own: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    for place, frame in enumerate(flame.frames):
        row = own[frame.name]
        row[0] += frame.self_ns if changes is None else changes[place].self_ns
        row[1] += 0.0 if changes is None else changes[place].before_self_ns
        row[2] += frame.count
    heads = (
        ("name", "own time", "share", "spans")
        if changes is None
        else (*("name", "own time a trace", "before", "difference"),)
    )
    yield "<tr>" + "".join(f'<th scope="col">{head}</th>' for head in heads) + "</tr>"
    whole = sum(row[0] for row in own.values())

    def size(name: str) -> tuple[float, str]:
        now, before, _ = own[name]
        return -(now if changes is None else abs(now - before)), name

    for name in sorted(own, key=size)[:_MAX_ROWS]:
        now, before, count = own[name]
        took = units.duration(now / _NS)
        if changes is None:
            cells = (took, units.share(now / whole if whole else None), f"{count:.0f}")
        else:
            cells = (took, units.duration(before / _NS), signed(now - before))
        yield (
            "<tr>"
            + "".join(
                f"<td>{html.escape(cell)}</td>" for cell in (safe(name, _NAME_COLUMNS), *cells)
            )
            + "</tr>"
        )


def signed(length_ns: float) -> str:
    """`+1.2s`, `-30ms`, `0s`."""
    if not round(length_ns):
        return "0s"
    sign = "+" if length_ns > 0 else "-"
    return sign + units.duration(abs(length_ns) / _NS)
