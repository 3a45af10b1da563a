"""When a turn or a sub-agent began, was last heard of and ended, and which tokens it used."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import sub
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchwatch.agents.sessions import facts

_MAX_MESSAGES = 64
_KINDS = 5
_MAX_MODELS = 32  # of one turn: what comes after them is taken for the last one's


@dataclass(slots=True)
class Usage:
    """Tokens of several answers; one answer is reported several times, and its highest counts hold.

    Attributes:
        totals: Input, output, cache read, cache creation and reasoning tokens of settled answers.
        recent: The same five counts by message, of the last messages.
        reasons: Whether the source counts reasoning.
        requests: How many answers.
        model: Which model gave the last one.
        of_models: Requests and the same five counts by model; empty stands for one that is unknown.
    """

    totals: list[int] = field(default_factory=lambda: [0] * _KINDS)
    recent: dict[str, list[int]] = field(default_factory=dict)
    requests: int = 0
    model: str = ""
    model_ns: int = 0
    reasons: bool = False
    of_models: dict[str, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for counts in (self.totals, *self.recent.values()):  # of an earlier version: four
            counts.extend([0] * (_KINDS - len(counts)))

    def add(self, fact: facts.ApiUsage) -> None:
        counts = [
            fact.input_tokens,
            fact.output_tokens,
            fact.cache_read_tokens,
            fact.cache_creation_tokens,
            fact.reasoning_tokens or 0,
        ]
        self.reasons = self.reasons or fact.reasoning_tokens is not None
        known = self.recent.get(fact.message_id)
        self.requests += known is None
        highest = list(map(max, counts, known)) if known else counts
        grown = list(map(sub, highest, known)) if known else counts
        model = fact.model
        if model not in self.of_models and len(self.of_models) >= _MAX_MODELS:
            model = ""
        own = self.of_models.get(model, [0] * (1 + _KINDS))
        self.of_models[model] = _sum(own, [known is None, *grown])
        self.recent[fact.message_id] = highest
        if fact.model and fact.time_ns >= self.model_ns:
            self.model, self.model_ns = fact.model, fact.time_ns
        if len(self.recent) > _MAX_MESSAGES:
            oldest = next(iter(self.recent))
            self.totals = _sum(self.totals, self.recent.pop(oldest))

    def by_model(self) -> dict[str, list[int]]:
        """As `of_models`; what is of an unknown one is taken for the last known one's."""
        found = {model: counts for model, counts in self.of_models.items() if model}
        if "" in self.of_models:
            known = found.get(self.model, [0] * (1 + _KINDS))
            found[self.model] = _sum(known, self.of_models[""])
        return found

    def sums(self) -> list[int]:
        """Over all answers, in the order of `totals`."""
        sums = self.totals
        for counts in self.recent.values():
            sums = _sum(sums, counts)
        return sums


@dataclass(slots=True)
class Lifecycle:
    """When a turn or a sub-agent began, was last heard of, and said that it is done.

    A file's times count for more than a hook's, which come a moment later, so that what was
    followed with hooks and without them lasts equally long.
    """

    start_ns: int = 0
    last_ns: int = 0
    filed: bool = False  # these two are a file's
    final_ns: int = 0  # of the last message that asks for no tool
    said_done: bool = False  # that message says so
    ended_ns: int = 0
    hooked_ns: int = 0  # when a hook said that it ended
    error_type: str = ""
    reason: str = ""
    usage: Usage = field(default_factory=Usage)

    @property
    def is_final(self) -> bool:
        """Whether nothing came after the last message that asks for no tool."""
        return 0 < self.last_ns <= self.final_ns

    @property
    def end_ns(self) -> int:
        """When it ended, if it has; the report of an end waits for hooks, and may come late."""
        if self.said_done and self.is_final:
            return self.final_ns
        return max(self.last_ns, self.ended_ns or self.hooked_ns)

    def see(self, time_ns: int, *, filed: bool) -> None:
        """A sign of life."""
        if self._counts(filed=filed):
            self.start_ns = min(self.start_ns or time_ns, time_ns)
            self.last_ns = max(self.last_ns, time_ns)

    def _counts(self, *, filed: bool) -> bool:
        """Whether a time is to be believed; the first of a file's replaces those of hooks."""
        if filed and not self.filed:
            self.filed, self.start_ns, self.last_ns = True, 0, 0
        return filed or not self.filed

    def finish(self, time_ns: int, level: int) -> None:
        """A message that asks for no tool (1), or that says it is the last (2)."""
        if level and time_ns >= self.final_ns:
            self.said_done = level > 1 or (self.said_done and time_ns == self.final_ns)
            self.final_ns = time_ns

    def end(
        self, time_ns: int, error_type: str | None, reason: str | None, *, filed: bool = True
    ) -> None:
        """Records a reported end; the latest report holds, and a file's rather than a hook's."""
        known_ns = self.ended_ns if filed else self.hooked_ns
        if filed:
            self.ended_ns = max(self.ended_ns, time_ns)
        else:
            self.hooked_ns = max(self.hooked_ns, time_ns)
        if time_ns >= known_ns and (filed or not self.ended_ns):
            self.error_type, self.reason = error_type or "", reason or ""


def _sum(left: list[int], right: list[int]) -> list[int]:
    return [a + b for a, b in zip(left, right, strict=True)]
