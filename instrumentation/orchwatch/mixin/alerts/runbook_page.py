"""The runbook's entries as a page that a link opens: Prometheus serves it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from orchwatch.mixin.alerts import runbook
from orchwatch.mixin.lib import alerting

if TYPE_CHECKING:
    from orchwatch.mixin.lib.rule import AlertRule
    from orchwatch.targets.target_table import Targets

_HEAD = """\
<!doctype html>
<!-- Generated from targets.toml by orchwatch generate: edits are lost. -->
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Orchwatch runbook</title>
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
section { padding: 0 1rem; border-left: 4px solid transparent; }
section:target, section:has(:target) { border-color: #3274d9; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: 0.3rem 0.6rem; border: 1px solid #8884; text-align: left; vertical-align: top; }
pre { padding: 0.6rem; background: #8882; white-space: pre-wrap; }
</style>
</head>
<body>
<h1>Runbook</h1>
<p>What each alert means, how to see it, what to do and how to silence it.</p>
"""
_TAIL = "</body>\n</html>\n"


def page(table: Targets) -> str:
    """`prometheus/assets/runbook.html`."""
    settings = alerting.load()
    entries = (_entry(same, settings.grafana) for same in runbook.by_name(table, settings))
    return _HEAD + "".join(entries) + _TAIL


def _entry(same: list[AlertRule], grafana: str) -> str:
    first = same[0]
    address = escape(runbook.address(first, grafana))
    silence = escape(runbook.silence_page(first))
    rows = "".join(f"<tr>{_cells(cells)}</tr>\n" for cells in runbook.rows(same))
    # Links name an alert as it is, or as Markdown makes an anchor of it.
    return f"""\
<section id="{first.name}">
<h2 id="{first.name.lower()}">{first.name}</h2>
<p>{escape(runbook.meaning(first))}</p>
<table>
<tr>{"".join(f"<th>{escape(head)}</th>" for head in runbook.COLUMNS)}</tr>
{rows}</table>
<p>See it: <a href="{address}">{address}</a>, or <code>{escape(first.command)}</code>, or</p>
<pre>{escape(first.look)}</pre>
<p>Silence it: <a href="{silence}">in Alertmanager</a>, or in containers</p>
<pre>{escape(runbook.silence(first))}</pre>
</section>
"""


def _cells(cells: tuple[str, ...]) -> str:
    return "".join(f"<td>{escape(cell)}</td>" for cell in cells)
