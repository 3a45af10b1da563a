"""A scripted stand-in for the Messages API on loopback; what it did is the truth of a session.

A prompt's `[[name|key=value]]` chooses the script. Each answer of a conversation is the script's
next step; what the client sends without such a word (a title, a warm-up) gets a short text.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Self

Json = dict[str, Any]

_WORD = re.compile(r"\[\[([a-z0-9_]+)((?:\|[^\]|]*)*)\]\]")
_REMINDER = re.compile(r"<system-reminder>.*?</system-reminder>", re.DOTALL)
_COMPACT = "summary of the conversation"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One answer of the model.

    Attributes:
        blocks: Its content.
        delay_s: How long the model thinks before the first byte.
        status: HTTP status; anything but 200 is an API error.
        failures: How many times the error is given before the answer; None: always.
    """

    blocks: tuple[Json, ...]
    delay_s: float = 0.0
    status: int = 200
    error: str = ""
    failures: int | None = None


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request to the model, times in Unix seconds.

    Attributes:
        session_id: The client's session.
        agent_id: The sub-agent that asked; empty for the main conversation.
        status: HTTP status of the answer.
        usage: The tokens that the answer told, by the API's names.
        tools: The tool calls that it ordered: id and name.
        results: What came back for earlier calls: id and whether it was an error.
        text: The newest message's text.
        answers: The texts of `results`.
    """

    session_id: str
    agent_id: str
    status: int
    received_s: float
    first_byte_s: float
    ended_s: float
    usage: Mapping[str, int] = field(default_factory=dict)
    tools: tuple[tuple[str, str], ...] = ()
    results: tuple[tuple[str, bool], ...] = ()
    text: str = ""
    answers: tuple[str, ...] = ()


def _text(text: str) -> Json:
    return {"type": "text", "text": text}


def _tool(name: str, **given: object) -> Json:
    return {"type": "tool_use", "name": name, "input": given}


def _bash(command: str, **given: object) -> Json:
    return _tool("Bash", command=command, description="run it", **given)


def _step(*blocks: Json, **more: Any) -> Step:
    return Step(blocks=blocks, **more)


def _agent(kind: str, script: str, **given: object) -> Json:
    return _tool(
        "Agent",
        description=f"sub {script}",
        prompt=f"[[{script}]] do it",
        subagent_type=kind,
        **given,
    )


_SCRIPTS: dict[str, Callable[[Mapping[str, str]], list[Step]]] = {
    "text": lambda _: [_step(_text("Hello."))],
    "slow": lambda given: [_step(_text("Slow."), delay_s=float(given["s"]))],
    "bash": lambda given: [
        _step(_bash(given.get("c", "echo hi")), delay_s=float(given.get("think", "0"))),
        _step(_text("done"), delay_s=float(given.get("think", "0"))),
    ],
    "tools": lambda given: [
        _step(
            _text("I write."), _tool("Write", file_path=given["dir"] + "/a.txt", content="a\nb\n")
        ),
        _step(_tool("Read", file_path=given["dir"] + "/a.txt")),
        _step(_tool("Edit", file_path=given["dir"] + "/a.txt", old_string="b", new_string="c")),
        _step(_text("Two at once."), _bash("sleep 0.3"), _bash("cat a.txt")),
        _step(_text("done")),
    ],
    "failures": lambda _: [
        _step(_bash("exit 3")),
        _step(_tool("Read", file_path="/does/not/exist")),
        _step(_tool("NoSuchTool", x=1)),
        _step(_text("done")),
    ],
    "question": lambda _: [
        _step(
            _tool(
                "AskUserQuestion",
                questions=[
                    {
                        "question": "Which colour?",
                        "header": "Colour",
                        "multiSelect": False,
                        "options": [
                            {"label": "red", "description": "like a rose"},
                            {"label": "blue", "description": "like the sky"},
                        ],
                    }
                ],
            )
        ),
        _step(_text("done")),
    ],
    "agent": lambda _: [
        _step(_text("Starting one."), _agent("general-purpose", "work")),
        _step(_text("started")),
        _step(_text("noted")),
    ],
    "agents": lambda _: [
        _step(_agent("general-purpose", "work"), _agent("Explore", "slow_work")),
        _step(_text("both started")),
        _step(_text("noted")),
    ],
    "nested": lambda _: [
        _step(_agent("general-purpose", "inner")),
        _step(_text("started")),
        _step(_text("noted")),
    ],
    "inner": lambda _: [_step(_agent("general-purpose", "work")), _step(_text("inner done"))],
    "work": lambda _: [_step(_bash("sleep 0.3")), _step(_text("work done"))],
    "slow_work": lambda _: [_step(_bash("sleep 0.6"), delay_s=0.5), _step(_text("slow done"))],
    "overloaded": lambda given: [
        _step(
            _text("recovered"),
            status=529,
            error="overloaded_error",
            failures=int(given.get("n", "1")),
        )
    ],
    "refused": lambda _: [_step(_text("never"), status=400, error="invalid_request_error")],
}


class ModelStub:
    """Serves until closed; `requests()` is what it was asked."""

    def __init__(self) -> None:
        self._requests: list[Request] = []
        self._failures: dict[tuple[str, str, int], int] = {}
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._server = ThreadingHTTPServer(
            ("127.0.0.1", 0), type("Handler", (_Handler,), {"stub": self})
        )
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        error_class: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """What the client takes for the API."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def requests(self, session_id: str | None = None) -> list[Request]:
        """What was asked so far, of one session or all."""
        with self._lock:
            return [
                request for request in self._requests if session_id in {None, request.session_id}
            ]

    def sessions(self) -> list[str]:
        """The sessions that asked, in the order of their first request."""
        return list(dict.fromkeys(request.session_id for request in self.requests()))

    def next_number(self) -> int:
        """Numbers that tell requests, answers and tool calls apart."""
        with self._lock:
            return next(self._numbers)

    def note(self, request: Request) -> None:
        """Keeps what was asked and answered."""
        with self._lock:
            self._requests.append(request)

    def fails(self, step: Step, session_id: str, script: str, number: int) -> bool:
        """Whether the step's error is still to be given."""
        if step.status == 200:
            return False
        key = (session_id, script, number)
        with self._lock:
            given = self._failures[key] = self._failures.get(key, 0) + 1
        return step.failures is None or given <= step.failures


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stub: ModelStub

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        pass

    def do_HEAD(self) -> None:
        self._json(404, {})

    do_GET = do_HEAD  # noqa: N815 - its name there

    def do_POST(self) -> None:
        received_s = time.time()
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        path = self.path.partition("?")[0]
        if path == "/v1/messages/count_tokens":
            self._json(200, {"input_tokens": 100})
        elif path == "/v1/messages":
            self._answer(body, received_s)
        else:
            self._json(404, {})

    def _answer(self, body: Json, received_s: float) -> None:
        session_id = self.headers.get("x-claude-code-session-id", "")
        script, number, step = _choose(body)
        if self.stub.fails(step, session_id, script, number):
            answer = {"type": step.error, "message": f"the script {script} says so"}
            self._json(step.status, {"type": "error", "error": answer})
            self._note(body, received_s, time.time(), step.status)
            return
        time.sleep(step.delay_s)  # the model's own time, part of the script
        message = _message(self.stub, body, step)
        first_byte_s = time.time()
        if body.get("stream"):
            self._stream(message)
        else:
            self._json(200, message)
        tools = tuple(
            (block["id"], block["name"])
            for block in message["content"]
            if block["type"] == "tool_use"
        )
        self._note(body, received_s, first_byte_s, 200, usage=message["usage"], tools=tools)

    def _note(
        self,
        body: Json,
        received_s: float,
        first_byte_s: float,
        status: int,
        **answer: Any,
    ) -> None:
        newest = body["messages"][-1]
        self.stub.note(
            Request(
                session_id=self.headers.get("x-claude-code-session-id", ""),
                agent_id=self.headers.get("x-claude-code-agent-id") or "",
                status=status,
                received_s=received_s,
                first_byte_s=first_byte_s,
                ended_s=time.time(),
                **answer,
                results=tuple(_results(newest)),
                text=_texts(newest),
                answers=tuple(_answers(newest)),
            )
        )

    def _json(self, status: int, answer: Json) -> None:
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.send_header("request-id", f"req_{self.stub.next_number()}")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _stream(self, message: Json) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.send_header("request-id", f"req_{self.stub.next_number()}")
        self.end_headers()
        try:
            for event in _events(message):
                told = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(told), told))
            self.wfile.write(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):  # the person interrupted the answer
            self.close_connection = True


