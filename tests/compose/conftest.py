"""One engine with its images for the session; one home and one set of volumes a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.compose import images
from tests.compose.engine import ROOT, Engine, Project

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    engine = Engine()
    try:
        images.import_all(engine)
        yield engine
    finally:
        engine.stop()


@pytest.fixture
def start(engine: Engine) -> Iterator[Callable[..., Project]]:
    """Makes the project of a user with these settings; what it started ends with the test."""
    projects = []

    def make(home: Path, directory: Path = ROOT, **settings: str) -> Project:
        projects.append(Project(engine, home, directory, **settings))
        return projects[-1]

    yield make
    # Shown when the test failed.
    print(projects[-1].compose("--profile=demo", "logs", "--no-color", "--tail=40").stdout)
    projects[-1].remove()
