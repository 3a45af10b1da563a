"""The page of `orchwatch report` in a real browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.stack.chromium import Chromium
from tests.unit.cli.test_report import HOSTILE, fill
from tests.unit.conftest import record as record  # noqa: PLC0414 - a fixture of the unit tests

from orchwatch.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.unit.conftest import Record


CONTRASTS = """
(() => {
    const linear = (part) => part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4;
    const light = (colour) => {
        const [r, g, b] = colour.match(/[\\d.]+/g).map((part) => linear(part / 255));
        return .2126 * r + .7152 * g + .0722 * b;
    };
    const page = light(getComputedStyle(document.body).backgroundColor);
    return [...document.querySelectorAll('h1, p, td, th, a:not(.skip)')]
        .filter((one) => one.innerText.trim())
        .map((one) => light(getComputedStyle(one).color))
        .map((one) => (Math.max(one, page) + .05) / (Math.min(one, page) + .05));
})()
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def page(browser: Chromium, home: Path, record: Record, tmp_path: Path) -> Chromium:
    assert home
    fill(record, HOSTILE)
    path = tmp_path / "report.html"
    assert main(["report", "--since", "all", "-o", str(path)]) == 0
    browser.open("about:blank")
    browser.open(f"file://{path}")
    return browser


def test_hostile_names_are_shown_and_nothing_of_them_runs(page: Chromium) -> None:
    assert page.evaluate("document.scripts.length") == 2
    assert page.evaluate("document.images.length") == 0
    assert HOSTILE[1] in page.evaluate("document.body.innerText")
    assert page.evaluate("performance.getEntriesByType('resource').length") == 0
    assert page.evaluate("document.querySelectorAll('.frame').length") > len(HOSTILE)
    assert page.evaluate("document.querySelectorAll('svg').length") > 4
    ran = page.evaluate(
        "new Promise((done) => {const one = document.createElement('script');"
        "one.textContent = 'window.ran = true'; document.body.append(one);"
        "setTimeout(() => done(Boolean(window.ran)), 0)})"
    )
    assert ran is False


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_screen_and_every_link_leads_somewhere(
    page: Chromium, width: int
) -> None:
    page.resize(width, 900)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    links = page.evaluate("[...document.querySelectorAll('a')].map(one => one.hash.slice(1))")
    assert len(links) > 8
    assert [
        link for link in links if not page.evaluate(f"!!document.getElementById('{link}')")
    ] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_in_dark(page: Chromium, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page._call("Emulation.setEmulatedMedia", features=features)
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 50
    # WCAG 2.2, 1.4.3.
    assert min(contrasts) >= 4.5
