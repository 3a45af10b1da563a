"""A fleet's gateway, asked as its machines send to it: OTLP over HTTP, with a token."""

from __future__ import annotations

import http.client
import secrets
import ssl
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from orchwatch import semconv
from orchwatch.diagnosis import tempo
from orchwatch.errors import OrchwatchError, UsageError
from orchwatch.recording import otlp_json, stack_access

if TYPE_CHECKING:
    from collections.abc import Mapping

# What a check records; it has no target.
OPERATION = semconv.FLEET_JOIN

ARRIVES_WITHIN_S = 30.0

_ASK_EVERY_S = 0.5
_TIMEOUT_S = 10.0
_MAX_ANSWER_BYTES = 65536
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_REFUSED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_NOTHING = b'{"resourceSpans":[]}'


class TokenRefusedError(OrchwatchError):
    """The gateway does not take the token."""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One that ended just now, to be looked for where it should arrive.

    Attributes:
        trace_id: 32 hexadecimal digits.
        span_id: 16 hexadecimal digits.
        line: It as a line of OTLP/JSON.
    """

    trace_id: str
    span_id: str
    line: bytes

    @classmethod
    def now(cls, resource: Mapping[str, str]) -> Operation:
        """A new one, of a resource with these attributes."""
        trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
        now_ns = time.time_ns()
        span = otlp_json.encode_span(
            trace_id=trace_id,
            span_id=span_id,
            parent_span_id="",
            name=otlp_json.quote(OPERATION),
            start_ns=now_ns,
            end_ns=now_ns,
            attributes=otlp_json.encode_attributes({semconv.OPERATION_NAME: OPERATION}),
            status=otlp_json.STATUS_OK,
        )
        prefix = otlp_json.spans_prefix(otlp_json.encode_attributes(resource))
        line = otlp_json.to_bytes(f"{prefix}{span}{otlp_json.LINE_SUFFIX}")
        return cls(trace_id=trace_id, span_id=span_id, line=line)

    def arrives(self, tempo_url: str) -> bool:
        """Waits until a Tempo has it; whether it has within half a minute.

        Raises:
            OrchwatchError: Tempo cannot be reached, or is something else.
        """
        root = stack_access.below_path(tempo_url)
        now_s = int(time.time())
        deadline = time.monotonic() + ARRIVES_WITHIN_S
        wanted = {self.trace_id: [self.span_id]}
        while tempo.missing(root, wanted, start_s=now_s - 60, end_s=now_s + 60):
            if time.monotonic() > deadline:
                return False
            time.sleep(_ASK_EVERY_S)
        return True


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """Where a machine sends to.

    Attributes:
        url: The root of its OTLP over HTTP, without a slash at the end.
        ca: The file with the authorities that its certificate is checked against; empty: those that
            the system trusts.
    """

    url: str
    ca: str = ""

    def take_nothing(self, token: str) -> None:
        """Sends a request that holds nothing: is the gateway there, and does it take the token?

        Raises:
            OrchwatchError: It cannot be reached, or is something else.
            TokenRefusedError: It refuses the token.
        """
        self._post(token, _NOTHING)

    def take(self, token: str, operation: Operation) -> None:
        """Sends one operation.

        Raises:
            OrchwatchError: As for `take_nothing`.
        """
        self._post(token, operation.line)

    def _post(self, token: str, body: bytes) -> None:
        request = urllib.request.Request(  # noqa: S310 - https, or loopback: see `checked_url`
            f"{self.url}/v1/traces",
            body,
            {"Content-Type": "application/json", "Authorization": f"Bearer {token}"},
        )
        handlers = [urllib.request.HTTPSHandler(context=self._trusted()), _NoRedirect()]
        if self.url.startswith("http:"):
            # Loopback, which the agent reaches without one: a proxy would read the token.
            handlers.append(urllib.request.ProxyHandler({}))
        opener = urllib.request.build_opener(*handlers)
        try:
            with opener.open(request, timeout=_TIMEOUT_S) as answer:
                kind = answer.headers.get_content_type()
                answer.read(_MAX_ANSWER_BYTES)
        except urllib.error.HTTPError as error:
            with error:
                raise self._answered(error) from error
        except urllib.error.URLError as error:
            raise self._unreachable(error.reason) from error
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        except UnicodeError as error:
            raise OrchwatchError(f"{self.url}: is no name of a host") from error
        if kind != "application/json":
            raise OrchwatchError(f"{self.url}: the server there is no gateway of a fleet")

    def _trusted(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self.ca or None)
        except (OSError, ssl.SSLError) as error:
            raise OrchwatchError(f"{self.ca}: holds no certificate in PEM") from error

    def _answered(self, error: urllib.error.HTTPError) -> OrchwatchError:
        code = error.code
        # One that asks for a password wants no token.
        if code in _REFUSED and "WWW-Authenticate" not in error.headers:
            return TokenRefusedError(f"{self.url}: the gateway refuses the token")
        if code == HTTPStatus.SERVICE_UNAVAILABLE:
            return OrchwatchError(f"{self.url}: the gateway has no room at the moment; try again")
        return OrchwatchError(
            f"{self.url}: the server there is no gateway of a fleet: it answers {code}"
        )

    def _unreachable(self, reason: object) -> OrchwatchError:
        if isinstance(reason, ssl.SSLCertVerificationError):
            authorities = self.ca or "the authorities that the system trusts"
            return OrchwatchError(
                f"{self.url}: its certificate does not hold against {authorities}:"
                f" {reason.verify_message.rstrip('.')}; --ca names the file of its authority"
            )
        if isinstance(reason, ssl.SSLError):
            return OrchwatchError(f"{self.url}: the server there does not speak TLS")
        said = reason.strerror if isinstance(reason, OSError) and reason.strerror else reason
        return OrchwatchError(f"{self.url}: no gateway answers there ({said})")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """What another server would be shown is the token."""

    def redirect_request(self, *_: object) -> None:
        return None


def checked_url(url: str) -> str:
    """The address of a gateway without a slash at the end, if it is one.

    Raises:
        UsageError: It is none, or others could read the token on the way.
    """
    if "@" in url:
        raise UsageError("the gateway's address must hold neither user nor password")
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError(f"{url!r} is no URL: {error}") from error
    if (
        not host
        or parts.scheme not in ("http", "https")
        or "?" in url
        or "#" in url
        or not url.isascii()
        or not url.isprintable()
        or " " in url
        or "$" in url
    ):
        raise UsageError(f"{url!r}: must be an address like https://gateway.example.com:4318")
    if parts.scheme == "http" and host not in _LOOPBACK:
        raise UsageError(f"{url}: must begin with https, or others read the token on the way")
    return url.rstrip("/")
