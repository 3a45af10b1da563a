from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest
from tests.unit.analysis.test_token_use import SONNET, used

from orchwatch.analysis.token_use import Found, Use
from orchwatch.cli.main import main
from orchwatch.reporters import token_list

if TYPE_CHECKING:
    from tests.unit.conftest import Record

pytestmark = pytest.mark.usefixtures("home")


def test_tokens_are_listed_with_their_cost_and_the_sum(
    record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    used(record, SONNET, tokens=(2_000_000, 1_500_000, 0, 12_345), requests=20)
    used(record, "house-model\x1b[2J", provider="house")
    assert main(["tokens"]) == 0
    out = capsys.readouterr().out
    head, first, second, total, *_ = out.splitlines()
    assert head.split() == ["model", "requests", "input", "cached", "written", "output", "cost"]
    assert first.split()[:6] == [SONNET, "20", "2M", "1.5M", "0", "12.3k"]
    assert second.split()[-1] == "unknown"
    assert total.split()[0] == "all"
    assert total.endswith("USD+")
    assert "\x1b" not in out
    assert all(len(line) <= 80 for line in out.splitlines())
    assert r"Not in that list: house-model\x1b[2J; 1050 tokens" in " ".join(out.split())
    assert main(["tokens", "--format", "json", "--by", "service"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["by"], found["tokens"][0]["key"]) == ("service", "orchestration")
    assert found["total"]["requests"] == 21


def test_what_names_no_agent_is_the_main_one(
    record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    used(record, SONNET)
    assert main(["tokens", "--by", "agent"]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("main ")


def test_a_narrow_terminal_shows_every_figure(
    record: Record, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    used(record, SONNET)
    assert main(["tokens"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 40 for line in lines)
    assert "output 50" in "\n".join(lines)


@pytest.mark.parametrize(
    ("cost_usd", "unpriced", "shown"),
    [
        (0.0, 0, "0.00 USD"),
        (0.000_03, 0, "<0.01 USD"),
        (0.009_99, 5, "<0.01 USD+"),
        (0.01, 0, "0.01 USD"),
        (12.346, 0, "12.35 USD"),
    ],
)
def test_what_cost_less_than_a_cent_cost_something(
    cost_usd: float, unpriced: int, shown: str
) -> None:
    use = Use(key="a", cost_usd=cost_usd, unpriced_tokens=unpriced)
    file = io.StringIO()
    token_list.render(Found([use], use, [], "a list", None), "session", "All.", file)
    assert file.getvalue().splitlines()[1].endswith(f"  {shown}")


def test_where_no_model_was_asked_a_line_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tokens"]) == 0
    assert capsys.readouterr().out.startswith("No use of a model is stored in ")
    assert main(["tokens", "--by", "month"]) == 2
    assert "--by" in capsys.readouterr().err
