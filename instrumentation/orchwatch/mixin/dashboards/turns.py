"""Where the time of turns went, from what the monitor counts of call paths."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.mixin.dashboards import panels, queries, units
from orchwatch.mixin.dashboards.panels import Text
from orchwatch.mixin.lib import promql

if TYPE_CHECKING:
    from orchwatch.mixin.dashboards.panels import Panel

_OWN = promql.series(semconv.CALL_SELF_TIME, "s", counter=True)
_PATH = semconv.CALL_PATH.replace(".", "_")
_PHASE = "phase"
_REST = f"[^{semconv.CALL_SEPARATOR}]*"
_HOOKS = (
    "(?:Pre|Post)(?:ToolUse|ToolBatch|Compact|ModelSwitch)",
    "(?:Session|Subagent)(?:Start|Stop|End)",
    *("Stop", "UserPrompt", "Notification", "Permission"),
)
_MODEL = rf"(?:{semconv.INVOKE_AGENT}|{semconv.CHAT})(?: {_REST})?"
_TOOLS = "tools"
# Of a path's last name, behind which its agent may stand in brackets; a hook's is its event and its
# own. What is none of these is a tool's.
_NAMES = {
    "person": re.escape(semconv.USER_WAIT),
    "compaction": re.escape(semconv.CONTEXT_COMPACT),
    "hooks": rf"{re.escape(semconv.HOOK_PROCESS)}|(?:{'|'.join(_HOOKS)}){_REST}",
    "model": rf"{re.escape(semconv.AGENT_TURN)}|{_MODEL}",
}


def phases() -> Panel:
    """Stacked, an interval a bar."""
    text = Text(
        "Where the time of turns went",
        "What `orchwatch monitor` counts of live turns and all that they called, each span's own "
        "time: waiting for a person, tools, hooks, compaction, and the rest, in which the model "
        "answers. What ran side by side counts for each. `orchwatch phases` gives each moment to "
        "one phase, and knows retries and idle time.",
        "no turn was counted in this time range",
    )
    turn = f".*(?:{re.escape(semconv.AGENT_TURN)}|{semconv.INVOKE_AGENT}).*"
    own = promql.counted(f"{_OWN}{{{_PATH}=~{promql.text(turn)}}}", "$__interval")
    named = f'label_replace({own}, "{_PHASE}", "{_TOOLS}", "", "")'
    for phase, names in _NAMES.items():
        last = rf"(?:.*{semconv.CALL_SEPARATOR})?(?:{names})(?: \[{_REST}\])?"
        named = f'label_replace({named}, "{_PHASE}", "{phase}", "{_PATH}", {promql.text(last)})'
    query = queries.lines("A", f"sum by ({_PHASE}) ({named})", f"{{{{{_PHASE}}}}}")
    query = query.interval(queries.COUNTED_REPORTS)
    return panels.bars(panels.graph(text, query, unit=units.SECONDS, decimals=None))
