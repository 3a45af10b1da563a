from __future__ import annotations

import pytest

from orchwatch.demo import plan


@pytest.mark.parametrize(("files", "agents"), [(1, 1), (7, 3), (440, 3), (440, 64), (90, 2)])
def test_each_file_is_read_once_and_each_batch_summed_once(files: int, agents: int) -> None:
    names = [f"{number}.py" for number in range(files)]
    tasks = {task.id: task for task in plan.tasks(names, agents)}
    total = tasks.pop(plan.TOTAL)
    sections = [tasks.pop(name) for name in total.needs]
    assert [file for task in tasks.values() for file in task.data["files"]] == names
    assert [need for section in sections for need in section.needs] == list(tasks)
    assert max(len(task.data["files"]) for task in tasks.values()) <= plan.MAX_BATCH_FILES
