"""What is to be done: batches of files to read, sections to sum, and one sum over all of them."""

from __future__ import annotations

from orchwatch.demo.worker import READ, SUM
from orchwatch.recording.propagation import inject
from orchwatch.runtime.task import NewTask

# Small batches, so that messages, events and states come often; several for each agent, so that
# there is work left when one is killed.
MAX_BATCH_FILES = 10
BATCHES_AN_AGENT = 4
BATCHES_A_SECTION = 4
TOTAL = "total"


def tasks(files: list[str], agents: int) -> list[NewTask]:
    """The tasks for `files`; they carry the context of the current operation.

    Sums go first as soon as what they need is there: reading can wait, nothing waits for it yet.
    """
    headers: dict[str, str] = {}
    inject(headers)
    size = max(1, min(len(files) // (agents * BATCHES_AN_AGENT), MAX_BATCH_FILES))
    batches = [
        NewTask(f"batch-{number:03}", data={"kind": READ, "files": batch, "headers": headers})
        for number, batch in enumerate(_in_groups(files, size), 1)
    ]
    names = [batch.id for batch in batches]
    sections = [
        _sum(f"section-{number:02}", needs, _modules(needs), headers)
        for number, needs in enumerate(_in_groups(names, BATCHES_A_SECTION), 1)
    ]
    names = [section.id for section in sections]
    paths = [f"$.sums['{name}']" for name in names]
    return [*batches, *sections, _sum(TOTAL, names, paths, headers)]


def _modules(batches: list[str]) -> list[str]:
    return [f"$.modules[?@.batch == '{batch}']" for batch in batches]


def _sum(name: str, needs: list[str], paths: list[str], headers: dict[str, str]) -> NewTask:
    data = {"kind": SUM, "paths": paths, "headers": headers}
    return NewTask(name, needs=tuple(needs), priority=1, data=data)


def _in_groups(names: list[str], size: int) -> list[list[str]]:
    return [names[start : start + size] for start in range(0, len(names), size)]
