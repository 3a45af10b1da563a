"""Whether this process is a service, that is, has a socket that accepts connections.

What runs under `orchwatch run` belongs to the run's trace. A service would turn that into one trace
that never ends, so each of its root operations starts its own, with a link to what started the
process. A process is a service from the moment it listens, on TCP or a Unix socket, and
so are the workers that it forks. How the socket was made does not matter (`asyncio`, `http.server`,
gunicorn's parent, uvloop, gRPC): the kernel is asked, as SO_ACCEPTCONN in socket(7) has it.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_DESCRIPTORS = "/dev/fd"
# The `stat` module's S_IFMT and S_IFSOCK.
_FORMAT_BITS, _SOCKET_FORMAT = 0o170000, 0o140000

# A check takes some 20 µs, so a program with many root operations that never listens is checked
# less and less often.
_ALWAYS_LOOK = 1000
_THEN_EVERY = 100

is_one = False
_looks = 0


def look() -> bool:
    """Whether the process is a service by now; once it is, it stays one."""
    global _looks, is_one  # noqa: PLW0603 - a process is one or not
    sockets = sys.modules.get("_socket")
    if is_one or sockets is None:  # without that module it has none
        return is_one
    _looks += 1
    if _looks < _ALWAYS_LOOK or not _looks % _THEN_EVERY:
        is_one = _listens(sockets)
    return is_one


def _listens(sockets: Any) -> bool:
    try:
        names = os.listdir(_DESCRIPTORS)
    except OSError:
        return False
    for name in names:
        try:
            descriptor = int(name)
            if os.fstat(descriptor).st_mode & _FORMAT_BITS == _SOCKET_FORMAT:
                # A copy: the host may close its own at any moment.
                copy = sockets.socket(fileno=os.dup(descriptor))
                try:
                    if _waits(sockets, copy):
                        return True
                finally:
                    copy.close()
        except (OSError, ValueError):
            continue
    return False


def _waits(sockets: Any, socket: Any) -> bool:
    if not socket.getsockopt(sockets.SOL_SOCKET, sockets.SO_ACCEPTCONN):
        return False
    address = socket.getsockname()
    # `multiprocessing` talks to its own processes over such: pymp-x/listener-x, \0listener-x, and
    # pymp-x/sock-x from Python 3.14 on.
    name = os.fsdecode(address) if isinstance(address, str | bytes) else ""
    directory, _, file = name.rpartition("/")
    own = file.lstrip("\0").startswith("listener-")
    return not (own or directory.rpartition("/")[2].startswith("pymp-"))
