"""What a session has cost, as its file says each time that Claude Code ends: `cost-state`.

Its figures are totals over all processes of the session, so that only what was added since the one
before is taken. A fork's totals begin with its origin's, which its file does not separate: its
first record is where its own cost begins.
"""

from __future__ import annotations

from math import isfinite
from typing import Any

from orchwatch.agents.sessions.facts import Fact, SessionCost
from orchwatch.agents.sessions.fields import mapping, milliseconds, moment_ns, text

_MAX_MODELS = 32
_MAX_USD = 1e9


class Costs:
    """The totals of one file.

    Args:
        state: The file's, in which they are kept.
    """

    def __init__(self, state: dict[str, Any]) -> None:
        self._state = state

    def read(self, record: dict[str, Any], session_id: str, *, forked: bool) -> list[Fact]:
        """What was added since the last one; nothing where nothing was.

        Args:
            record: The `cost-state`.
            session_id: Whose.
            forked: Whether the session is a fork.
        """
        began_ns = moment_ns(record.get("startTime"))
        lasted_ns = milliseconds(record.get("totalDuration"))
        if not began_ns or lasted_ns is None:
            return []
        totals = _totals(record)
        before = self._state.get("cost")
        self._state["cost"] = totals
        if before is None and forked:
            return []
        if before is None or any(totals[name] < before[name] for name in _FIGURES):
            before = {"models": {}, **dict.fromkeys(_FIGURES, 0)}
        added = {name: totals[name] - before[name] for name in _FIGURES}
        if not any(added.values()):
            return []
        models = {
            model: cost - before["models"].get(model, 0)
            for model, cost in totals["models"].items()
            if cost > before["models"].get(model, 0)
        }
        cost = SessionCost(
            session_id=session_id,
            time_ns=max(self._state["latest"], began_ns),
            record_id=f"{began_ns}/{lasted_ns}",
            cost_usd=added["cost_usd"],
            api_ns=int(added["api_ns"]),
            tools_ns=int(added["tools_ns"]),
            models=models,
        )
        return [cost]


_FIGURES = ("cost_usd", "api_ns", "tools_ns")


def _totals(record: dict[str, Any]) -> dict[str, Any]:
    used = mapping(record.get("modelUsage"))
    return {
        "cost_usd": _usd(record.get("totalCostUSD")),
        "api_ns": milliseconds(record.get("totalAPIDuration")) or 0,
        "tools_ns": milliseconds(record.get("totalToolDuration")) or 0,
        "models": {
            text(model): _usd(mapping(use).get("costUSD"))
            for model, use in list(used.items())[:_MAX_MODELS]
        },
    }


def _usd(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        return 0.0
    return min(max(float(value), 0.0), _MAX_USD)
