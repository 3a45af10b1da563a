"""Runs commands one after the other in one process that may not grow, and prints what they said.

A script rather than a fixture: what hangs or fills the memory must end with its process.
"""

from __future__ import annotations

import hashlib
import io
import json
import resource
import sys
from pathlib import Path

from orchwatch import count, gauge, operation
from orchwatch.cli.main import main
from orchwatch.diagnosis import extras

# DuckDB alone reserves some gigabytes of addresses that it never uses.
_MAX_BYTES = 4 << 30


def _host() -> None:
    with operation("state.query", {"rows": 1}):
        count("orchestration.task.completed", 1, {}, unit="{task}")
        gauge("queue.length", 3.0, {}, unit="{task}")


def _import_once(kept: Path) -> None:
    """Has `doctor` import what is installed once, not in each process: it is the same everywhere.

    That takes two seconds, longer than all the rest, and what lies in a home has no part in it.
    """
    found = extras._import_error

    def look(modules: list[str]) -> str:
        file = kept / f"imported-{hashlib.sha256(' '.join(modules).encode()).hexdigest()}"
        if not file.exists():
            error = found(modules)
            if error:
                return error
            file.touch()
        return ""

    extras._import_error = look


def _answer(words: list[str]) -> dict[str, object]:
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = out, err = io.StringIO(), io.StringIO()
    try:
        code = main(words)
    except SystemExit as ended:  # --help
        code = int(ended.code or 0)
    finally:
        sys.stdout, sys.stderr = before
    return {"words": words, "code": code, "out": out.getvalue(), "err": err.getvalue()}


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_BYTES, _MAX_BYTES))
    _import_once(Path(sys.argv[2]))
    _host()
    for asked in json.loads(sys.argv[1]):
        sys.stdout.write(json.dumps(_answer(asked)) + "\n")
        sys.stdout.flush()
