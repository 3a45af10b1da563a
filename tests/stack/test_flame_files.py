"""The files of `orchwatch flame` in the programs that they are for, and its page in a browser."""

from __future__ import annotations

import base64
import io
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.stack.boards import packages
from tests.stack.chromium import Chromium
from tests.unit.reporters.test_flame_files import HOSTILE, spans

from orchwatch.analysis import flame, flame_diff
from orchwatch.analysis.span_tree import SpanTree
from orchwatch.reporters import flame_files, flame_page

if TYPE_CHECKING:
    from collections.abc import Iterator

PINS = Path(__file__).parents[1] / "speedscope"
SHOWN_WITHIN_S = 120


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("profile")) as found:
        yield found


def until(browser: Chromium, expression: str, expected: Any) -> None:
    """Waits for what the page makes of what it was given."""
    end = time.monotonic() + SHOWN_WITHIN_S
    while (found := browser.evaluate(expression)) != expected:
        assert time.monotonic() < end, (expression, found)


def written(form: str) -> str:
    file = io.StringIO()
    graph = flame.of_spans(spans())
    if form == "folded":
        flame_files.folded(graph, file)
    elif form == "chrome":
        flame_files.chrome(SpanTree(spans(), as_recorded=True), "the trace", file)
    else:
        flame_files.speedscope([("the trace", graph)], file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("form", "title"),
    [
        ("speedscope", "the trace - speedscope"),
        # It names what has no name of its own by the file.
        ("folded", "flame.folded - speedscope"),
        ("chrome", "flame.chrome - speedscope"),
    ],
)
def test_speedscope_opens_the_file(
    browser: Chromium, tmp_path: Path, form: str, title: str
) -> None:
    load(browser, tmp_path, f"flame.{form}", written(form))
    until(browser, "document.title", title)


def test_speedscope_does_not_open_what_is_none(browser: Chromium, tmp_path: Path) -> None:
    load(browser, tmp_path, "flame.chrome", written("chrome").replace('"ph"', '"phase"'))
    until(browser, "document.title.includes('Unrecognized format')", expected=True)


def load(browser: Chromium, directory: Path, name: str, text: str) -> None:
    """Hands a file to speedscope as its own command does."""
    content = base64.b64encode(text.encode()).decode()
    script = directory / "load.js"
    # A dialog would stop the page.
    script.write_text(
        "window.alert = (said) => { document.title = said; };"
        f"speedscope.loadFileFromBase64({json.dumps(name)}, {json.dumps(content)})"
    )
    page = packages(PINS) / "node_modules/speedscope/dist/release/index.html"
    browser.open("about:blank")
    browser.open(f"file://{page}#localProfilePath={script}")


def opened(browser: Chromium, tmp_path: Path, *, compared: bool = False) -> None:
    graph = flame.of_spans(spans())
    of = flame_page.Page(title=HOSTILE[2], summary="all")
    text = flame_page.page(of, graph)
    if compared:
        diff = flame_diff.compare(graph, flame.of_spans(spans()[:1]))
        text = flame_page.page(of, diff.flame, diff.changes)
    path = tmp_path / "page.html"
    path.write_text(text)
    browser.open("about:blank")
    browser.open(f"file://{path}")


def press(browser: Chromium, key: str) -> None:
    browser.evaluate(
        "document.activeElement.dispatchEvent(new KeyboardEvent('keydown',"
        f" {{key: {json.dumps(key)}, bubbles: true, cancelable: true}}))"
    )


FOCUSED = "document.activeElement.textContent"
SHOWN = "document.querySelectorAll('.frame').length"


@pytest.mark.parametrize("compared", [False, True])
def test_a_page_of_hostile_names_shows_them_and_runs_none(
    browser: Chromium, tmp_path: Path, compared: bool
) -> None:
    opened(browser, tmp_path, compared=compared)
    assert browser.evaluate(SHOWN) > len(HOSTILE) // 2
    assert browser.evaluate("document.scripts.length") == 2
    assert browser.evaluate("document.images.length") == 0
    assert browser.evaluate("document.querySelector('h1').textContent") == HOSTILE[2]
    assert HOSTILE[4] in browser.evaluate("document.body.innerText")
    asked = browser.evaluate("performance.getEntriesByType('resource').length")
    assert asked == 0
    # What the page's policy would let run.
    ran = browser.evaluate(
        "new Promise((done) => {const one = document.createElement('script');"
        "one.textContent = 'window.ran = true'; document.body.append(one);"
        "setTimeout(() => done(Boolean(window.ran)), 0)})"
    )
    assert ran is False


def test_the_keyboard_moves_zooms_and_searches(browser: Chromium, tmp_path: Path) -> None:
    opened(browser, tmp_path)
    browser.evaluate("document.querySelector('.frame[tabindex=\"0\"]').focus()")
    assert browser.evaluate(FOCUSED) == "all"
    press(browser, "ArrowDown")
    assert browser.evaluate(FOCUSED) == "turn"
    press(browser, "ArrowDown")
    assert browser.evaluate(FOCUSED) == "beside [w]"
    press(browser, "ArrowRight")
    beside = browser.evaluate(FOCUSED)
    assert beside not in ("turn", "beside [w]")
    everything = browser.evaluate(SHOWN)
    press(browser, "Enter")
    assert browser.evaluate(FOCUSED) == beside
    assert browser.evaluate(SHOWN) < everything
    press(browser, "Escape")
    assert browser.evaluate(SHOWN) == everything
    assert browser.evaluate(FOCUSED) == "all"
    assert browser.evaluate("document.getElementById('detail').textContent").startswith("all: ")
    press(browser, "/")
    assert browser.evaluate("document.activeElement.id") == "word"
    browser.evaluate(
        "document.activeElement.value = 'BESIDE',"
        "document.activeElement.dispatchEvent(new Event('input'))"
    )
    assert browser.evaluate("document.querySelectorAll('.hit').length") == 1
    assert browser.evaluate("document.getElementById('found').textContent").startswith("5\u00b5s (")
