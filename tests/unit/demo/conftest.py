from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _own_home(home: object) -> None:
    """Each test has a home of its own."""