def _choose(body: Json) -> tuple[str, int, Step]:
    """The script, how many answers it has given, and its next step."""
    answers = 0
    for message in reversed(body["messages"]):
        if message["role"] == "assistant":
            answers += 1
            continue
        text = _REMINDER.sub("", _texts(message)).strip()
        if "<task-notification>" in text:
            return "notification", answers, _step(_text("noted"))
        if _COMPACT in text:
            return "compact", answers, _step(_text("<summary>worked</summary>"), delay_s=0.5)
        words = list(_WORD.finditer(text))
        if words:
            name = words[-1][1]
            given = dict(part.split("=", 1) for part in words[-1][2].split("|") if "=" in part)
            steps = _SCRIPTS[name](given)
            return name, answers, steps[min(answers, len(steps) - 1)]
    return "other", answers, _step(_text("OK."))


def _message(stub: ModelStub, body: Json, step: Step) -> Json:
    number = stub.next_number()
    blocks = [
        {**block, "id": f"toolu_{stub.next_number():08d}"} if block["type"] == "tool_use" else block
        for block in step.blocks
    ]
    calls = any(block["type"] == "tool_use" for block in blocks)
    return {
        "id": f"msg_{time.time_ns()}_{number}",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": blocks,
        "stop_reason": "tool_use" if calls else "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 100 + number,
            "cache_creation_input_tokens": 50 + number,
            "cache_read_input_tokens": 1000 + number,
            "output_tokens": 10 + number,
        },
    }


