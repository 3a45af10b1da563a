from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from orchwatch.errors import OrchwatchError
from orchwatch.monitor.checkpoint import Checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_what_is_saved_is_what_the_next_process_loads(home: Path) -> None:
    first = Checkpoint()
    assert first.load() is None
    first.save({"a": 1})
    first.save({"a": [2, "ü"]})
    first.close()
    second = Checkpoint()
    loaded = second.load()
    assert loaded is not None
    assert loaded["a"] == [2, "ü"]
    second.close()
    modes = [stat.S_IMODE(os.stat(path).st_mode) for path in (home / "monitor").iterdir()]
    assert set(modes) == {0o600}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version":0}', "\udcff"])
def test_a_checkpoint_of_no_use_is_none(home: Path, text: str) -> None:
    (home / "monitor").mkdir(parents=True)
    file = home / "monitor" / "checkpoint.json"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    found = Checkpoint()
    assert found.load() is None
    found.close()


def test_there_is_one_owner_and_none_after_its_end(
    home: Path, run_python: Callable[..., str]
) -> None:
    code = "from orchwatch.monitor.checkpoint import Checkpoint; Checkpoint()"
    held = Checkpoint()
    attempt = "try:\n    " + code.replace("; ", "\n    ") + "\nexcept Exception as e: print(e)"
    assert run_python(attempt) == f"another monitor already runs over {home}\n"
    held.close()
    assert run_python(code) == ""


def test_a_home_that_cannot_be_written_is_named(home: Path) -> None:
    home.write_text("a file in its place")
    with pytest.raises(OrchwatchError, match=rf"{home}.*ORCHWATCH_HOME"):
        Checkpoint()
