from __future__ import annotations

import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from orchwatch.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.usefixtures("home")
def test_a_web_server_at_its_port_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    serve = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    with subprocess.Popen(
        serve, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        url = server.stdout.readline().split()[-2].strip("()").rstrip("/")
        code = main(["audit", "--tempo-url", url, "--prometheus-url", url])
        server.terminate()
    captured = capsys.readouterr()
    assert (code, captured.out) == (1, "")
    assert captured.err.startswith(f"orchwatch: the server at {url} is not Prometheus; ")
    assert captured.err.count("\n") == 1


@pytest.mark.usefixtures("home")
def test_a_server_that_does_not_answer_is_one_clear_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    assert main(["audit", "--tempo-url", url, "--prometheus-url", url]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert f"Prometheus does not answer at {url}" in captured.err
