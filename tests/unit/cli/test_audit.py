from __future__ import annotations

import socket

import pytest

from orchwatch.cli.main import main


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
