"""Draws the dashboard as SVG into docs/, over what the demo records: `make screens`."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import tempfile
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from textual.widgets import Static

from orchwatch.cli import filters
from orchwatch.tui.app import Dashboard
from orchwatch.tui.drill import TraceScreen
from orchwatch.tui.outlook import Forecaster, being_computed
from orchwatch.tui.question import Question

if TYPE_CHECKING:
    from orchwatch.cli.filters import Chosen
    from orchwatch.store.database import Store

DOCS = Path(__file__).parents[1] / "docs"
SCRIPT = Path(sys.executable).with_name("orchwatch")
SIZES = ((80, 24), (160, 50))
AGENTS = 3
# A demo is over in seconds: on a busy machine before all of it was seen at once.
ATTEMPTS = 20
# It names a server that has the font; whoever looks at the picture is not to ask it.
FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def dashboard(home: Path) -> Dashboard:
    """One that looks at that home."""

    def choose(question: Question, store: Store) -> Chosen:
        return filters.chosen(Namespace(default_since="24h", **vars(question)), store, home)

    forecaster = Forecaster(home)
    return Dashboard(home, Path.cwd(), Question(), choose, forecaster=forecaster)


async def draw(home: Path, columns: int, lines: int) -> None:
    """Writes a picture of all in the middle of a demo; a large one of its trace, too."""
    app = dashboard(home)
    async with app.run_test(size=(columns, lines)) as pilot:
        for number in range(ATTEMPTS):
            demo = started_demo()
            # In the middle of the first one there are hardly any figures yet.
            while not (is_shown := number > 0 and busy(app)) and demo.poll() is None:
                await pilot.pause(0.05)
            if is_shown:
                break
            # With its trace.
            app.refresh_now(anew=True)
        else:
            sys.exit(f"error: after {ATTEMPTS} demos there is still not all to be seen")
        await pilot.pause()
        write(app, f"dashboard-{columns}x{lines}")
        while demo.poll() is None or app.is_looking:
            await pilot.pause(0.05)
        if (columns, lines) != max(SIZES):
            return
        app.refresh_now(anew=True)
        while app.is_looking:
            await pilot.pause(0.05)
        await pilot.press("tab", "tab", "enter")
        while not isinstance(app.screen, TraceScreen) or not app.screen.is_drawn:
            await pilot.pause(0.05)
        await pilot.pause()
        write(app, f"dashboard-trace-{columns}x{lines}")


def started_demo() -> subprocess.Popen[bytes]:
    """A demo that runs."""
    return subprocess.Popen([str(SCRIPT), "demo"], stdout=subprocess.DEVNULL)


def busy(app: Dashboard) -> bool:
    """Whether there is all to see: agents at work, and what is said of the future."""
    if app.look is None or len(app.look.seen.agents) < AGENTS:
        return False
    ahead = app.screen.query_one("#outlook", Static).content
    return str(ahead) not in ("", str(being_computed()))


def write(app: Dashboard, name: str) -> None:
    """Writes what is on the screen."""
    picture = FONT.sub("", app.export_screenshot(title="orchwatch dashboard"))
    (DOCS / f"{name}.svg").write_text(re.sub(r"[ \t]+$", "", picture, flags=re.MULTILINE))


def main() -> None:
    """Records, and draws."""
    for columns, lines in SIZES:
        with tempfile.TemporaryDirectory() as home:
            os.environ["ORCHWATCH_HOME"] = home
            asyncio.run(draw(Path(home), columns, lines))


main()
