from __future__ import annotations

from orchwatch.demo import symbols
from orchwatch.demo.dependencies import DependencyGraph, Resolution

LONG_CHAIN = 5000


def resolved(imports: dict[str, list[str]]) -> Resolution:
    graph = DependencyGraph()
    for module, needs in imports.items():
        graph.add(module, needs)
    return graph.resolve()


def assert_in_order(graph: DependencyGraph, resolution: Resolution) -> None:
    place = {name: index for index, group in enumerate(resolution.order) for name in group}
    assert place.keys() == graph.edges().keys()
    for module, needs in graph.edges().items():
        for need in needs:
            assert place[need] <= place[module]


def test_what_is_needed_comes_first() -> None:
    resolution = resolved({"app": ["db", "log"], "db": ["log"], "log": []})
    assert resolution.order == (("log",), ("db",), ("app",))
    assert resolution.cycles == ()


def test_modules_that_need_each_other_become_one_step() -> None:
    resolution = resolved({"app": ["a"], "a": ["b"], "b": ["c"], "c": ["a", "log"], "log": []})
    assert resolution.order == (("log",), ("a", "b", "c"), ("app",))
    assert resolution.cycles == (("a", "b", "c"),)


def test_a_module_that_imports_itself_is_no_cycle() -> None:
    assert resolved({"a": ["a"]}).cycles == ()


def test_a_name_inside_a_module_means_the_module() -> None:
    graph = DependencyGraph()
    graph.add("app", ["os.path", "sys"])
    graph.add("os", [])
    assert graph.edges() == {"app": {"os"}, "os": set()}


def test_a_chain_longer_than_the_recursion_limit_is_resolved() -> None:
    chain = {f"m{n}": [f"m{n + 1}"] for n in range(LONG_CHAIN)}
    assert len(resolved(chain).order) == LONG_CHAIN


def test_the_imports_of_the_standard_library_are_resolved() -> None:
    graph = DependencyGraph()
    for file in symbols.library_files(200):
        module = symbols.read_module(file)
        graph.add(symbols.module_name(file), module.imports)
    assert_in_order(graph, graph.resolve())
