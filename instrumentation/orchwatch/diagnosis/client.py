"""Questions to a server over HTTP, answered in JSON or by one clear error."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from http import HTTPStatus
from typing import Any

from orchwatch.diagnosis import native_stack
from orchwatch.errors import OrchwatchError
from orchwatch.recording import stack_access

TIMEOUT_S = 30.0
_QUICK_TIMEOUT_S = 2.0
_MAX_ATTEMPTS = 4
_RETRY_INTERVAL_S = 0.5

# Loopback needs no proxy, whatever the shell says.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def request(url: str) -> urllib.request.Request:
    """A request for JSON, with the credentials that the stack's servers on loopback require.

    Raises:
        ValueError: The address is invalid.
    """
    headers = {"Accept": "application/json"}
    authorization = stack_access.authorization_for(url)
    if authorization:
        headers["Authorization"] = authorization
    return urllib.request.Request(url, headers=headers)  # noqa: S310 - the user names the server


def read(url: str, *, timeout_s: float) -> bytes:
    """The body of a successful response.

    Raises:
        OSError: It cannot be reached, or answers with an error.
    """
    with _OPENER.open(request(url), timeout=timeout_s) as answer:
        content: bytes = answer.read()
    return content


def get_json(title: str, root: str, path: str, **parameters: str) -> Any:
    """The answer, or None where the server knows no such thing.

    Args:
        title: What a person calls the server, for errors.
        root: The root of its HTTP interface.
        path: What is asked for.
        **parameters: The query.

    Raises:
        OrchwatchError: It cannot be reached, is another server, or keeps failing.
    """
    query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
    try:
        asked = request(root.rstrip("/") + path + query)
    except ValueError as error:
        raise OrchwatchError(f"{root!r} is no URL; {_say_where(title)}") from error
    root = stack_access.without_secret(root)
    failure = foreign(title, root)
    for attempt in range(_MAX_ATTEMPTS):
        if attempt:
            time.sleep(_RETRY_INTERVAL_S)
        try:
            with _OPENER.open(asked, timeout=TIMEOUT_S) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code == HTTPStatus.NOT_FOUND:
                return None
            said = error.read(200).decode("utf-8", "replace").strip()
            failure = OrchwatchError(f"{title} at {root} answers {error.code}: {said}")
            if error.code < HTTPStatus.INTERNAL_SERVER_ERROR:
                break
        except urllib.error.URLError as error:
            raise _unreachable(title, root, error.reason) from error
        except OSError as error:
            failure = OrchwatchError(f"{title} at {root} gives no answer: {error}")
        except (ValueError, http.client.HTTPException):
            failure = foreign(title, root)
    raise failure


def foreign(title: str, root: str) -> OrchwatchError:
    """The error for a foreign server at the address."""
    where = stack_access.without_secret(root)
    return OrchwatchError(f"the server at {where} is not {title}; {_say_where(title)}")


def answers(url: str) -> bool:
    """Whether the address itself, without redirections, responds with success."""
    try:
        read(url, timeout_s=_QUICK_TIMEOUT_S)
    except (OSError, http.client.HTTPException):
        return False
    return True


def _unreachable(title: str, root: str, reason: object) -> OrchwatchError:
    said = reason.strerror if isinstance(reason, OSError) and reason.strerror else reason
    return OrchwatchError(
        f"{title} does not answer at {root} ({said}); start it: {native_stack.start()}; or"
        f" {_say_where(title)}"
    )


def _say_where(title: str) -> str:
    return f"ORCHWATCH_{title.upper()}_URL or --{title.lower()}-url says where it is"
