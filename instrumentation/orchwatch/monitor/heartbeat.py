"""The health check of the monitor process, for supervisors: endpoint and client."""

from __future__ import annotations

import http.client
import math
import time
from http import HTTPStatus

from orchwatch.agents.claude_code.settings import registration
from orchwatch.monitor.route import Response, Route

PATH = "/-/healthy"

# A round takes milliseconds; what has to be caught up on after a long time, seconds.
_STUCK_S = 60.0
_TIMEOUT_S = 5.0
_KIND = "text/plain; charset=utf-8"


class Heartbeat:
    """When the process last completed a round over everything that it follows."""

    def __init__(self) -> None:
        self._at_s = -math.inf

    def beat(self) -> None:
        """Records a completed round."""
        self._at_s = time.monotonic()

    def route(self) -> Route:
        """The route of the health check; open to every user of this machine."""
        return Route(method="GET", take=lambda _: self.answer())

    def answer(self) -> Response:
        """200 where the process keeps up, 503 otherwise; may be called from any thread."""
        silent_s = time.monotonic() - self._at_s
        if silent_s <= _STUCK_S:
            return Response(body=b"it follows\n", kind=_KIND)
        why = f"no round for {silent_s:.0f} s" if math.isfinite(silent_s) else "it is starting"
        return Response("503 Service Unavailable", f"{why}\n".encode(), _KIND)


def ask() -> tuple[bool, str]:
    """Whether the monitor on this machine follows, and one line that says so."""
    port = registration.monitor_port()
    address = f"{registration.MONITOR_HOST}:{port}"
    connection = http.client.HTTPConnection(registration.MONITOR_HOST, port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", PATH)
        answer = connection.getresponse()
        said = answer.read(200).decode("utf-8", "replace").strip()
    except OSError as error:
        why = error.strerror or str(error)
        return False, f"no monitor answers at {address}: {why}"
    except http.client.HTTPException:
        return False, f"the server at {address} is not an orchwatch monitor"
    finally:
        connection.close()
    is_well = answer.status == HTTPStatus.OK and answer.getheader("Content-Type") == _KIND
    return is_well, f"monitor at {address}: {said or answer.status}"
