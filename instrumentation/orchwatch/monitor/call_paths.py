"""Counters of time by call path: of a bounded number of paths, the rest under one of each service.

What a path took of its own is counted; its total is that and what the paths below it have, so that
the own times add up to the totals. A counter never falls: where a span that comes late takes time
from the one that called it, that one stands still until its own time has caught up.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from orchwatch import semconv
from orchwatch.recording import safe_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchwatch.analysis.flame import Flame

MAX_PATHS: Final = 300
"""How many paths are counted apart; a label of metrics must be bounded."""

MAX_SERVICES: Final = 32
ALL: Final = "all"
"""The path above all others of a service: a flame graph has one at its top."""

REST: Final = "other paths"
"""The path that all others are counted under."""

OTHER_SERVICE: Final = "other services"
# Who has not been called for so long makes room for one that is; Prometheus keeps what it took.
IDLE_NS: Final = 24 * 3600 * 1_000_000_000

_MAX_COLUMNS = 80  # of a name
_MAX_LENGTH = 1000  # of a path
_MAX_NAMES = 4096  # that are remembered as they are shown
_NS_PER_S = 1_000_000_000
# A counter begins with 0 where it says it does, if that is before its first value.
_BEFORE_NS = _NS_PER_S

# Grafana sorts texts as a dictionary does, whatever their case, and leaves out signs: so a key is
# made of small letters, as many for each level, and a caller's is the beginning of those it calls.
_KEY_OF_ALL = "a"
_KEY_OF_REST = "z" * 8
_LETTERS = str.maketrans("0123456789", "ghijklmnop")


@dataclass(slots=True, eq=False, kw_only=True)
class Path:
    """A call path of a service, and what is counted of it.

    Attributes:
        service: In which its trace began.
        caller: The path above; None of the one above all.
        name: The last of its names.
        kind: As `span_tree.kind` has it.
        text: All names, the caller's first.
        order: Its key: sorted by it callers come first, each followed by all below it.
        level: How many are above.
        born_ns: Since when it is counted, in Unix nanoseconds.
        used_ns: When it was called last.
        self_ns: What it took of its own.
        told_ns: The most that this has been: what its counter says.
        gone_ns: What those below it said that have made room for others.
        total_ns: What the counter of its total says, see `CallPaths.told`.
        below: The paths below, by name and kind.
        said_ns: What was exported last: of its own, in total, and when.
    """

    service: str
    caller: Path | None
    name: str
    kind: str
    text: str
    order: str
    level: int
    born_ns: int
    used_ns: int
    self_ns: int = 0
    told_ns: int = 0
    gone_ns: int = 0
    total_ns: int = 0
    below: dict[tuple[str, str], Path] = field(default_factory=dict)
    said_ns: tuple[int, int, int] = (-1, -1, 0)


class CallPaths:
    """Times by call path.

    Args:
        saved: What `save` returned in the process before; none at first.

    Raises:
        LookupError, TypeError, ValueError: That is something else.
    """

    def __init__(self, saved: Sequence[Sequence[Any]] = ()) -> None:
        self._paths: list[Path] = []  # callers first
        self._services: dict[str, Path] = {}
        self._number = 0  # without those above all and the rests
        self._names: dict[str, str] = {}
        self._full_until_ns = 0
        for row in saved:
            self._restore(row)

    def save(self) -> list[list[Any]]:
        """All of it; JSON."""
        places = {id(path): place for place, path in enumerate(self._paths)}
        return [
            [
                path.service,
                None if path.caller is None else places[id(path.caller)],
                path.name,
                path.kind,
                path.born_ns,
                path.used_ns,
                path.self_ns,
                path.told_ns,
                path.gone_ns,
            ]
            for path in self._paths
        ]

    def add(self, service: str, flame: Flame, now_ns: int, *, sign: int = 1) -> None:
        """Adds a flame graph's own times to those of its service.

        Args:
            service: In which its traces began.
            flame: The graph.
            now_ns: Unix nanoseconds.
            sign: -1 takes it back.
        """
        top = self._top(service, now_ns)
        found: list[Path] = []
        for frame in flame.frames:
            caller = top if frame.parent is None else found[frame.parent]
            is_rest = caller.kind == REST
            path = caller if is_rest else self._below(caller, frame.name, frame.kind, now_ns)
            path.used_ns = now_ns
            path.self_ns += sign * frame.self_ns
            found.append(path)

    def told(self) -> list[Path]:
        """All paths with what their counters say now, callers first."""
        for path in self._paths:
            path.told_ns = max(path.told_ns, path.self_ns)
            path.total_ns = path.told_ns + path.gone_ns
        for path in reversed(self._paths):
            if path.caller is not None:
                path.caller.total_ns += path.total_ns
        return list(self._paths)

    def _restore(self, row: Sequence[Any]) -> None:
        service, caller, name, kind, born_ns, used_ns, *counted_ns = row
        above = None if caller is None else self._paths[caller]
        path = self._new(service, above, name, kind, born_ns)
        path.used_ns = int(used_ns)
        path.self_ns, path.told_ns, path.gone_ns = map(int, counted_ns)

    def _top(self, service: str, now_ns: int) -> Path:
        if service not in self._services and len(self._services) >= MAX_SERVICES:
            service = OTHER_SERVICE
        top = self._services.get(service)
        if top is None:
            top = self._new(service, None, ALL, ALL, now_ns - _BEFORE_NS)
        top.used_ns = now_ns
        return top

    def _below(self, caller: Path, name: str, kind: str, now_ns: int) -> Path:
        shown = self._shown(name)
        found = caller.below.get((shown, kind))
        if found is not None:
            return found
        too_long = len(caller.text) + len(shown) >= _MAX_LENGTH
        if too_long or not self._has_room(now_ns):
            top = self._services[caller.service]
            rest = top.below.get((REST, REST))
            return rest or self._new(top.service, top, REST, REST, now_ns - _BEFORE_NS)
        return self._new(caller.service, caller, shown, kind, now_ns - _BEFORE_NS)

    def _new(self, service: str, caller: Path | None, name: str, kind: str, born_ns: int) -> Path:
        if caller is None:
            text, order, level = name, _KEY_OF_ALL, 0
        else:
            text = name if caller.caller is None else f"{caller.text}{semconv.CALL_SEPARATOR}{name}"
            key = _KEY_OF_REST if kind == REST else _key(name, kind)
            order, level = caller.order + key, caller.level + 1
        path = Path(
            service=service,
            caller=caller,
            name=name,
            kind=kind,
            text=text,
            order=order,
            level=level,
            born_ns=int(born_ns),
            used_ns=int(born_ns),
        )
        self._paths.append(path)
        if caller is None:
            self._services[service] = path
        else:
            caller.below[name, kind] = path
            self._number += kind != REST
        return path

    def _has_room(self, now_ns: int) -> bool:
        """Whether there is room for one more; made by one that has not been called for a day."""
        if self._number < MAX_PATHS:
            return True
        if now_ns < self._full_until_ns:
            return False
        longest = min(self._leaves(), key=lambda path: path.used_ns)
        self._full_until_ns = longest.used_ns + IDLE_NS
        if now_ns < self._full_until_ns or longest.caller is None:
            return False
        longest.caller.gone_ns += max(longest.told_ns, longest.self_ns) + longest.gone_ns
        del longest.caller.below[longest.name, longest.kind]
        self._paths.remove(longest)
        self._number -= 1
        self._full_until_ns = 0
        return True

    def _leaves(self) -> Iterator[Path]:
        return (path for path in self._paths if not path.below and path.kind not in (ALL, REST))

    def _shown(self, name: str) -> str:
        shown = self._names.get(name)
        if shown is None:
            if len(self._names) >= _MAX_NAMES:
                self._names.clear()
            shown = safe_text.safe(name, _MAX_COLUMNS).replace(semconv.CALL_SEPARATOR, ",")
            self._names[name] = shown
        return shown


def seconds(time_ns: int) -> float:
    """Nanoseconds as a counter has them."""
    return time_ns / _NS_PER_S


def _key(name: str, kind: str) -> str:
    found = sha256(f"{kind}\0{name}".encode("utf-8", "replace")).hexdigest()
    return found[: len(_KEY_OF_REST)].translate(_LETTERS)
