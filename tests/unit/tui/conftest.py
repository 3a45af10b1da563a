"""A dashboard over what a test has recorded, without a terminal."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch.cli import filters
from orchwatch.tui.app import Dashboard
from orchwatch.tui.question import Question

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from textual.pilot import Pilot

    from orchwatch.cli.filters import Chosen
    from orchwatch.store.database import Store


def choosing(home: Path) -> Callable[[Question, Store], Chosen]:
    def choose(question: Question, store: Store) -> Chosen:
        return filters.chosen(Namespace(default_since="24h", **vars(question)), store, home)

    return choose


async def settled(app: Dashboard, pilot: Pilot[Any], refreshes: int = 1) -> None:
    """Until so many refreshes have been shown, and none goes on."""
    while app.refreshes < refreshes or app.is_looking:
        await pilot.pause(0.01)
    await pilot.pause()


@pytest.fixture
def shown(home: Path, tmp_path: Path) -> Callable[..., Dashboard]:
    """Runs a dashboard, which is looked at after its first refresh; gives it when it has ended."""

    def run(act: Any, *, size: tuple[int, int] = (160, 50), **asked: Any) -> Dashboard:
        app = Dashboard(home, tmp_path, Question(**asked), choosing(home))

        async def on_screen() -> None:
            async with app.run_test(size=size) as pilot:
                await settled(app, pilot)
                await act(app, pilot)

        asyncio.run(on_screen())
        return app

    return run


def text_of(app: Dashboard) -> str:
    """What is on the screen, line by line."""
    return "\n".join(
        "".join(segment.text for segment in strip)
        for strip in app.screen._compositor.render_strips()
    )