def _events(message: Json) -> list[Json]:
    """A message as the API streams it."""
    begun = {
        **message,
        "content": [],
        "stop_reason": None,
        "usage": {**message["usage"], "output_tokens": 1},
    }
    events: list[Json] = [{"type": "message_start", "message": begun}]
    for index, block in enumerate(message["content"]):
        if block["type"] == "text":
            empty: Json = {"type": "text", "text": ""}
            delta: Json = {"type": "text_delta", "text": block["text"]}
        else:
            empty = {**block, "input": {}}
            delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        events += (
            {"type": "content_block_start", "index": index, "content_block": empty},
            {"type": "content_block_delta", "index": index, "delta": delta},
            {"type": "content_block_stop", "index": index},
        )
    delta = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    return [
        *events,
        {"type": "message_delta", "delta": delta, "usage": message["usage"]},
        {"type": "message_stop"},
    ]


def _texts(message: Json) -> str:
    content = message["content"]
    if isinstance(content, str):
        return content
    return "\n".join(block["text"] for block in content if block["type"] == "text")


def _results(message: Json) -> list[tuple[str, bool]]:
    content = message["content"]
    if isinstance(content, str):
        return []
    return [
        (block["tool_use_id"], bool(block.get("is_error")))
        for block in content
        if block["type"] == "tool_result"
    ]


def _answers(message: Json) -> list[str]:
    content = message["content"]
    if isinstance(content, str):
        return []
    told = [block["content"] for block in content if block["type"] == "tool_result"]
    return [part if isinstance(part, str) else json.dumps(part) for part in told]
