from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

# A shell's words before a command, by what they do to it.
STARTS = {
    "under nohup": "trap '' HUP; ",
    "in the background": "trap '' INT QUIT; ",
    "with its standard input closed": "exec <&-; ",
    "where nobody may read": "umask 077; ",
    "elsewhere on the globe": "export TZ=Asia/Kathmandu LANG=de_DE LC_ALL=C LANGUAGE=de; ",
    "without a home": "unset HOME; ",
    "in colour": "export FORCE_COLOR=1 COLUMNS=20 TERM=xterm; ",
    "with children ignored": "trap '' CHLD; ",
    "where nothing compiled is kept": "export PYTHONDONTWRITEBYTECODE=1; ",
}

PROBE = """
import os, signal, sys, time

def test_probe():
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL
    assert os.umask(0o022) == 0o022
    assert [os.fstat(number) and number for number in range(3)] == [0, 1, 2]
    assert time.localtime(0).tm_hour == 0
    assert os.environ["HOME"]
    assert "COLUMNS" not in os.environ and "FORCE_COLOR" not in os.environ
    assert "PYTHONDONTWRITEBYTECODE" not in os.environ and not sys.dont_write_bytecode
"""


@pytest.mark.parametrize("start", STARTS)
def test_tests_start_alike_however_they_are_started(
    tmp_path: Path, pytestconfig: pytest.Config, start: str
) -> None:
    (tmp_path / "conftest.py").write_text(
        (pytestconfig.rootpath / "tests" / "conftest.py").read_text()
    )
    (tmp_path / "test_probe.py").write_text(PROBE)
    command = f'{STARTS[start]}exec "$0" -m pytest -q -p no:cacheprovider -c /dev/null .'

    ended = subprocess.run(
        ["/bin/sh", "-c", command, sys.executable],
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        stdout=subprocess.PIPE,
        timeout=120,
    )

    assert ended.returncode == 0, ended.stdout.decode()
