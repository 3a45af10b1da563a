"""The client, the model it asks, and an Orchwatch beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.claude_client.client import Client, install
from tests.claude_client.model_stub import ModelStub
from tests.claude_client.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def binary() -> Path:
    return install()


@pytest.fixture
def model() -> Iterator[ModelStub]:
    with ModelStub() as stub:
        yield stub


@pytest.fixture
def client(binary: Path, model: ModelStub, tmp_path: Path) -> Client:
    found = Client(binary=binary, directory=tmp_path / "user", url=model.url)
    found.prepare()
    return found


@pytest.fixture
def watch(client: Client, tmp_path: Path) -> Watch:
    return Watch(tmp_path / "home", client)
