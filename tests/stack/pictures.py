"""Draws the pages over a running stack with Grafana's own components, as PNG files.

Run by `make pictures`, which draws over the stack of `make up`. No Grafana runs: variables and the
data sources' answers are what `boards` makes of them, everything after that is done by Grafana's
npm packages in a real browser. Kinds of panels that these have no component for say so.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.stack import boards
from tests.stack.boards import EVALUATION, Span
from tests.stack.chromium import Chromium
from tests.stack.conftest import known

from layout import default_home
from native import Stack
from orchwatch import semconv
from orchwatch.mixin import dashboards

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.stack.boards import Json

DRAWER: Final = EVALUATION / "draw"
HOUR_S: Final = 3600
# From this width on, Grafana docks its menu beside the page.
_DOCKED_FROM_PX: Final = 1440
_MENU_PX: Final = 300
# Around the page, on both sides.
_AROUND_PX: Final = 32
WIDTHS_PX: Final = (1024, 1440, 1600)
MODES: Final = ("dark", "light")
_BUNDLED_WITHIN_S: Final = 120
_HTML: Final = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>Pages</title>'
    '<link rel="stylesheet" href="page.css"><div id="root"></div><script src="page.js"></script>'
)


def bundle(directory: Path) -> Path:
    """Writes the page that draws, with Grafana's packages in it; the file that a browser opens."""
    subprocess.run(
        ["node", str(DRAWER / "bundle.mjs"), str(directory)],
        env={**os.environ, "GRAFANA_PACKAGES": str(boards.packages(DRAWER))},
        check=True,
        timeout=_BUNDLED_WITHIN_S,
    )
    file = directory / "index.html"
    file.write_text(_HTML)
    return file


def answered(stack: Stack, name: str, span: Span, chosen: Mapping[str, str]) -> Json:
    """A page with its variables filled in, and beside each panel the answers to its queries."""
    page, values = boards.page(name), boards.variables(stack, name, span, chosen)
    return {
        "page": {"title": page["title"]},
        "values": values,
        "chosen": list(_chooser(page, values)),
        "range": [round(moment * 1000) for moment in span],
        "panels": [
            {"panel": one, "frames": list(_frames(stack, one, span, values))}
            for one in page["panels"]
        ],
    }


def _chooser(page: Json, values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for one in page["templating"]["list"]:
        if one.get("hide", 0) == 0:
            value, current = values[one["name"]], one["current"]
            known = {current["value"]: current["text"], one.get("allValue") or ".*": "All"}
            yield one["label"], known.get(value, value)


def _frames(stack: Stack, panel: Json, span: Span, values: Mapping[str, str]) -> Iterator[Json]:
    for target in panel.get("targets", []):
        if panel["type"] != "traces":  # a whole trace, which no component of the packages draws
            yield from boards.asked(stack, panel, target, span, dict(values))


def draw(browser: Chromium, asked: Json, window_px: int, mode: str) -> bytes:
    """A page as it looks in a window, without Grafana's menu."""
    menu_px = _MENU_PX if window_px >= _DOCKED_FROM_PX else 0
    width = window_px - menu_px - _AROUND_PX
    browser.resize(width, 800)
    given = json.dumps({**asked, "width": width, "mode": mode})
    height = browser.evaluate(f"draw({given})")
    browser.resize(width, height)
    browser.evaluate(
        "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )
    return browser.picture()


def main() -> None:
    """Draws every page in every width, dark and light, or those that the words name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="gets the pictures")
    parser.add_argument("--page", action="append", choices=dashboards.PAGES, help="only this one")
    parser.add_argument("--width", action="append", type=int, help="only this one, in pixels")
    parser.add_argument("--mode", action="append", choices=MODES, help="only this one")
    parser.add_argument("--operation", default=semconv.MESSAGE_DELIVER)
    asked = parser.parse_args()
    asked.directory.mkdir(parents=True, exist_ok=True)
    stack = known(Stack.at(default_home()))
    if not stack.running():
        sys.exit("error: no stack runs: make up")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        directory = Path(place)
        file = bundle(directory)
        with Chromium(directory / "profile") as browser:
            browser.open(file.as_uri())
            for name in asked.page or dashboards.PAGES:
                page = answered(stack, name, Span.last(HOUR_S), {"operation": asked.operation})
                for width in asked.width or WIDTHS_PX:
                    for mode in asked.mode or MODES:
                        picture = asked.directory / f"{name}-{width}-{mode}.png"
                        picture.write_bytes(draw(browser, page, width, mode))
                        print(picture)
                        for text in browser.evaluate("cut()"):
                            print(f"  cut: {text}")


if __name__ == "__main__":
    main()
