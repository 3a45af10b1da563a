"""What a machine keeps that has joined a fleet, and how its agent Collector is started from it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from orchwatch.diagnosis.fleet import machine
from orchwatch.diagnosis.fleet.gateway import Gateway
from orchwatch.errors import OrchwatchError, UsageError
from orchwatch.recording import files, stack_access
from orchwatch.recording.home import DIRECTORY_MODE, home

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# In the order in which the Collector reads them: the second holds what is different.
CONFIGS = ("collector/config.yaml", "collector/agent.yaml")

_JOINED = "joined.json"
_TOKEN = "token"  # noqa: S105 - a file's name
_CA = "ca.crt"
# Offsets and queues. They outlive `leave`: without them, the whole spool would be sent again.
_STATE = "state"
# The Collector's file_storage names it after its receiver.
_OFFSETS = "receiver_otlpjsonfile_operations"
_MAX_BYTES = 1024 * 1024
# Of any gateway, not only of one whose tokens are made here.
_MAX_TOKEN_LENGTH = 1024


@dataclass(frozen=True, kw_only=True)
class Membership:
    """A machine's place in a fleet.

    Attributes:
        url: The gateway's address.
        team: What its machines are grouped by; empty for none.
        own_ca: Whether the gateway's certificate is checked against the file that `join` was given.
    """

    url: str
    team: str
    own_ca: bool

    @property
    def gateway(self) -> Gateway:
        """Where it sends to."""
        return Gateway(url=self.url, ca=_path(_CA) if self.own_ca else "")

    def authorities(self) -> bytes:
        """The file that the gateway's certificate is checked against, empty for the system's.

        Raises:
            OrchwatchError: It cannot be read.
        """
        return read_authorities(_path(_CA)) if self.own_ca else b""


def checked_token(token: str) -> str:
    """A token without the space around it, if it can be one.

    Raises:
        UsageError: It cannot.
    """
    token = token.strip()
    if not token or len(token) > _MAX_TOKEN_LENGTH or not token.isascii() or len(token.split()) > 1:
        raise UsageError(
            "the token must be one word of ASCII, as orchwatch fleet token add says it"
        )
    if not token.isprintable():
        raise UsageError("the token must be printable")
    return token


def read() -> Membership | None:
    """This machine's, None if it has joined no fleet.

    Raises:
        OrchwatchError: Its file is broken.
    """
    path = _path(_JOINED)
    try:
        found = json.loads(files.read(path, _MAX_BYTES))
        return Membership(
            url=str(found["url"]), team=str(found["team"]), own_ca=bool(found["own_ca"])
        )
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OrchwatchError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise OrchwatchError(f"{path}: is broken; orchwatch fleet join writes it anew") from error


def token() -> str:
    """The token that this machine shows.

    Raises:
        OrchwatchError: Its file is missing or cannot be read.
    """
    path = _path(_TOKEN)
    try:
        # The Collector, too, takes the first line.
        first, _, _ = files.read(path, _MAX_BYTES, links=False).decode("ascii").partition("\n")
        return checked_token(first)
    except (OSError, UnicodeDecodeError, UsageError) as error:
        reason = error.strerror if isinstance(error, OSError) else "holds no token"
        raise OrchwatchError(f"{path}: {reason}; orchwatch fleet join writes it anew") from error


def read_authorities(path: str) -> bytes:
    """A file with the authorities of a gateway's certificate.

    Raises:
        OrchwatchError: It cannot be read.
    """
    try:
        return files.read(path, _MAX_BYTES)
    except OSError as error:
        raise OrchwatchError(f"{path}: cannot be read: {error.strerror}") from error


def write(membership: Membership, *, token: str, authorities: bytes) -> None:
    """Keeps it; an agent that runs takes a new token at once.

    Args:
        membership: What is to be kept.
        token: What to show from now on.
        authorities: The file of authorities, where it has its own.

    Raises:
        OrchwatchError: Something cannot be written, or an agent runs that would show the token to
            another gateway.
    """
    with _changing():
        if agent_runs() and not _is_kept(membership, authorities):
            raise OrchwatchError(
                "the agent that runs sends as it was started: end it before what it is to send,"
                " and where, becomes another"
            )
        _keep(
            {
                **({_CA: authorities} if membership.own_ca else {}),
                _TOKEN: f"{token}\n".encode(),
                # Last: before it, the machine has not joined.
                _JOINED: f"{json.dumps(asdict(membership))}\n".encode(),
            }
        )


def _is_kept(membership: Membership, authorities: bytes) -> bool:
    try:
        return read() == membership and membership.authorities() == authorities
    except OrchwatchError:
        return False


def _keep(texts: Mapping[str, bytes]) -> None:
    """Writes each, in this order.

    Raises:
        OrchwatchError: Something cannot be written.
    """
    for name, text in texts.items():
        path = _path(name)
        try:
            os.makedirs(os.path.dirname(path), DIRECTORY_MODE, exist_ok=True)
            files.replace(path, text)
        except OSError as error:
            raise OrchwatchError(f"{path}: cannot be written: {error.strerror}") from error


def leave() -> bool:
    """Removes what joining and running wrote; keeps the id, and how far the spool was read.

    Returns:
        Whether there was anything.

    Raises:
        OrchwatchError: Something cannot be removed, or the agent runs.
    """
    if not os.path.isdir(machine.directory()):
        return False
    with _changing():
        if agent_runs():
            raise OrchwatchError("the agent runs and would go on sending; end it before you leave")
        return _forget()


def _forget() -> bool:
    joined = False
    for name in (_JOINED, _TOKEN, _CA, *CONFIGS):
        path = _path(name)
        try:
            os.unlink(path)
            joined = True
        except FileNotFoundError:
            continue
        except OSError as error:
            raise OrchwatchError(f"{path}: cannot be removed: {error.strerror}") from error
    with contextlib.suppress(OSError):
        os.rmdir(_path("collector"))
    return joined


@contextlib.contextmanager
def _changing() -> Iterator[None]:
    """What two commands at once would leave: one's gateway with the other's token."""
    path = machine.directory()
    try:
        os.makedirs(path, DIRECTORY_MODE, exist_ok=True)
        lock = files.directory(path)
    except OSError as error:
        raise OrchwatchError(f"{path}: cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def agent_runs() -> bool:
    """Whether an agent follows this spool: it locks the file with how far it has read."""
    try:
        with files.reader(os.path.join(_path(_STATE), _OFFSETS)) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def agent_command(
    membership: Membership, collector: str, configs: Mapping[str, str]
) -> tuple[list[str], dict[str, str]]:
    """How the agent is started from `ORCHWATCH_HOME`: its command and its environment.

    Paths are seen from there: a `$`, `*` or `: ` in the home's own path would mean something.

    Args:
        membership: Where it is to send.
        collector: The Collector's program.
        configs: The text of each of `CONFIGS`, which are written anew.

    Raises:
        OrchwatchError: A directory, a secret or a file cannot be made.
    """
    for path in (os.path.join(home(), "spool"), _path(_STATE)):
        try:
            os.makedirs(path, DIRECTORY_MODE, exist_ok=True)
        except OSError as error:
            raise OrchwatchError(f"{path}: cannot be made: {error.strerror}") from error
    stack_access.make()
    _keep({name: configs[name].encode() for name in CONFIGS})
    words = [collector, *(f"--config={_relative(name)}" for name in CONFIGS)]
    # What the shell says of OTEL_* is meant for the programs that are watched.
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("OTEL_")}
    return words, {
        **inherited,
        "ORCHWATCH_HOME": home(),
        "ORCHWATCH_SPOOL_DIR": "spool",
        "ORCHWATCH_COLLECTOR_STATE_DIR": _relative(_STATE),
        "ORCHWATCH_ACCESS_DIR": os.path.relpath(stack_access.directory(), home()),
        "ORCHWATCH_GATEWAY_URL": membership.url,
        "ORCHWATCH_GATEWAY_CA": _relative(_CA) if membership.own_ca else "",
        "ORCHWATCH_GATEWAY_TOKEN_FILE": _relative(_TOKEN),
        "ORCHWATCH_HOST_ID": machine.machine_id(),
        "ORCHWATCH_HOST_NAME": machine.host_name(),
        "ORCHWATCH_TEAM": membership.team,
    }


def _path(name: str) -> str:
    return os.path.join(machine.directory(), name)


def _relative(name: str) -> str:
    return os.path.relpath(_path(name), home())
