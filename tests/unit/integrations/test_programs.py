"""Real programs of the kinds that people have: nothing of theirs is edited."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Spans = Callable[[], list[dict[str, Any]]]

pytestmark = pytest.mark.usefixtures("home")

RUN = [sys.executable, "-m", "orchwatch.cli", "run", "--"]
LIMIT_S = 90.0


@pytest.fixture
def work(home: Path) -> Path:
    return home.parent / "work"


def table(work: Path, **callables: str) -> None:
    lines = [f'"{target.replace("__", ":")}" = "{name}"' for target, name in callables.items()]
    (work / "orchwatch.toml").write_text("\n".join(["[instrument]", *lines]))


def run(*words: str) -> tuple[str, str]:
    ended = subprocess.run(
        [*RUN, *words], check=True, capture_output=True, text=True, timeout=LIMIT_S
    )
    return ended.stdout, ended.stderr


def names(spans: Spans) -> list[str]:
    return sorted(span["name"] for span in spans())


CLICK = """\
import click

@click.group()
def cli():
    pass

@cli.command()
@click.option("--count", default=1)
def query(count):
    "Queries."
    click.echo(f"{count} rows")

@cli.command(name="save-all")
@click.pass_context
def save(context):
    context.invoke(query, count=2)

if __name__ == "__main__":
    cli()
"""


@pytest.mark.parametrize("words", [["tool.py"], ["-m", "tool"], ["-c", "import tool; tool.cli()"]])
def test_commands_of_click(work: Path, spans: Spans, words: list[str]) -> None:
    (work / "tool.py").write_text(CLICK)
    table(work, tool__query="state.query", tool__save="state.persist")
    assert run(sys.executable, *words, "save-all") == ("2 rows\n", "")
    assert run(sys.executable, *words, "query", "--count", "5") == ("5 rows\n", "")
    assert names(spans) == [*["command.run"] * 2, "state.persist", *["state.query"] * 2]


def test_a_command_of_click_that_is_imported_before_it_is_watched(work: Path, spans: Spans) -> None:
    (work / "tool.py").write_text(CLICK)
    program = (
        "import tool\nfrom orchwatch import OrchestrationInstrumentor\n"
        "OrchestrationInstrumentor().instrument(callables={'tool:query': 'state.query'})\n"
        "tool.cli()\n"
    )
    words = [sys.executable, "-c", program, "query"]
    ended = subprocess.run(words, check=True, capture_output=True, text=True, timeout=LIMIT_S)
    assert (ended.stdout, ended.stderr) == ("1 rows\n", "")
    assert names(spans) == ["state.query"]


GRAPH = """\
import asyncio
from typing import TypedDict

from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langgraph.graph import END, START, StateGraph

class State(TypedDict):
    text: str

def plan(state: State) -> State:
    return {"text": state["text"] + model.invoke("plan").content}

async def act(state: State) -> State:
    return {"text": state["text"] + (await model.ainvoke("act")).content}

model = FakeListChatModel(responses=["a", "b", "c", "d"])
builder = StateGraph(State)
builder.add_node("plan", plan)
builder.add_node("act", act)
builder.add_edge(START, "plan")
builder.add_edge("plan", "act")
builder.add_edge("act", END)
graph = builder.compile()
"""


@pytest.mark.parametrize("imported", ["before", "after"])
def test_nodes_of_a_compiled_langgraph(work: Path, spans: Spans, imported: str) -> None:
    (work / "flow.py").write_text(GRAPH)
    lines = [
        "import asyncio, flow" if imported == "before" else "",
        "from orchwatch import OrchestrationInstrumentor",
        "OrchestrationInstrumentor().instrument()",
        "import asyncio, flow",
        "print(asyncio.run(flow.graph.ainvoke({'text': ''})))",
    ]
    table(work, flow__plan="agent.plan", flow__act="agent.act")
    words = [sys.executable, "-c", "\n".join(lines)]
    ended = subprocess.run(words, check=True, capture_output=True, text=True, timeout=LIMIT_S)
    assert ended.stdout == "{'text': 'ab'}\n"
    assert names(spans) == ["agent.act", "agent.plan"]


CAPTURED = """\
import functools
from lib import direct, direct as renamed
import lib

class Worker:
    def __init__(self):
        self.call = lib.Store().get

calls = [direct, renamed, lib.REGISTRY["direct"], functools.partial(direct), Worker().call,
         lib.decorated, lib.cached]

def activate():
    from orchwatch import OrchestrationInstrumentor
    OrchestrationInstrumentor().instrument()

activate()
print([call() for call in calls])
"""
LIB = """\
import functools

def plain(function):
    def wrapper(*args):
        return function(*args)
    return wrapper

def direct():
    return "direct"

@plain
def decorated():
    return "decorated"

@functools.lru_cache
def cached():
    return "cached"

class Store:
    def get(self):
        return "get"

REGISTRY = {"direct": direct}
"""


def test_whatever_was_captured_before_it_is_watched(work: Path, spans: Spans) -> None:
    (work / "lib.py").write_text(LIB)
    (work / "main.py").write_text(CAPTURED)
    targets = {"direct": "d", "Store.get": "g", "decorated": "w", "cached": "c"}
    table(work, **{f"lib:{path}": name for path, name in targets.items()})
    words = [sys.executable, "main.py"]
    ended = subprocess.run(words, check=True, capture_output=True, text=True, timeout=LIMIT_S)
    assert (ended.stdout.count("direct"), ended.stderr) == (4, "")
    assert names(spans) == ["c", "d", "d", "d", "d", "g", "w"]


FASTAPI = """\
import os
from fastapi import Depends, FastAPI

