"""Summaries of when agents were at work, which save most of the work of key figures.

A file of the store has one in its metadata, as a JSON list: all spans but tool calls, merged where
those of one agent, kind and outcome overlap. Spans that only show that an agent existed are not
merged, and left out where the agent was at work all that time. Tool calls are not included: which
of them wait for another agent is known only once all files are read.
"""

from __future__ import annotations

import json

from orchwatch import semconv

KINDS = {"work": 0, "turn": 1, "waiting": 2, "failed": 3, "alive": 4}
"""What an agent does, see `busy`: in SQL numbers, which are compared and sorted faster."""

KEY = "islands"
"""What it is called in a file's metadata."""

KIND = f"""
CASE WHEN operation IN ($turn, $run) THEN {KINDS["turn"]}
    WHEN operation = $wait THEN {KINDS["waiting"]}
    WHEN operation IN ($spawn, $recovery, $message) THEN {KINDS["alive"]}
    ELSE {KINDS["work"]} END
"""
"""What an operation is for its agent, a tool call aside, in SQL with `NAMES` as its parameters."""
ACTS = """
operation IS NOT NULL AND (
    agent IS NOT NULL OR (session_id IS NOT NULL AND operation IN ($turn, $run, $tool, $wait)))
"""
"""Whether an operation says something about an agent: a main agent has no name, but turns."""
_OWN = "PARTITION BY session_id, agent, agent_id, failed, kind ORDER BY start_ns"
FIND = f"""
WITH acting AS MATERIALIZED (
    SELECT session_id, agent, agent_id, status = 2 AS failed, {KIND} AS kind,
        end_ns - duration_ns AS start_ns, end_ns
    FROM ({{rows}}) WHERE {ACTS} AND operation <> $tool
),
alone AS (
    SELECT DISTINCT session_id, agent, agent_id, false AS failed, kind, start_ns, end_ns
    FROM (
        SELECT *, max(CASE WHEN kind <> {KINDS["alive"]} THEN end_ns END) OVER (
            PARTITION BY session_id, agent, agent_id ORDER BY start_ns) AS busy_ns
        FROM acting
    ) WHERE kind = {KINDS["alive"]} AND (busy_ns IS NULL OR busy_ns < end_ns)
),
numbered AS (
    SELECT *, count(*) FILTER (reached_ns IS NULL OR start_ns > reached_ns) OVER (
        {_OWN} ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS island
    FROM (
        SELECT *, max(end_ns) OVER (
            {_OWN} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS reached_ns
        FROM acting WHERE kind <> {KINDS["alive"]}
    )
)
SELECT coalesce(to_json(list(one)), '[]')::VARCHAR, (SELECT count(*) FROM acting) FROM (
    SELECT session_id, agent, agent_id, failed, kind,
        min(start_ns) AS start_ns, max(end_ns) AS end_ns
    FROM numbered GROUP BY session_id, agent, agent_id, failed, kind, island
    UNION ALL FROM alone
) AS one
"""  # noqa: S608 - no value stands in it
"""Selects the list, of the rows of a file, and how many spans it stands for."""

_ISLAND = {
    "session_id": "VARCHAR",
    "agent": "VARCHAR",
    "agent_id": "VARCHAR",
    "failed": "BOOLEAN",
    "kind": "UTINYINT",
    "start_ns": "BIGINT",
    "end_ns": "BIGINT",
}
READ = f"""
SELECT '{{family}}' AS family, unnest(from_json(decode(value), '{json.dumps([_ISLAND])}'),
    recursive := true)
FROM parquet_kv_metadata(getvariable('{{family}}_files')) WHERE decode(key) = '{KEY}'
"""  # noqa: S608 - no value stands in it
"""Selects what the files of a family say of when agents were at work."""
NONE = f"""
SELECT '' AS family, {", ".join(f"NULL::{type_} AS {name}" for name, type_ in _ISLAND.items())}
WHERE false
"""
"""The same without any file."""

NAMES = {
    "tool": semconv.TOOL_EXECUTE,
    "turn": semconv.AGENT_TURN,
    "run": semconv.AGENT_RUN,
    "spawn": semconv.AGENT_SPAWN,
    "recovery": semconv.RECOVERY_RUN,
    "message": semconv.MESSAGE_DELIVER,
    "wait": semconv.USER_WAIT,
}
