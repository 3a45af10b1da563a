"""What readers of one file share whose records say of which kind they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar

from orchwatch.agents.sessions.fields import text, word

if TYPE_CHECKING:
    from orchwatch.agents.sessions.claims import Claims
    from orchwatch.agents.sessions.facts import Fact


class RecordReader(ABC):
    """A `FileReader`: a record that is not as expected is counted, and costs no other.

    Args:
        session_id: The session that the file belongs to.
        agent_id: The sub-agent that it is about, None for a session's own.
        claims: Who owns what several sessions hold.
        state: What `state` returned; with the agent's `version` in it.

    Attributes:
        kind_key: Under which key a record says its kind.
    """

    kind_key: ClassVar[str] = "type"

    def __init__(
        self, session_id: str, agent_id: str | None, claims: Claims, state: dict[str, Any]
    ) -> None:
        self.skipped: Counter[str] = Counter()
        self._session_id = session_id
        self._agent_id = agent_id
        self._claims = claims
        self._state = state

    @property
    def version(self) -> str:
        """The agent's, as the file says."""
        return str(self._state["version"])

    def state(self) -> dict[str, Any]:
        """What has to be kept to go on reading later; JSON."""
        return self._state

    def read_record(self, record: dict[str, Any]) -> list[Fact]:
        """The facts of one record; never raises."""
        kind = text(record.get(self.kind_key))
        try:
            return self._read(kind, record)
        except (TypeError, ValueError, AttributeError, KeyError, IndexError, OverflowError):
            self.skipped[f"unreadable {word(kind) or '?'}"] += 1
            return []

    @abstractmethod
    def _read(self, kind: str, record: dict[str, Any]) -> list[Fact]:
        """The facts of a record of that kind."""
