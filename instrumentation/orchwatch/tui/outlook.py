"""What a dashboard says of the future: the answer of `orchwatch forecast`, a process of its own.

SciPy takes as long to import as a whole refresh may last, and a fit keeps the interpreter busy: in
this process either would hold up what a person looks at.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.text import Text

from orchwatch.recording.safe_text import ljust, rjust, safe
from orchwatch.tui import panels
from orchwatch.units import counted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from orchwatch.tui.question import Question

EVERY_S = 300.0
"""How often it is asked again: a step of the past is at least a minute, a forecast many of them."""

# Those that are shown; what crosses its target comes first.
_SHOWN = 6
_NAME_COLUMNS = 24
_MESSAGE_COLUMNS = 300


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What was answered.

    Attributes:
        forecasts: As `orchwatch forecast --format json` has them, see docs/json.md.
        why_none: Why there is no answer; None where there is one.
    """

    forecasts: tuple[Mapping[str, Any], ...] = ()
    why_none: str | None = None


class Forecaster:
    """Asks for one home.

    Args:
        home: The home directory.

    Attributes:
        asked: The latest question.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self.asked: Question | None = None
        self._due_s = 0.0

    def is_due(self, question: Question, *, anew: bool) -> bool:
        """Whether it is time to ask that: at first, for another question, after a while."""
        return anew or question != self.asked or time.monotonic() >= self._due_s

    async def ask(self, question: Question) -> Outlook:
        """Where things go, by the past that the question is about, else that of the command."""
        self.asked, self._due_s = question, math.inf  # until this one is answered
        given = {name: value for name, value in asdict(question).items() if value is not None}
        try:
            process = await asyncio.create_subprocess_exec(
                # Not with the working directory on its path, which may be an untrusted checkout.
                *(sys.executable, "-P", "-m", "orchwatch.cli", "forecast", "--format", "json"),
                *(f"--{name}={value}" for name, value in given.items()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={**os.environ, "ORCHWATCH_HOME": str(self._home)},
            )
        except (OSError, ValueError) as error:  # a name with a null byte, say
            why = getattr(error, "strerror", None) or error
            return Outlook(why_none=f"orchwatch forecast cannot be started: {why}")
        try:
            out, err = await process.communicate()
        finally:
            self._due_s = time.monotonic() + EVERY_S
            # Another question, or the dashboard was left: nobody waits for this answer.
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode:
            lines = err.decode(errors="replace").strip().splitlines()
            said = lines[-1] if lines else f"orchwatch forecast ended with {process.returncode}"
            return Outlook(why_none=said.removeprefix("orchwatch: "))
        return Outlook(forecasts=tuple(json.loads(out)["forecasts"]))


def being_computed() -> Text:
    """What stands there until there is an answer."""
    return Text("being computed …", "dim")


def said(found: Outlook) -> Text:
    """Where things go, what crosses its target first, and of how many that is not known."""
    if found.why_none is not None:
        return Text(safe(found.why_none, _MESSAGE_COLUMNS), "yellow")
    known = [one for one in found.forecasts if one["points"]]
    known.sort(key=lambda one: (one["crosses"] is None, one["may_cross"] is None))
    rows = [_row(one) for one in known[:_SHOWN]]
    rest = [f"{len(known) - _SHOWN} more"] if len(known) > _SHOWN else []
    lacking = len(found.forecasts) - len(known)
    if lacking:
        rest.append(f"not enough data for {counted(lacking, 'figure')}")
    elif not known:
        rest.append("not enough data")
    if rest:
        rows.append(Text(f"{'; '.join(rest)}; see orchwatch forecast", "dim"))
    return Text("\n").join(rows)


def _row(one: Mapping[str, Any]) -> Text:
    last, unit = one["points"][-1], one["unit"]
    text = Text(ljust(safe(one["id"], _NAME_COLUMNS), _NAME_COLUMNS))
    text.append(rjust(panels.amount(last["middle"], unit), 8))
    text.append(f" ({panels.amount(last['low_95'], unit)}", "dim")
    text.append(f"-{panels.amount(last['high_95'], unit)}) {_clock(last['at'])}", "dim")
    if one["target"] is not None and one["now"] > one["target"]:
        text.append(" missed", panels.STYLES["miss"])
    elif one["crosses"]:
        text.append(f"\n  crosses its target {_clock(one['crosses'])}", panels.STYLES["miss"])
    elif one["may_cross"]:
        text.append(f"\n  may cross its target {_clock(one['may_cross'])}", panels.STYLES["warn"])
    return text


def _clock(moment: str) -> str:
    return panels.clock(int(datetime.fromisoformat(moment).timestamp()) * 1_000_000_000)
