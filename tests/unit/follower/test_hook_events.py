from __future__ import annotations

import resource
from typing import TYPE_CHECKING

import pytest
from tests.conftest import read_lines

from orchwatch import spool
from orchwatch.follower import hook_events

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize("payload", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000])
def test_a_hook_that_posts_no_event_is_told(
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
