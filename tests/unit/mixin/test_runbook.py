"""The runbook as Markdown and as the page that Prometheus serves."""

from __future__ import annotations

import re
import shlex
from html import unescape
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest

from orchwatch.mixin.alerts import runbook, runbook_page
from orchwatch.mixin.lib import alerting
from orchwatch.targets import target_table
from orchwatch.targets.config import Config

if TYPE_CHECKING:
    from orchwatch.mixin.lib.rule import AlertRule

OWN = 'own "x"'
ROW = {"target_s": 3, "title": "a <b> | c & d"}
TABLE = target_table.load(Config(targets={"operations": {OWN: ROW}}))
SETTINGS = alerting.load(Config())
SAME = runbook.by_name(TABLE, SETTINGS)


def test_every_name_has_one_entry_in_both() -> None:
    names = [same[0].name for same in SAME]
    assert len(set(names)) == len(names)
    headings = [line[3:] for line in runbook.entries(TABLE) if line.startswith("## ")]
    assert headings == names
    assert re.findall(r'<section id="(\w+)">', runbook_page.page(TABLE)) == names


def test_a_title_of_the_users_own_breaks_no_table() -> None:
    lines = [line for line in runbook.entries(TABLE) if OWN in line]
    assert lines
    for line in lines:
        assert len(re.findall(r"(?<!\\)\|", line)) == len(runbook.COLUMNS) + 1
    rows = [line for line in runbook_page.page(TABLE).splitlines() if OWN in unescape(line)]
    assert rows
    for row in rows:
        assert row.count("<td>") == len(runbook.COLUMNS)
        assert "a <b> | c & d" in unescape(row)
        assert "<b>" not in row


@pytest.mark.parametrize("same", SAME, ids=lambda same: same[0].name)
def test_the_command_that_silences_is_one_for_a_shell(same: list[AlertRule]) -> None:
    words = shlex.split(runbook.silence(same[0]))
    assert f"alertname={same[0].name}" in words
    assert f"target={same[0].target}" in words or not same[0].target


@pytest.mark.parametrize("same", SAME, ids=lambda same: same[0].name)
def test_both_link_to_the_page_that_silences_the_first_target(same: list[AlertRule]) -> None:
    first = same[0]
    link = runbook.silence_page(first)
    assert any(f"]({link})" in line for line in runbook.entries(TABLE))
    assert f'href="{link}"' in runbook_page.page(TABLE)
    target = f',target="{first.target}"' if first.target else ""
    assert unquote(link).endswith(f'?filter={{alertname="{first.name}"{target}}}')
