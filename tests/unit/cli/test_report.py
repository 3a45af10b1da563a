from __future__ import annotations

import json
import re
import time
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from orchwatch import units
from orchwatch.analysis import levels
from orchwatch.cli.main import main
from orchwatch.store import longest, small
from orchwatch.store.database import Store
from orchwatch.store.selection import Selection

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.conftest import Record

pytestmark = pytest.mark.usefixtures("home")
S = 10**9
HOSTILE = (
    "</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", '" onload="x', "'><b>",
    "@@STYLE@@", "]]>", "a|b `c` [d](e) *f*", "\x1b[2J", "\u202eright", "&lt;&amp;", "日本" * 200,
)  # fmt: skip
# Those without an end.
VOID = ("meta", "input", "line", "polyline", "polygon", "circle")


class Page(HTMLParser):
    """Which elements and attributes there are, and that each that begins ends."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.ids: list[str] = []
        self.open: list[str] = []
        self.said = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.said += data


def fill(record: Record, names: tuple[str, ...] = ("tool.execute",)) -> None:
    now_ns = time.time_ns()
    for minute in range(70):
        for number, name in enumerate(("state.query", "hook.process", *names)):
            for _ in range(5 if number < 2 else 1):
                record(
                    name,
                    duration_ns=(20 + minute % 7 + number) * 1_000_000,
                    end_ns=now_ns - (70 - minute) * 60 * S,
                    failed=minute % 20 == 0,
                    trace_id=f"{minute // 10 + 1:032x}",
                    attributes={
                        "session.id": name,
                        "gen_ai.agent.name": name,
                        "orchestration.hook.name": name,
                    },
                )


def reported(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["report", *words]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


@pytest.mark.parametrize("form", ["html", "md", "json"])
def test_an_empty_home_is_a_report_of_nothing(
    form: str, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is left is the machine, which the other tests keep busy.
    monkeypatch.setattr(levels.Machine, "cpu_utilization", lambda _: 0.5)
    monkeypatch.setattr(levels.Machine, "memory_utilization", lambda *_: 0.5)
    out = reported(capsys, "--format", form)
    if form == "html":
        assert "No operation ended. Nothing can be said of the targets." in Page(out).said
        assert "Healthy" not in Page(out).said
    assert not home.exists()


def test_the_page_has_every_part_and_names_nothing_outside_of_it(
    record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(record)
    out = reported(capsys, "--since", "60m")
    page = Page(out)
    assert out.isascii()
    assert set(page.ids) >= {
        "alerts", "operations", "levels", "changes", "slowest", "flame", "hooks", "kpis",
        "forecasts",
    }  # fmt: skip
    assert len(page.ids) == len(set(page.ids))
    assert not page.attributes & {"src", "style", "onload", "onclick", "action"}
    assert not re.findall(r'href="(?!#)', out)
    assert re.findall(r"https?://", out) == []
    for said in ("State query", "tool.execute", "Hook processing", "stable"):
        assert said in page.said
    assert "<svg viewBox" in out
    assert "bands: 80 % and 95 % intervals" in page.said


def test_a_chart_has_the_times_that_its_axis_reaches_from_and_to(
    record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    start_ns = (time.time_ns() // (86_400 * S) - 1) * 86_400 * S  # yesterday: all of it is past
    for minute in (0, 7, 95):
        record("state.query", end_ns=start_ns + minute * 60 * S, duration_ns=17_200_000)
    record("hook.process", end_ns=start_ns + 90 * 60 * S, duration_ns=5_000_000)
    out = reported(capsys, "--since", "all")
    figures = re.findall("<figure>(.+?)</figure>", out)
    assert len(figures) == 2
    for figure in figures:
        day, first, last = re.findall(
            r"(\d+-\d+-\d+) (\d\d:\d\d)</span><span>(\d\d:\d\d)<", figure
        )[0]
        assert (first, last) == ("00:00", "01:35")
        assert day in out
    (at_x,) = re.findall('cx="(.+?)"', figures["Hook" in figures[1]])
    assert float(at_x) == pytest.approx(6 + 468 * 90 / 95, abs=0.1)  # of the same axis
    assert "17.2ms to" not in out
    assert "a point every minute" in out


def test_what_ended_in_one_step_is_no_chart(
    record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    record("state.query", end_ns=time.time_ns() // (60 * S) * 60 * S)
    out = reported(capsys, "--since", "all")
    assert "<figure>" not in out
    assert "95th percentile, a point" not in out


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (1, "every second"), (10, "every 10 seconds"), (60, "every minute"),
        (300, "every 5 minutes"), (3600, "every hour"), (21_600, "every 6 hours"),
        (86_400, "every day"), (172_800, "every 2 days"), (90, "every 90 seconds"),
    ],
)  # fmt: skip
def test_how_often_is_said_in_words(seconds: int, said: str) -> None:
    assert units.every(seconds) == said


def test_no_text_of_a_session_becomes_markup(
    record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = reported_tags(record, capsys, ("plain",))
    hostile = reported_tags(record, capsys, HOSTILE)
    assert hostile.tags == plain.tags
    assert hostile.attributes == plain.attributes
    assert HOSTILE[1] in hostile.said
    assert "\x1b" not in hostile.said


def reported_tags(
    record: Record, capsys: pytest.CaptureFixture[str], names: tuple[str, ...]
) -> Page:
    fill(record, names)
    return Page(reported(capsys, "--since", "all"))


def test_markdown_stays_in_its_cells(record: Record, capsys: pytest.CaptureFixture[str]) -> None:
    fill(record, HOSTILE)
    out = reported(capsys, "--format", "md", "--since", "all")
    heads = 0
    for line in out.splitlines():
        bars = len(re.findall(r"(?<!\\)\|", line))
        if line.startswith("|"):
            heads = heads or bars
            assert bars == heads, line
        else:
            heads = 0
        assert line.isprintable()
    assert "<script>" not in re.sub(r"\\<", "", out)
    assert "| State query | ✅ ok | 350 |" in out


def test_json_is_what_the_commands_say(record: Record, capsys: pytest.CaptureFixture[str]) -> None:
    fill(record)
    words = ["--since", "all", "--until", "0s"]
    found = json.loads(reported(capsys, "--format", "json", *words))
    assert main(["current", "--format", "json", *words]) == 0
    current = json.loads(capsys.readouterr().out)
    assert found["operations"] == current["operations"]
    assert sum(step["count"] for step in found["history"]) == sum(
        one["count"] for one in current["operations"].values()
    )
    assert main(["hooks", "--format", "json", *words]) == 0
    assert found["hooks"] == json.loads(capsys.readouterr().out)["hooks"]
    slowest = found["slowest"]
    assert len(slowest) == 5
    assert slowest[0]["duration_s"] >= slowest[1]["duration_s"]
    assert sum(part["share"] for part in slowest[0]["waited_for"]) == pytest.approx(1)


def test_what_changed_is_held_against_the_time_before_or_a_baseline(
    record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    now_ns = time.time_ns()
    for minute in range(80):
        slow = 3 if minute >= 40 else 1
        for number in range(5):
            record(
                "state.query",
                duration_ns=slow * (20 + number) * 1_000_000,
                end_ns=now_ns - (80 - minute) * 60 * S,
            )
    found = json.loads(reported(capsys, "--format", "json", "--since", "40m"))
    assert [one["verdict"] for one in found["changes"]] == ["regression"]
    assert "REGRESSION" in Page(reported(capsys, "--since", "40m")).said
    assert main(["baseline", "save", "now", "--recorded", "--since", "40m"]) == 0
    capsys.readouterr()
    words = ("--format", "json", "--since", "40m", "--baseline", "now")
    assert [one["verdict"] for one in json.loads(reported(capsys, *words))["changes"]] == ["stable"]
    found = json.loads(reported(capsys, "--format", "json", "--since", "all"))
    assert (found["changes"], found["not_compared"][:19]) == ([], "Of all there is, th")
    assert main(["report", "--baseline", "none"]) == 1
    assert "baseline none: there is none" in capsys.readouterr().err


def test_both_stores_find_the_same_longest_traces(home: Path, record: Record) -> None:
    fill(record, ("a", "b"))
    in_python = small.read(home)
    assert in_python is not None
    with Store(home) as store:
        for selection in (Selection(), Selection(operation="a"), Selection(session_id="none")):
            expected = longest.traces(store, selection, 4)
            assert longest.traces(in_python, selection, 4) == expected


@pytest.mark.parametrize("form", ["html", "md", "json"])
def test_a_file_is_written_as_a_whole(
    form: str, tmp_path: Path, record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(record)
    path = tmp_path / "out"
    path.write_text("before")
    assert reported(capsys, "--format", form, "-o", str(path)) == ""
    assert "state.query" in path.read_text() or "State query" in path.read_text()
    for words, code in ((["-o", ""], 2), (["-o", "/proc/nowhere/x"], 1), (["--session", "x"], 1)):
        assert main(["report", *words]) == code
        assert capsys.readouterr().err.count("\n") == 1
