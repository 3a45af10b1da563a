from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, ClassVar

import pytest

from orchwatch.cli.main import main
from orchwatch.diagnosis.fleet import membership, tokens

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Captured = pytest.CaptureFixture[str]


class Gateway(BaseHTTPRequestHandler):
    """Takes the tokens that it knows, as the Collector does."""

    known: ClassVar[set[str]]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        shown = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        self.send_response(200 if shown in self.known else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def url(home: Path) -> Iterator[str]:
    assert home
    Gateway.known = {"first", "second"}
    with ThreadingHTTPServer(("127.0.0.1", 0), Gateway) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def said(capsys: Captured) -> str:
    """The one line on stderr, with nothing on stdout."""
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize("way", ["file", "stdin", "word"])
def test_a_token_is_taken_from_a_file_standard_input_or_the_command_line(
    way: str, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    path = tmp_path / "token"
    path.write_text("first\n")
    monkeypatch.setattr(sys, "stdin", io.StringIO("first\n"))
    words = {"file": ["--token-file", str(path)], "stdin": ["--token-file", "-"]}
    assert main(["fleet", "join", url, *words.get(way, ["--token", "first"])]) == 0
    out = capsys.readouterr().out
    assert f"has joined {url} as " in out
    assert "first" not in out
    assert membership.token() == "first"
    assert max(map(len, out.splitlines())) <= 80


def test_what_was_joined_stays_where_a_new_token_is_refused(url: str, capsys: Captured) -> None:
    assert main(["fleet", "join", url, "--token", "first", "--team", "reds"]) == 0
    capsys.readouterr()
    assert main(["fleet", "join", url, "--token", "wrong"]) == 1
    assert "the gateway refuses the token" in said(capsys)
    assert membership.token() == "first"
    joined = membership.read()
    assert joined is not None
    assert joined.team == "reds"


def test_joining_again_without_a_token_keeps_it(url: str, capsys: Captured) -> None:
    assert main(["fleet", "join", url]) == 2
    assert "the token is missing" in said(capsys)
    assert main(["fleet", "join", url, "--token", "first"]) == 0
    assert main(["fleet", "join", url, "--team", "blues"]) == 0
    assert membership.token() == "first"
    assert main(["fleet", "join", url, "--token", "second"]) == 0
    assert membership.read() == membership.Membership(url=url, team="blues", own_ca=False)
    assert membership.token() == "second"


def test_a_kept_token_is_shown_to_no_other_gateway(url: str, capsys: Captured) -> None:
    assert main(["fleet", "join", url, "--token", "first"]) == 0
    capsys.readouterr()
    assert main(["fleet", "join", f"{url}/other"]) == 2
    assert "the token is missing" in said(capsys)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("words", "code", "names"),
    [
        (["http://gateway", "--token", "t"], 2, "must begin with https"),
        (["gateway", "--token", "t"], 2, "must be an address like"),
        (["https://gateway", "--token", "a b"], 2, "the token must be one word"),
        (["https://gateway", "--token", "t", "--team", "a b"], 2, "--team 'a b': must be"),
        (["https://gateway", "--token-file", "/missing"], 1, "/missing: cannot be read: No such"),
        (["https://gateway", "--token-file", "/dev/zero"], 1, "/dev/zero: cannot be read"),
        (["https://gateway", "--token", "t", "--ca", "/missing"], 1, "/missing: cannot be read"),
        (["https://gateway", "--token", "t", "--ca", "/etc"], 1, "/etc: cannot be read"),
        (["https://gateway", "--token", "t", "--token-file", "-"], 2, "not allowed with"),
    ],
)
def test_a_wrong_word_is_one_line_and_nothing_is_kept(
    words: list[str], code: int, names: str, capsys: Captured
) -> None:
    assert main(["fleet", "join", *words]) == code
    assert names in said(capsys)
    assert membership.read() is None


def test_an_authority_that_is_none_is_named(url: str, tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "ca.crt"
    path.write_text("no certificate")
    assert main(["fleet", "join", url, "--token", "first", "--ca", str(path)]) == 1
    assert f"{path}: holds no certificate in PEM" in said(capsys)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("command", ["run", "status", "leave"])
def test_a_machine_that_has_joined_nothing_says_so(command: str, capsys: Captured) -> None:
    assert main(["fleet", command]) == 1
    assert "this machine has joined no fleet" in said(capsys)


def test_what_keeps_a_machine_from_getting_through_is_an_exit_code(
    url: str, capsys: Captured
) -> None:
    assert main(["fleet", "join", url, "--token", "first", "--team", "reds"]) == 0
    capsys.readouterr()
    assert main(["fleet", "status", "--format", "json"]) == 3
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert (found["url"], found["team"]) == (url, "reds")
    assert found["problems"] == ["the agent does not run; orchwatch fleet run starts it"]
    Gateway.known = set()
    assert main(["fleet", "status"]) == 3
    assert "it was revoked" in capsys.readouterr().err


def test_leaving_undoes_joining(url: str, home: Path, capsys: Captured) -> None:
    assert main(["fleet", "join", url, "--token", "first"]) == 0
    assert main(["fleet", "leave"]) == 0
    assert membership.read() is None
    assert [path.name for path in (home / "fleet").iterdir()] == ["machine-id"]
    capsys.readouterr()
    assert main(["fleet", "leave"]) == 1
    assert "has joined no fleet" in said(capsys)


def test_the_agent_is_the_collector_itself_in_the_home(
    url: str, home: Path, tmp_path: Path, capsys: Captured
) -> None:
    """A program in its place says where it runs, and with what."""
    assert main(["fleet", "join", url, "--token", "first"]) == 0
    program = tmp_path / "otelcol"
    program.write_text('#!/bin/sh\npwd\necho "$@"\necho $ORCHWATCH_GATEWAY_URL\nexit 7\n')
    program.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-m", "orchwatch.cli", "fleet", "run"],
        env={**os.environ, "ORCHWATCH_HOME": str(home), "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (7, "")
    where, words, gateway = done.stdout.splitlines()
    assert os.path.samefile(where, home)
    assert words.split() == [
        "--config=fleet/collector/config.yaml",
        "--config=fleet/collector/agent.yaml",
    ]
    assert gateway == url
    capsys.readouterr()
    assert main(["fleet", "run", "--collector", str(tmp_path / "none")]) == 1
    assert f"{tmp_path / 'none'}: no such program" in said(capsys)


def test_what_is_to_be_sent_again_needs_a_tempo_and_a_token(url: str, capsys: Captured) -> None:
    assert main(["fleet", "resend"]) == 2
    assert "--tempo-url or ORCHWATCH_TEMPO_URL must say where Tempo is" in said(capsys)
    assert main(["fleet", "resend", "--tempo-url", url]) == 1
    assert "has joined no fleet" in said(capsys)
    assert main(["fleet", "join", url, "--token", "first"]) == 0
    Gateway.known = set()
    capsys.readouterr()
    assert main(["fleet", "resend", "--tempo-url", url]) == 1
    assert "the gateway refuses the token" in said(capsys)


@pytest.mark.usefixtures("home")
def test_tokens_are_made_listed_and_revoked(capsys: Captured) -> None:
    assert main(["fleet", "token", "list"]) == 0
    assert capsys.readouterr().out.startswith("No machine has a token in ")
    assert main(["fleet", "token", "add", "laptop"]) == 0
    made = capsys.readouterr().out.strip()
    assert tokens.PATTERN.fullmatch(made)
    assert main(["fleet", "token", "list"]) == 0
    listed = capsys.readouterr().out
    assert "laptop" in listed
    assert made not in listed
    assert main(["fleet", "token", "list", "--format", "json"]) == 0
    assert made not in capsys.readouterr().out
    assert main(["fleet", "token", "revoke", "laptop"]) == 0
    assert capsys.readouterr().out.startswith(f"revoked {made.split('_')[1]} of laptop, made ")
    assert main(["fleet", "token", "revoke", "laptop"]) == 1
    assert "no machine or token of that name" in said(capsys)


@pytest.mark.usefixtures("home")
def test_a_token_of_a_machine_with_a_wrong_name_is_not_made(capsys: Captured) -> None:
    assert main(["fleet", "token", "add", "\x1b[31m"]) == 2
    assert "\x1b" not in said(capsys)


def test_a_file_of_tokens_may_lie_elsewhere(tmp_path: Path, capsys: Captured) -> None:
    path = str(tmp_path / "tokens")
    assert main(["fleet", "token", "add", "laptop", "--file", path]) == 0
    assert [one.machine for one in tokens.listed(path)] == ["laptop"]
    capsys.readouterr()


def test_a_broken_file_is_written_anew_as_is_said(url: str, home: Path, capsys: Captured) -> None:
    assert main(["fleet", "join", url, "--token", "first"]) == 0
    (home / "fleet" / "joined.json").write_text("{")
    capsys.readouterr()
    assert main(["fleet", "status"]) == 1
    assert "orchwatch fleet join writes it anew" in said(capsys)
    assert main(["fleet", "join", url, "--token", "second"]) == 0
    assert membership.token() == "second"


def test_a_standard_input_that_is_closed_is_named(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["fleet", "join", url, "--token-file", "-"]) == 2
    assert "standard input is closed" in said(capsys)


def test_every_problem_is_named(url: str, capsys: Captured) -> None:
    assert main(["fleet", "join", url, "--token", "first"]) == 0
    Gateway.known = set()
    capsys.readouterr()
    assert main(["fleet", "status"]) == 3
    captured = capsys.readouterr()
    assert "the gateway refuses the token" in captured.err
    assert "also      the agent does not run; orchwatch fleet run starts it" in captured.out
