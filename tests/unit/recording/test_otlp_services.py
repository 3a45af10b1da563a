from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING

from orchwatch.recording import otlp_services

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest


def test_a_service_is_noted_with_its_endpoint_and_without_secrets(home: Path) -> None:
    path = otlp_services.begin("shop", "https://user:secret@collector:4318/v1?token=secret")
    assert path is not None
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert "secret" not in (home / "otlp" / os.path.basename(path)).read_text()
    (found,) = otlp_services.read(str(home), since_ns=0)
    assert (found["service"], found["endpoint"]) == ("shop", "https://collector:4318/v1")
    assert found["running"]


def test_what_has_ended_is_shown_as_long_as_it_was_seen_in_the_window(home: Path) -> None:
    path = otlp_services.begin("shop", "http://localhost:4318")
    assert path is not None
    noted = home / "otlp" / os.path.basename(path)
    noted.write_text(noted.read_text().replace(f'"pid": {os.getpid()}', '"pid": 4194305'))
    now_ns = time.time_ns()
    os.utime(path, (0, 0))
    assert otlp_services.read(str(home), since_ns=1) == []
    otlp_services.end(path)
    (found,) = otlp_services.read(str(home), since_ns=now_ns - 60 * 10**9)
    assert not found["running"]


def test_processes_of_one_service_share_one_note_and_all_are_bounded(home: Path) -> None:
    for number in range(otlp_services.MAX_SERVICES + 5):
        for _ in range(2):
            otlp_services.begin(f"service {number}", "http://localhost:4318")
    found = otlp_services.read(str(home), since_ns=0)
    assert len(found) == len({one["service"] for one in found}) == otlp_services.MAX_SERVICES


def test_a_home_that_cannot_be_written_is_no_error(home: Path) -> None:
    home.write_text("a file")
    assert otlp_services.begin("shop", "http://localhost:4318") is None
    otlp_services.end(None)
    otlp_services.end("/nowhere/at/all")
    assert otlp_services.read(str(home), since_ns=0) == []


def test_what_is_no_note_is_none(home: Path) -> None:
    (home / "otlp").mkdir(parents=True)
    for number, text in enumerate(("", "[]", '{"service": 1}', '{"pid": "x"}')):
        (home / "otlp" / f"{number}.json").write_text(text)
    os.mkfifo(home / "otlp" / "pipe.json")
    assert otlp_services.read(str(home), since_ns=0) == []


def test_a_process_that_sends_over_otlp_notes_it(
    home: Path, run_python: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    run_python("import orchwatch; orchwatch.configure(service_name='shop')")
    (found,) = otlp_services.read(str(home), since_ns=0)
    assert (found["service"], found["endpoint"]) == ("shop", "http://127.0.0.1:9")
