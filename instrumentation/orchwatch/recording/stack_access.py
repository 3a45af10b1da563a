"""Credentials of the stack's servers: a password, or a path that cannot be guessed.

A web page in the user's browser can reach every server on loopback, even by a name of its own (DNS
rebinding), but it does not know these credentials. Prometheus, Alertmanager and the Collector's
OTLP over HTTP require the user `orchwatch` and a password (basic authentication). Tempo and the
Collector's health check have no authentication, so their paths begin with a secret.

Both are created once, below `ORCHWATCH_HOME`, readable by the user only;
`python -m orchwatch.recording.stack_access` creates them, and from them the files that each server
and each client reads.
"""

from __future__ import annotations

import base64
import ctypes
import os
import secrets
import sys
from typing import Final
from urllib.parse import quote, urlsplit

from orchwatch.errors import OrchwatchError
from orchwatch.recording import files, secret_file
from orchwatch.recording.home import DIRECTORY_MODE, home
from orchwatch.recording.safe_text import safe

USER: Final = "orchwatch"

_PASSWORD: Final = "password"  # noqa: S105 - a file's name
_PATH: Final = "path-secret"
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")

# The system's libcrypt, as distributions name it; None stands for musl, whose libc contains it.
_LIBCRYPT: Final = ("libcrypt.so.2", "libcrypt.so.1", None)
_BCRYPT_ALPHABET: Final = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_SALT_LENGTH: Final = 22
_MAX_MESSAGE_COLUMNS: Final = 2000
# The minimum: slow hashes protect passwords that can be guessed, and this one cannot be.
_COST: Final = "$2b$04$"

# Read by Prometheus' and Alertmanager's --web.config.file. No page needs to embed theirs.
_WEB_CONFIG: Final = """\
basic_auth_users:
  {user}: {hash}
http_server_config:
  headers:
    X-Content-Type-Options: nosniff
    X-Frame-Options: deny
"""
# Read by --http.config.file of promtool and amtool.
_CLIENT_CONFIG: Final = """\
basic_auth:
  username: {user}
  password: {password}
"""


def directory() -> str:
    """The directory of all these files."""
    return os.path.join(home(), "stack", "access")


def authorization() -> str | None:
    """The value of the header `Authorization`, None if no stack has run yet."""
    password = _read(_PASSWORD)
    return None if password is None else _basic(password)


def authorization_for(url: str) -> str | None:
    """The same for a server on loopback; None for any other, which must not get it."""
    try:
        host = urlsplit(url).hostname
    except ValueError:
        return None
    return authorization() if host in _LOOPBACK else None


def below_path(url: str) -> str:
    """An address on loopback with the secret path; one with a path of its own stays as it is."""
    try:
        parts = urlsplit(url)
        own = parts.hostname in _LOOPBACK and parts.path in ("", "/")
    except ValueError:
        return url
    return url.rstrip("/") + _path() if own else url


def without_secret(text: str) -> str:
    """The text without the secret path, for display."""
    path = _path()
    return text.replace(path, "") if path else text


def make() -> None:
    """Creates missing secrets, and rewrites the files derived from them.

    Raises:
        OrchwatchError: A file cannot be read or written, or the system cannot hash a password.
    """
    where = directory()
    _make_directories(where)
    password = secret_file.make(os.path.join(where, _PASSWORD))
    secret = secret_file.make(os.path.join(where, _PATH))
    basic = _basic(password)
    for name, text in {
        # Without a newline: these two are included in values of configurations.
        "authorization": basic,
        "path": f"/{secret}",
        # For OTEL_EXPORTER_OTLP_HEADERS.
        "otlp-headers": f"Authorization={quote(basic, safe='')}\n",
        "htpasswd": f"{USER}:{password}\n",
        "web.yml": _WEB_CONFIG.format(user=USER, hash=_bcrypt(password)),
        "client.yml": _CLIENT_CONFIG.format(user=USER, password=password),
    }.items():
        _write(os.path.join(where, name), text)


def main() -> int:
    """Creates all of it for `ORCHWATCH_HOME`; on failure one line on stderr and exit code 1."""
    try:
        make()
    except OrchwatchError as error:
        sys.stderr.write(f"error: {safe(str(error), _MAX_MESSAGE_COLUMNS)}\n")
        return 1
    return 0


def _path() -> str:
    secret = _read(_PATH)
    return f"/{secret}" if secret else ""


def _read(name: str) -> str | None:
    """A secret that cannot be read counts as missing: the server then refuses the request."""
    try:
        return secret_file.read(os.path.join(directory(), name))
    except secret_file.SecretError:
        return None


def _basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"{USER}:{password}".encode()).decode()


def _bcrypt(password: str) -> str:
    """A bcrypt hash, the only kind that these servers accept, made by the system's libcrypt."""
    *digits, last = (secrets.choice(_BCRYPT_ALPHABET) for _ in range(_SALT_LENGTH))
    # 128 bits in 22 digits of 6: of the last one only two bits count, and the others must be 0.
    last = _BCRYPT_ALPHABET[_BCRYPT_ALPHABET.index(last) // 16 * 16]
    setting = f"{_COST}{''.join(digits)}{last}"
    for name in _LIBCRYPT:
        try:
            crypt = ctypes.CDLL(name).crypt
        except (OSError, AttributeError):
            continue
        crypt.restype = ctypes.c_char_p
        hashed: bytes | None = crypt(password.encode(), setting.encode())
        if hashed is not None and hashed.startswith(setting.encode()):
            return hashed.decode()
    raise OrchwatchError("no bcrypt on this system: install libcrypt (libxcrypt)")


def _make_directories(path: str) -> None:
    """All directories private: `makedirs` sets the mode of the last one only."""
    try:
        for one in (home(), os.path.dirname(path), path):
            os.makedirs(one, DIRECTORY_MODE, exist_ok=True)
    except OSError as error:
        raise OrchwatchError(f"{path}: cannot be made: {error.strerror}") from error


def _write(path: str, text: str) -> None:
    """Replaces the file atomically: a server may be reading it."""
    try:
        files.replace(path, text.encode())
    except OSError as error:
        raise OrchwatchError(f"{path}: cannot be written: {error.strerror}") from error


if __name__ == "__main__":
    sys.exit(main())
