"""One session of opencode, or a sub-agent's: messages become turns, requests and tool calls.

Each request to a model makes one message of the assistant, which names the person's message that
it answers: these together are a turn. What opencode itself writes in a person's place, to go on
after a compaction, begins none. A fork holds copies of its original's messages, under new ids and
with their old times, and does not name it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchwatch.agents.opencode import tools
from orchwatch.agents.sessions.claims import Ownership
from orchwatch.agents.sessions.facts import (
    INTERRUPTED,
    NEXT_PROMPT,
    Activity,
    AgentStarted,
    AgentWorked,
    ApiFailed,
    ApiUsage,
    Compacted,
    Fact,
    ProjectSeen,
    PromptSubmitted,
    ProviderSeen,
    ToolCut,
    TurnEnded,
    TurnOver,
)
from orchwatch.agents.sessions.fields import (
    count,
    mapping,
    moment_ns,
    project_name,
    text,
    word,
)
from orchwatch.agents.sessions.record_reader import RecordReader

if TYPE_CHECKING:
    from orchwatch.agents.sessions.claims import Claims

_MAX_TURNS = 1000
_ABORTED = "MessageAbortedError"
_OF_REQUESTS = ("APIError", "ProviderAuthError", "ContextOverflowError")
_GOES_ON = ("tool-calls", "unknown", "")
_SILENT = frozenset(
    {"text", "reasoning", "file", "step-start", "snapshot", "patch", "agent", "subtask"}
)
# As the GenAI conventions name them, where opencode's name is another.
_PROVIDERS = {
    "google": "gcp.gemini",
    "google-vertex": "gcp.vertex_ai",
    "google-vertex-anthropic": "gcp.vertex_ai",
    "amazon-bedrock": "aws.bedrock",
    "azure": "azure.ai.openai",
    "mistral": "mistral_ai",
    "xai": "x_ai",
}


class Conversation(RecordReader):
    """Reads one session's records (`rows.read`) in order.

    Args:
        session_id: The session that all belongs to.
        agent_id: The sub-agent whose own session it is, None for that one itself.
        claims: Who owns what several sessions hold.
        state: What `state` returned.
    """

    kind_key = "kind"

    def __init__(
        self,
        session_id: str,
        agent_id: str | None,
        claims: Claims,
        state: dict[str, Any] | None = None,
    ) -> None:
        state = state or {
            "version": "",
            "began": 0,
            "asked": None,  # the turn that was asked for last
            "turns": {},  # the turn that each person's message belongs to, the last ones
            "compactions": {},  # messages that ask for one: what triggered it
            "replays": False,  # the next message is a person's again, after a compaction
            "active": None,  # the turn that the model works at
            "final": False,  # it has said its last word
            "last": 0,
            "open": {},  # calls without an end: their turn
            "worked": False,
        }
        super().__init__(session_id, agent_id, claims, state)

    def _read(self, kind: str, record: dict[str, Any]) -> list[Fact]:
        return self._session(record) if kind == "session" else self._message(record)

    def _session(self, row: dict[str, Any]) -> list[Fact]:
        began_ns = moment_ns(row.get("time_created"))
        self._state["version"] = word(row.get("version"))
        self._state["began"] = began_ns
        if self._agent_id:
            if not began_ns:
                return []
            begun = self._common(began_ns, None)
            return [AgentStarted(**begun, agent_type=word(row.get("agent")))]
        project = project_name(row.get("directory"))
        if not began_ns:
            return []
        return [ProjectSeen(**self._common(began_ns, None), project=project)]

    def _common(self, time_ns: int, turn: str | None) -> dict[str, Any]:
        """The members of the facts of a record."""
        common: dict[str, Any] = {"session_id": self._session_id, "time_ns": time_ns}
        if self._agent_id:
            return {**common, "agent_id": self._agent_id, "agent_turn": turn}
        return {**common, "prompt_id": turn}

    def _message(self, record: dict[str, Any]) -> list[Fact]:
        data = mapping(record.get("data"))
        created_ns = moment_ns(mapping(data.get("time")).get("created"))
        created_ns = created_ns or moment_ns(record.get("time_created"))
        if not created_ns:
            self.skipped["no time"] += 1
            return []
        role = text(data.get("role"))
        if role not in ("user", "assistant"):
            self.skipped[f"unknown kind message {word(role) or '?'}"] += 1
            return []
        if self._is_copy(role, moment_ns(record.get("time_created")) or created_ns):
            return []
        if role == "user":
            return self._asked(record, created_ns)
        return self._answered(record, data, created_ns)

    def _is_copy(self, role: str, created_ns: int) -> bool:
        """Whether a fork has copied it: it is older than its session, and another one's."""
        whose = self._ownership(f"opencode:{role}/{created_ns}")
        return 0 < created_ns < self._state["began"] and whose in (
            Ownership.SESSION,
            Ownership.TURN,
        )

    def _ownership(self, key: str) -> Ownership:
        return self._claims.ownership(key, self._session_id, self._agent_id or "")

    def _asked(self, record: dict[str, Any], created_ns: int) -> list[Fact]:
        state = self._state
        own = text(record.get("id"))
        parts = [part["data"] for part in record["parts"]]
        compaction = next((part for part in parts if part.get("type") == "compaction"), None)
        goes_on = _is_synthetic(parts) or state["replays"]
        state["replays"] = False
        if compaction is not None:
            is_auto = compaction.get("auto") is True
            state["compactions"][own] = "auto" if is_auto else "manual"
            state["replays"] = is_auto and compaction.get("overflow") is True
            goes_on = is_auto
        self._count_unknown(parts)
        begins = not goes_on or state["asked"] is None
        if begins:
            state["asked"] = own
        state["turns"][own] = state["asked"]
        for links in (state["turns"], state["compactions"]):
            while len(links) > _MAX_TURNS:
                del links[next(iter(links))]
        return [PromptSubmitted(**self._common(created_ns, own), record_id=own)] if begins else []

    def _answered(
        self, record: dict[str, Any], data: dict[str, Any], created_ns: int
    ) -> list[Fact]:
        state = self._state
        own, parent = text(record.get("id")), text(data.get("parentID"))
        turn = state["turns"].get(parent) or parent or state["asked"] or own
        facts = self._leave() if turn != state["active"] else []
        state["active"] = turn
        common = self._common(created_ns, turn)
        provider = word(data.get("providerID"))
        if provider and not self._agent_id:
            facts.append(ProviderSeen(**common, provider=_PROVIDERS.get(provider, provider)))
        if self._agent_id and not state["worked"]:
            state["worked"] = True
            facts.append(AgentWorked(**common))
        facts.append(Activity(**common))
        for part in record["parts"]:
            facts += self._part(part, common)
        done_ns = moment_ns(mapping(data.get("time")).get("completed"))
        done = {**common, "time_ns": max(done_ns, created_ns)}
        facts += self._used(own, data, record["parts"], done)
        state["last"] = max([state["last"], *(fact.time_ns for fact in facts)])
        facts += self._ended(own, data, done, is_done=done_ns > 0)
        return facts

    def _part(self, part: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
        data = part["data"]
        kind = text(data.get("type"))
        if kind == "tool":
            return self._tool(part, common)
        if kind == "retry":
            error = mapping(data.get("error"))
            at = moment_ns(mapping(data.get("time")).get("created")) or common["time_ns"]
            failed = ApiFailed(
                **{**common, "time_ns": at},
                record_id=text(part.get("id")),
                error_type=word(error.get("name")) or "other",
                status=count(mapping(error.get("data")).get("statusCode")),
                attempt=count(data.get("attempt")),
            )
            return [failed]
        if kind != "step-finish":
            self._count_unknown([data])
        return []

    def _tool(self, part: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
        call = tools.read(part)
        if isinstance(call, str):
            self.skipped[call] += 1
            return []
        # Some models number their calls anew in each answer.
        key = f"opencode call:{self._session_id}/{call.tool_use_id}"
        own = text(part.get("id"))
        if self._claims.ownership(key, self._session_id, own) is Ownership.TURN:
            call = call._replace(tool_use_id=f"{call.tool_use_id}/{own}")
        if call.ended is None:
            turn = common.get("agent_turn") if self._agent_id else common["prompt_id"]
            self._state["open"][call.tool_use_id] = turn
        else:
            self._state["open"].pop(call.tool_use_id, None)
        return tools.facts(call, common)

    def _used(
        self,
        own: str,
        data: dict[str, Any],
        parts: list[dict[str, Any]],
        common: dict[str, Any],
    ) -> list[Fact]:
        """What its steps used: one in each message, several in those of older versions."""
        steps = [part["data"] for part in parts if part["data"].get("type") == "step-finish"]
        used = [step.get("tokens") for step in steps] or [data.get("tokens")]
        facts: list[Fact] = []
        for number, tokens in enumerate(used):
            found = _tokens(tokens)
            if found is None:
                self.skipped["unreadable tokens"] += 1
                continue
            if not (steps or any(found.values())):
                continue  # it was not answered, or not yet
            message_id = f"{own}/{number}" if number else own
            whose = self._ownership(f"opencode usage:{message_id}")
            if whose in (Ownership.SESSION, Ownership.TURN):
                continue
            model, fresh = word(data.get("modelID")), whose is Ownership.FRESH
            facts.append(
                ApiUsage(**common, message_id=message_id, model=model, fresh=fresh, **found)
            )
        return facts

    def _ended(
        self, own: str, data: dict[str, Any], common: dict[str, Any], *, is_done: bool
    ) -> list[Fact]:
        """How a message ended, and with it perhaps its turn."""
        state = self._state
        error = data.get("error")
        trigger = ""
        if data.get("summary") is True:
            trigger = state["compactions"].get(text(data.get("parentID")), "manual")
        if isinstance(error, dict):
            state["final"], state["replays"] = True, False
            return _failed(own, error, common)
        state["final"] = is_done and text(data.get("finish")) not in _GOES_ON
        if not is_done:
            return []
        state["last"] = max(state["last"], common["time_ns"])
        facts: list[Fact] = []
        if trigger:
            duration_ns = common["time_ns"] - moment_ns(mapping(data.get("time")).get("created"))
            facts.append(
                Compacted(**common, record_id=own, trigger=trigger, duration_ns=duration_ns)
            )
        if state["final"] and trigger != "auto":
            return [*facts, Activity(**common, last=2), TurnEnded(**common)]
        return [*facts, Activity(**common, last=int(state["final"]))]

    def _leave(self) -> list[Fact]:
        """The model works at another turn: nothing more comes of the one before."""
        state = self._state
        if state["active"] is None:
            return []
        over = self._common(state["last"], state["active"])
        left = [call for call, turn in state["open"].items() if turn == state["active"]]
        facts: list[Fact] = []
        for call in left:
            del state["open"][call]
            facts.append(ToolCut(**over, tool_use_id=call, reason=NEXT_PROMPT))
        facts.append(TurnOver(**over, reason="" if state["final"] else NEXT_PROMPT))
        state["final"], state["last"] = False, 0
        return facts

    def _count_unknown(self, parts: list[dict[str, Any]]) -> None:
        for part in parts:
            kind = text(part.get("type"))
            if kind not in _SILENT and kind != "compaction":
                self.skipped[f"unknown kind part {word(kind) or '?'}"] += 1


def _failed(own: str, error: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
    name = word(error.get("name")) or "other"
    if name == _ABORTED:
        return [TurnEnded(**common, reason=INTERRUPTED)]
    facts: list[Fact] = []
    if name in _OF_REQUESTS:
        status = count(mapping(error.get("data")).get("statusCode"))
        facts.append(ApiFailed(**common, record_id=f"{own}/error", error_type=name, status=status))
    return [*facts, TurnEnded(**common, error_type=name)]


def _is_synthetic(parts: list[dict[str, Any]]) -> bool:
    """Whether opencode has written all of a message in a person's place."""
    return bool(parts) and all(
        part.get("type") == "text" and part.get("synthetic") is True for part in parts
    )


def _tokens(value: object) -> dict[str, Any] | None:
    """As members of `ApiUsage`: opencode counts each token once, so that output lacks reasoning."""
    tokens = mapping(value)
    cache = mapping(tokens.get("cache"))
    if not {"input", "output"} <= tokens.keys():
        return None
    reasoning = count(tokens.get("reasoning"))
    return {
        "input_tokens": count(tokens["input"]),
        "output_tokens": count(tokens["output"]) + reasoning,
        "cache_read_tokens": count(cache.get("read")),
        "cache_creation_tokens": count(cache.get("write")),
        "reasoning_tokens": reasoning,
    }
