"""What makes recurring queries fast: indexes of a state that follow what is written."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

from orchwatch.runtime import state_paths
from orchwatch.runtime.query_steps import CONTAINERS, NUMBERS, member

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchwatch.runtime.query_plans import Plan
    from orchwatch.runtime.query_steps import Equality
    from orchwatch.runtime.state_paths import Keys

# An index costs a walk over what it is of, so it is made for a filter that has come back.
_USES_BEFORE_INDEX = 2
_MAX_INDEXES = 32
_SCALARS = frozenset({str, int, float, bool, type(None)})
_Key = tuple[str, Any]


class Found(NamedTuple):
    """What an index gave.

    Attributes:
        nodes: The values that the segment after the plan's base selects.
        examined: How many values were looked at.
        used: Which index it was, as a path.
    """

    nodes: list[Any]
    examined: int
    used: str


class Indexes:
    """The indexes of one document."""

    def __init__(self) -> None:
        self._names = _NameIndex()
        self._uses: OrderedDict[tuple[Keys, Keys], int] = OrderedDict()
        self._equalities: dict[tuple[Keys, Keys], _EqualityIndex] = {}

    def invalidate(self, written: Iterable[Keys]) -> None:
        """Take note that members have been written."""
        for keys in written:
            self._names.invalidate(keys)
            for index in self._equalities.values():
                index.invalidate(keys)

    def find(self, plan: Plan, document: dict[str, Any]) -> Found | None:
        """What the plan selects up to the segment after its base; None where no index helps."""
        if plan.search is not None and len(plan.base) <= 1:
            nodes, examined = self._names.find(document, plan.base, plan.search)
            return Found(nodes, examined, f"{state_paths.shown(plan.base)}..{plan.search}")
        if plan.equality is None:
            return None
        index = self._equality(plan.base, plan.equality.names)
        return None if index is None else index.find(document, plan.equality)

    def _equality(self, base: Keys, names: Keys) -> _EqualityIndex | None:
        wanted = (base, names)
        self._uses[wanted] = self._uses.pop(wanted, 0) + 1
        if len(self._uses) > _MAX_INDEXES:
            forgotten, _ = self._uses.popitem(last=False)
            self._equalities.pop(forgotten, None)
        if self._uses[wanted] < _USES_BEFORE_INDEX:
            return None
        return self._equalities.setdefault(wanted, _EqualityIndex(base, names))


class _EqualityIndex:
    """The children of one object by the value of one of their members."""

    def __init__(self, base: Keys, names: Keys) -> None:
        self._base = base
        self._names = names
        self._children: dict[_Key, set[str]] = {}
        self._keys: dict[str, _Key] = {}
        self._written: set[str] | None = None  # children to look at again; None for all

    def invalidate(self, keys: Keys) -> None:
        depth = len(self._base)
        if keys[:depth] != self._base[: len(keys)]:
            return
        if len(keys) <= depth:
            self._written = None
        elif self._written is not None:
            self._written.add(keys[depth])

    def find(self, document: dict[str, Any], equality: Equality) -> Found | None:
        parent = member(document, self._base)
        if type(parent) is not dict:
            return None
        self._follow(parent)
        names = self._children.get(_key(equality.value), ())
        candidates = [parent[name] for name in sorted(names, key=state_paths.order)]
        nodes = [value for value in candidates if equality.holds(value)]
        shown = f"{state_paths.shown(self._base)}.*{state_paths.shown(self._names)[1:]}"
        return Found(nodes, len(candidates), shown)

    def _follow(self, parent: dict[str, Any]) -> None:
        if self._written is None:
            self._children.clear()
            self._keys.clear()
            self._written = set(parent)
        for child in self._written:
            before = self._keys.pop(child, None)
            if before is not None:
                self._children[before].discard(child)
                if not self._children[before]:
                    del self._children[before]
            value = member(parent, (child, *self._names))
            if type(value) in _SCALARS:
                key = self._keys[child] = _key(value)
                self._children.setdefault(key, set()).add(child)
        self._written.clear()


def _key(value: Any) -> _Key:
    """Equal for what JSONPath takes for equal: to it true is no number, and 1 is 1.0."""
    return ("number" if type(value) in NUMBERS else type(value).__name__, value)


class _NameIndex:
    """The values of members by name, at any depth; kept apart for each member of a member."""

    def __init__(self) -> None:
        self._units: dict[str, dict[str | None, dict[str, list[Any]]]] = {}

    def invalidate(self, keys: Keys) -> None:
        if not keys:
            self._units.clear()
        elif len(keys) == 1:
            self._units.pop(keys[0], None)
        else:
            units = self._units.get(keys[0])
            if units is not None:
                units.pop(keys[1], None)
                units.pop(None, None)

    def find(self, document: dict[str, Any], base: Keys, name: str) -> tuple[list[Any], int]:
        """The values in the order that a walk meets them: a parent's member before its children's.

        Returns:
            The values, and how many were looked at.
        """
        found: list[Any] = []
        examined = 0
        if not base:
            examined += 1
            if name in document:
                found.append(document[name])
        for top in base or document:
            below = document.get(top)
            if type(below) is list:
                examined += 1
                found += self._unit(top, None, below).get(name, ())
            elif type(below) is dict:
                examined += 1 + len(below)
                if name in below:
                    found.append(below[name])
                for child, value in below.items():
                    if type(value) in CONTAINERS:
                        found += self._unit(top, child, value).get(name, ())
        return found, examined

    def _unit(self, top: str, child: str | None, value: Any) -> dict[str, list[Any]]:
        units = self._units.setdefault(top, {})
        unit = units.get(child)
        if unit is None:
            unit = units[child] = {}
            _collect(value, unit)
        return unit


def _collect(node: Any, unit: dict[str, list[Any]]) -> None:
    if type(node) is dict:
        for name, value in node.items():
            unit.setdefault(name, []).append(value)
    for value in node.values() if type(node) is dict else node:
        if type(value) in CONTAINERS:
            _collect(value, unit)