app = FastAPI()

def settings():
    yield "settings"

@app.get("/rows/{number}")
def rows(number: int, found: str = Depends(settings)):
    return {"number": number, "found": found, "pid": os.getpid()}

@app.get("/later")
async def later():
    return {"pid": os.getpid()}
"""
HTTP_SERVER = """\
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        answer()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"fine")
    def log_message(self, *_):
        pass

def prepare():
    pass

def answer():
    pass

if __name__ == "__main__":
    prepare()
    server = HTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
"""
ASYNCIO_SERVER = """\
import asyncio

async def answer(reader, writer):
    await reader.readuntil(b"\\r\\n\\r\\n")
    writer.write(b"HTTP/1.0 200 OK\\r\\n\\r\\nfine")
    await writer.drain()
    writer.close()

def prepare():
    pass

async def main():
    prepare()
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


@pytest.fixture
def serve(work: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a service; what it starts is in its process group, and ends with it."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            words,
            cwd=work,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={**os.environ, **environment},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def get(address: str) -> str:
    with urllib.request.urlopen(address, timeout=LIMIT_S) as answer:
        return str(answer.read().decode())


def accepting(address: str) -> None:
    """Returns once the server listens: it says that it has started a moment before."""
    parts = urlsplit(address)
    deadline_s = time.monotonic() + LIMIT_S
    while True:
        try:
            socket.create_connection((parts.hostname, parts.port), timeout=LIMIT_S).close()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        else:
            return


def stop(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGTERM)
    return process.communicate(timeout=LIMIT_S)[0]


def assert_a_trace_each(spans: Spans, name: str, number: int) -> None:
    """Each request has a trace of its own, linked to the run."""
    written = spans()
    (command,) = [span for span in written if span["name"] == "command.run"]
    requests = [span for span in written if span["name"] == name]
    assert len({span["traceId"] for span in requests} - {command["traceId"]}) == number
    for span in requests:
        assert "parentSpanId" not in span
        (link,) = span["links"]
        assert (link["traceId"], link["spanId"]) == (command["traceId"], command["spanId"])


@pytest.mark.parametrize("source", [HTTP_SERVER, ASYNCIO_SERVER], ids=["http.server", "asyncio"])
def test_a_service_starts_a_trace_for_each_request(
    work: Path, spans: Spans, serve: Callable[..., subprocess.Popen[str]], source: str
) -> None:
    (work / "server.py").write_text(source)
    table(work, server__answer="answer", server__prepare="prepare")
    process = serve(*RUN, sys.executable, "server.py")
    assert process.stdout is not None
    address = f"http://127.0.0.1:{int(process.stdout.readline())}/"
    assert [get(address) for _ in range(3)] == ["fine"] * 3
    stop(process)
    assert_a_trace_each(spans, "answer", 3)
    # What it does before it listens is a part of the run.
    (before,) = [span for span in spans() if span["name"] == "prepare"]
    (command,) = [span for span in spans() if span["name"] == "command.run"]
    assert before["parentSpanId"] == command["spanId"]


@pytest.mark.parametrize("under", ["run", "opentelemetry-instrument"])
def test_endpoints_of_fastapi_under_uvicorn_with_two_workers(
    work: Path, spans: Spans, serve: Callable[..., subprocess.Popen[str]], under: str
) -> None:
    (work / "api.py").write_text(FASTAPI)
    table(work, api__rows="state.query", api__later="event.process", api__settings="settings")
    before = RUN if under == "run" else [os.path.join(os.path.dirname(sys.executable), under)]
    words = ["-m", "uvicorn", "api:app", "--workers", "2", "--port", "0", "--no-access-log"]
    process = serve(*before, sys.executable, *words)
    assert process.stdout is not None
    address = ""
    started = 0
    while started < 2 or not address:
        line = process.stdout.readline()
        assert line, "the server has ended"
        started += "Application startup complete" in line
        if "running on" in line:
            address = line.partition("running on ")[2].split()[0]
    accepting(address)
    pids = {get(f"{address}/rows/{number}").rpartition('"pid":')[2] for number in range(20)}
    assert get(f"{address}/later")
    stop(process)
    written = names(spans)
    assert (written.count("state.query"), written.count("event.process")) == (20, 1)
    assert written.count("settings") == 20
    assert pids
    if under == "run":
        assert_a_trace_each(spans, "state.query", 20)


def test_a_short_program_that_only_connects_stays_in_the_trace_of_its_run(
    work: Path, spans: Spans
) -> None:
    (work / "job.py").write_text(
        "import socket, subprocess, sys\n"
        "from multiprocessing.connection import Listener\n"
        "def step():\n    pass\n"
        "if __name__ == '__main__':\n"
        "    one, other = socket.socketpair()\n"
        "    listener = Listener()\n"
        "    step()\n"
    )
    table(work, job__step="step")
    run(sys.executable, "job.py")
    step, command = spans()
    assert step["parentSpanId"] == command["spanId"]
    assert "links" not in step
