from __future__ import annotations

import json
import resource
import time
from typing import TYPE_CHECKING

import pytest
from tests.conftest import read_lines

from orchwatch.monitor import hook_events
from orchwatch.recording import spool

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize("payload", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000])
def test_a_hook_that_posts_no_event_is_answered_with_an_error(
    home: Path,
    payload: bytes,
    lost: Callable[[], dict[str, int]],
) -> None:
    assert hook_events.receive(payload).status == "400 Bad Request"
    assert lost() == {"bad_hook_payload": 1}
    assert not home.joinpath("spool").exists()


def test_an_event_that_cannot_be_kept_is_no_success(
    home: Path, lost: Callable[[], dict[str, int]]
) -> None:
    event = b'{"hook_event_name": "Stop", "session_id": "s"}'
    home.mkdir()
    (home / "spool").write_text("in the way")
    assert hook_events.receive(event).status == "503 Service Unavailable"
    assert lost() == {"spool_unwritable": 1}
    (home / "spool").unlink()
    spool._spools[spool.HOOKS]._retry_at = 0.0
    assert hook_events.receive(event).status == "200 OK"
    written = (home / "spool" / "hooks-000001.jsonl").stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (written + 30, limits[1]))
    try:
        assert hook_events.receive(event).status == "503 Service Unavailable"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert lost() == {"spool_unwritable": 1, "disk_full": 1}
    spool._spools[spool.HOOKS]._retry_at = 0.0
    assert hook_events.receive(event).status == "200 OK"
    events, torn = read_lines(home, "hooks")
    assert (len(events) - 1, torn) == (2, 1)


@pytest.mark.parametrize("received_ns", [None, "x", -1, 0, 1.5, True, 10**40, [], {}, 4 * 10**18])
def test_a_line_whose_time_is_none_is_counted_and_passed_over(
    received_ns: object, home: Path, lost: Callable[[], dict[str, int]]
) -> None:
    whole = {"hook_event_name": "SessionStart", "session_id": "s"}
    spool_directory = home / "spool"
    spool_directory.mkdir(parents=True)
    (spool_directory / "hooks-000001.jsonl").write_text(
        "".join(
            json.dumps({"received_ns": moment, "payload": whole}) + "\n"
            for moment in (received_ns, time.time_ns())
        )
    )
    facts = list(hook_events.HookEvents({}).read())
    assert len(facts) == 1
    assert lost() == {"bad_hook_payload": 1}
