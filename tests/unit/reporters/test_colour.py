from __future__ import annotations

import io
import os
import pty
from typing import TYPE_CHECKING

import pytest

from orchwatch.reporters import colour

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO


@pytest.fixture
def terminal() -> Iterator[TextIO]:
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as file:
        yield file
    os.close(leader)


def test_a_terminal_is_coloured_and_a_file_is_not(
    terminal: TextIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert colour.wanted(terminal)
    assert not colour.wanted(io.StringIO())


def test_no_color_holds_unless_colour_is_asked_for(
    terminal: TextIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colour.wanted(terminal)
    assert colour.wanted(terminal, "always")
    assert not colour.wanted(terminal, "never")
