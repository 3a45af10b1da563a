"""In which order modules can be loaded: a graph of real imports, resolved."""

from __future__ import annotations

from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.recording.operation import operation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


@dataclass(frozen=True)
class Resolution:
    """An order in which everything comes after what it needs.

    Attributes:
        order: Groups of names; a group of more than one is a cycle, whose members need each other.
    """

    order: tuple[tuple[str, ...], ...]

    @property
    def cycles(self) -> tuple[tuple[str, ...], ...]:
        """The groups whose members need each other."""
        return tuple(group for group in self.order if len(group) > 1)


class DependencyGraph:
    """Modules and what they import, grown while reports come in."""

    def __init__(self) -> None:
        self._imports: dict[str, tuple[str, ...]] = {}

    def add(self, module: str, imports: Iterable[str]) -> None:
        """Add a module, or replace what it imports; what it imports may become known later."""
        self._imports[module] = tuple(imports)

    def resolve(self) -> Resolution:
        """Order all modules that are known; cycles become one step each."""
        with operation(semconv.DEPENDENCY_RESOLVE) as op:
            edges = self.edges()
            groups = list(_strongly_connected(edges))
            group_of = {name: index for index, group in enumerate(groups) for name in group}
            needs = {
                index: {group_of[need] for name in group for need in edges[name]} - {index}
                for index, group in enumerate(groups)
            }
            order = TopologicalSorter(needs).static_order()
            resolution = Resolution(tuple(groups[index] for index in order))
            op.set_attribute(semconv.RESULT_COUNT, len(edges))
            return resolution

    def edges(self) -> dict[str, set[str]]:
        """The known modules that each one needs; `os.path` is `os` where only that is known."""
        return {
            module: {known for name in imports if (known := self._known(name))} - {module}
            for module, imports in self._imports.items()
        }

    def _known(self, name: str) -> str | None:
        while name and name not in self._imports:
            name = name.rpartition(".")[0]
        return name or None


def _strongly_connected(edges: Mapping[str, Iterable[str]]) -> Iterator[tuple[str, ...]]:
    """Tarjan's algorithm (SIAM J. Comput. 1, 1972), with a stack instead of recursion."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    open_names: dict[str, None] = {}  # in order of discovery
    for root in edges:
        if root in number:
            continue
        work = [(root, iter(edges[root]))]
        number[root] = low[root] = len(number)
        open_names[root] = None
        while work:
            name, rest = work[-1]
            for need in rest:
                if need not in number:
                    number[need] = low[need] = len(number)
                    open_names[need] = None
                    work.append((need, iter(edges[need])))
                    break
                if need in open_names:
                    low[name] = min(low[name], number[need])
            else:
                work.pop()
                if work:
                    parent = work[-1][0]
                    low[parent] = min(low[parent], low[name])
                if low[name] == number[name]:
                    yield _close_group(open_names, name)


def _close_group(open_names: dict[str, None], root: str) -> tuple[str, ...]:
    group = []
    while True:
        name, _ = open_names.popitem()
        group.append(name)
        if name == root:
            return tuple(sorted(group))
