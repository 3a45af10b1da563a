from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch import semconv
from orchwatch.agents.sessions.fields import project_name
from orchwatch.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.agents.claude_code.conftest import Recording

pytestmark = pytest.mark.usefixtures("home")


@pytest.mark.parametrize(
    ("directory", "name"),
    [
        ("/home/ada/work/shop", "shop"),
        ("/home/ada/work/shop/", "shop"),
        ("C:\\Users\\ada\\shop", "shop"),
        ("/srv/größe der 猫", "größe der 猫"),
        ("shop", "shop"),
        ("/home/ada", ""),
        ("/Users/ada/", ""),
        ("C:\\Users\\ada", ""),
        ("/srv/home/shop", "shop"),
        ("/", ""),
        ("", ""),
        (None, ""),
        (7, ""),
        (["/shop"], ""),
        ("/tmp/sk-ant-api03-abc", ""),
        ("/tmp/ghp_0123456789", ""),
        ("/tmp/AKIA0123456789ABCDEF", ""),
        ("/tmp/eyJhbGciOi.J9.x", ""),
        ("/work/skeleton", "skeleton"),
        ("/work/npm_tools", "npm_tools"),
        ("/work/ghost", "ghost"),
    ],
)
def test_a_project_is_called_what_its_path_ends_in_unless_that_looks_like_a_key(
    directory: object, name: str
) -> None:
    assert project_name(directory) == name


def test_a_name_is_not_endless() -> None:
    assert len(project_name("/" + "n" * 10_000)) <= 256


def test_every_span_of_a_session_names_the_project_that_it_began_in_and_no_path(  # noqa: PLR0917 - fixtures
    session: Recording,
    agent: Callable[[str], Recording],
    projects: Path,
    home: Path,
    run_import: Callable[..., Any],
    history: Callable[[], list[dict[str, Any]]],
) -> None:
    session.common = {"cwd": "/confidential/shop"}
    session.prompt(0)
    session.call(1, "t1", "Task", prompt="look", subagent_type="Explore")
    inner = agent("a1")
    inner.common = {"cwd": "/confidential/shop/deep"}
    inner.prompt(1.5)
    inner.say(2)
    session.result(3, "t1", agentId="a1", status="completed")
    # It goes elsewhere.
    session.common = {"cwd": "/confidential/other"}
    session.say(4)
    session.prompt(10)
    session.say(11)
    assert run_import(projects).spans > 3
    named = [span["attributes"].get(semconv.PROJECT_NAME) for span in history()]
    assert set(named) == {"shop"}
    for path in home.rglob("*"):
        assert not path.is_file() or b"confidential" not in path.read_bytes()


def test_sessions_are_listed_with_their_projects_and_without_where_none_has_one(
    session: Recording,
    projects: Path,
    run_import: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    session.prompt(0)
    session.say(1)
    run_import(projects)
    assert main(["sessions"]) == 0
    assert "project" not in capsys.readouterr().out
    session.common = {"cwd": "/work/shop | \x1b[31mred"}
    session.prompt(10)
    session.say(11)
    run_import(projects)
    assert main(["sessions"]) == 0
    shown = capsys.readouterr().out
    assert "project" in shown
    assert "shop | " in shown
    assert "\x1b" not in shown
    assert main(["sessions", "--format", "json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["sessions"]
    assert found["project"] == "shop | \x1b[31mred"
