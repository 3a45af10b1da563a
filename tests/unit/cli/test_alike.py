"""What all commands have in common, looked at in each of them."""

from __future__ import annotations

import argparse
import os
import time
from typing import TYPE_CHECKING

import pytest
from tests.unit.conftest import NOW_NS

from orchwatch.cli import filters, window
from orchwatch.cli.main import COMMANDS, command_module, command_parser, main
from orchwatch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.unit.conftest import Record

# They do something, and what they say of it is for a person; or they are a terminal's own.
ACTS = {
    "run", "demo", "dashboard", "kpi set", "monitor", "generate", "baseline save", "claude install",
    "claude uninstall", "completion", "fleet join", "fleet run", "fleet leave", "fleet resend",
    "fleet token add", "fleet token revoke",
}  # fmt: skip
# What some need besides.
BESIDES = {"baseline save": ["x", "--recorded"], "baseline compare": ["--by", "version"]}
S = 1_000_000_000


def parsers(
    name: str, parser: argparse.ArgumentParser
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    inner = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not inner:
        yield name, parser
    for action in inner:
        for word, child in action.choices.items():
            yield from parsers(f"{name} {word}", child)


def every() -> dict[str, argparse.ArgumentParser]:
    names = [name for name in COMMANDS if not hasattr(command_module(name), "USAGE")]
    return {path: one for name in names for path, one in parsers(name, command_parser(name))}


def options(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    return {name: action for action in parser._actions for name in action.option_strings}


WITH_A_WINDOW = sorted(name for name, parser in every().items() if "--since" in options(parser))


def test_each_command_that_answers_does_so_in_json() -> None:
    lacking = {
        name
        for name, parser in every().items()
        if "json" not in (getattr(options(parser).get("--format"), "choices", None) or ())
    }
    assert lacking == ACTS - {"run"}


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the dashboard, which looks at that first."""
    monkeypatch.setattr(os, "isatty", lambda _: True)
    monkeypatch.setenv("TERM", "xterm")


@pytest.mark.usefixtures("home", "terminal")
@pytest.mark.parametrize("name", WITH_A_WINDOW)
@pytest.mark.parametrize("when", ["yesterday", "5w", "-1h", "1.5h", "2026-13-01"])
def test_a_moment_that_is_none_is_the_same_one_line_everywhere(
    name: str, when: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*name.split(), *BESIDES.get(name, []), f"--since={when}"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        "orchwatch: --since must be like 90s, 15m, 24h, 7d, a time such as 2026-11-29T14:30 or"
        f" all, not {when!r}\n"
    )


def test_an_option_of_another_sub_command_is_not_offered_as_itself(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["claude", "import", "--dry-run"]) == 2
    assert "did you mean --dry-run" not in capsys.readouterr().err


@pytest.mark.parametrize("name", WITH_A_WINDOW)
def test_where_there_is_a_beginning_there_is_an_end(name: str) -> None:
    # Importing takes in what is there up to now.
    assert ("--until" in options(every()[name])) == (name not in ("claude import", "import"))


@pytest.mark.parametrize(
    ("when", "at_s"),
    [
        ("1970-01-02", 86_400 - 3600),
        ("1970-01-02T00:00", 86_400 - 3600),
        ("1970-01-02 00:00:30", 86_400 - 3600 + 30),
        ("1970-01-02T00:00Z", 86_400),
        ("1970-01-02T00:00+02:00", 86_400 - 7200),
        ("19700102T000000Z", 86_400),
    ],
)
def test_a_time_is_local_unless_it_says_otherwise(
    when: str, at_s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "UTC-1")
    time.tzset()
    try:
        assert window.until_ns(when) == at_s * S
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_span_of_time_counts_back_from_now() -> None:
    for when, back_s in (("90s", 90), ("15m", 900), ("24h", 86_400), ("7d", 604_800)):
        before_ns = time.time_ns() - back_s * S
        assert before_ns <= window.until_ns(when) <= time.time_ns() - back_s * S
    with pytest.raises(UsageError, match=r"--until must be like .*2026-11-29T14:30, not 'all'"):
        window.until_ns("all")


@pytest.mark.usefixtures("home", "terminal")
@pytest.mark.parametrize("name", WITH_A_WINDOW)
@pytest.mark.parametrize("when", ["2999-01-01", "9999-12-31T23:59:59Z"])
def test_a_beginning_in_the_future_is_refused_everywhere(
    name: str, when: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*name.split(), *BESIDES.get(name, []), "--since", when]) == 2
    said = f"orchwatch: --since must not lie in the future, and {when!r} does\n"
    assert capsys.readouterr() == ("", said)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "in the last 24h"),
        (["--since", "all"], ""),
        (["--since", "7d"], "in the last 7d"),
        (["--since", "48h", "--until", "24h"], "since 48h ago, until 24h ago"),
        (["--since", "2026-01-02"], "since 2026-01-02"),
        (["--until", "1h"], "since 24h ago, until 1h ago"),
        (["--until", "48h"], "in the 24h until 48h ago"),
        (["--until", "2026-01-02"], "in the 24h until 2026-01-02"),
        (
            ["--since", "all", "--until", "2026-01-02T03:04:05.678901+01:00"],
            "until 2026-01-02 02:04:05 UTC",
        ),
    ],
)
def test_a_window_is_said_as_a_person_says_it(words: list[str], said: str, home: Path) -> None:
    arguments = command_parser("sessions").parse_args([*words])
    arguments.default_since = "24h"
    with filters.opened(home) as store:
        assert filters.chosen(arguments, store, home).words == said


@pytest.mark.usefixtures("home")
def test_an_end_in_the_future_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["current", "--until", "2999-01-01"]) == 0
    assert not capsys.readouterr().err


VALUED = [
    (name, option)
    for name, parser in sorted(every().items())
    for option, action in sorted(options(parser).items())
    if option.startswith("--")
    and action.nargs != 0
    and not action.choices
    and not action.type
    and action.const != ""
]


@pytest.mark.parametrize(("name", "option"), VALUED)
def test_an_empty_value_is_a_mistake_everywhere(
    name: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = {
        "bench run": [],
        "baseline save": ["x"],
        "fleet join": ["https://gateway"],
        "fleet token add": ["x"],
        "fleet token revoke": ["x"],
        "kpi set": ["x", "1"],
        "sql": ["SELECT 1"],
    }
    assert main([*name.split(), f"{option}=", *words.get(name, [])]) == 2
    assert capsys.readouterr() == ("", f"orchwatch: {name}: {option} must not be empty\n")


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["trace", ""], "trace: ID"),
        (["trace", "diff", "", "x"], "trace: ID"),
        (["flame", ""], "flame: ID"),
        (["critical-path", ""], "critical-path: ID"),
        (["sql", ""], "sql: SELECT"),
        (["kpi", "set", "", "1"], "kpi set: NAME"),
        (["claude", "import", ""], "claude import: PATH"),
        (["baseline", "compare", ""], "baseline compare: NAME"),
        (["state", ""], "state: SESSION and PATH"),
        (["state", "s", "--root="], "state: --root"),
    ],
)
def test_so_is_an_empty_word(
    words: list[str], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert capsys.readouterr() == ("", f"orchwatch: {what} must not be empty\n")


@pytest.mark.parametrize(
    "name", ["current", "sessions", "agents", "traces", "hooks", "events", "kpi list"]
)
def test_an_end_before_the_beginning_is_refused(
    name: str, home: Path, record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    assert home
    record("state.query", end_ns=NOW_NS)
    assert main([*name.split(), "--since", "1h", "--until", "2h"]) == 2
    assert capsys.readouterr().err == "orchwatch: --since must lie before --until\n"
