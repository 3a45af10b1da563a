"""The pages in a real browser, drawn by Grafana's components: all there, and nothing cut off."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import pytest
from tests.stack import boards, pictures, workload
from tests.stack.boards import Span
from tests.stack.chromium import Chromium
from tests.stack.conftest import counted, eventually, running

from orchwatch import semconv
from orchwatch.mixin import dashboards

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from native import Stack

HOUR_S = 3600
SERVICE = "orchestration"
SESSION = "7e57ab1e-1111-4000-8000-00000000beef"


@pytest.fixture(scope="module")
def filled_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """With names as long as people give them."""
    more: dict[str, Any] = {"trace": secrets.token_hex(16), "session": SESSION}
    agent: dict[str, Any] = {"agent": "claude-code-guide", "agent_id": "a1"}
    spans = [
        workload.ended(semconv.AGENT_TURN, 20, model="claude-sonnet-4-5-20250929", **more),
        workload.ended(semconv.AGENT_RUN, 10, **agent, **more),
        workload.ended(semconv.HOOK_PROCESS, 1.5, hook="batch_policy.py", event="Stop", **more),
        workload.ended(semconv.DEPENDENCY_RESOLVE, 2.5, error="unfinished", **agent, **more),
    ]
    with running(tmp_path_factory.mktemp("pictures")) as stack:
        workload.write(stack, SERVICE, spans)
        query = f'{{ resource.service.name = "{SERVICE}" }}'
        last = Span.last(HOUR_S)
        assert eventually(lambda: counted(stack, service=SERVICE) == len(spans))
        assert eventually(lambda: boards.number_of_spans(stack, query, last) == len(spans))
        yield stack


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """Has loaded what draws."""
    directory = tmp_path_factory.mktemp("drawer")
    file = pictures.bundle(directory)
    with Chromium(directory / "profile") as found:
        found.open(file.as_uri())
        yield found


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", dashboards.PAGES)
def test_a_page_is_drawn_whole_on_a_narrow_screen_and_a_wide_one(
    filled_stack: Stack, browser: Chromium, tmp_path: Path, name: str
) -> None:
    chosen = {"operation": semconv.DEPENDENCY_RESOLVE}
    asked = pictures.answered(filled_stack, name, Span.last(HOUR_S), chosen)
    shown = [one["panel"] for one in asked["panels"] if one["panel"]["type"] != "row"]
    for width in (pictures.WIDTHS_PX[0], pictures.WIDTHS_PX[-1]):
        (tmp_path / f"{width}.png").write_bytes(pictures.draw(browser, asked, width, "dark"))
        drawn = browser.evaluate(
            "[...document.querySelectorAll('.place')].map((one) => one.innerText)"
        )
        assert len(drawn) == len(shown)
        for panel, text in zip(shown, drawn, strict=True):
            assert text.startswith(panel["title"].partition("$")[0].strip()), panel["title"]
            assert text.strip() != panel["title"] or panel["type"] == "timeseries", panel["title"]
        assert browser.evaluate("cut()") == []


def test_what_is_cut_off_is_found(filled_stack: Stack, browser: Chromium) -> None:
    asked = pictures.answered(filled_stack, "overview", Span.last(HOUR_S), {})
    first = asked["panels"][0]
    first["panel"] = {**first["panel"], "title": "A title that is longer than its panel is wide"}
    pictures.draw(browser, asked, pictures.WIDTHS_PX[0], "dark")
    assert any("A title that is longer" in line for line in browser.evaluate("cut()"))
