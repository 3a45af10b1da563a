"""A secret that two programs of one user share: a file of one line of hexadecimal digits."""

from __future__ import annotations

import os
import secrets

from orchwatch.errors import OrchwatchError
from orchwatch.recording import files
from orchwatch.recording.home import DIRECTORY_MODE

_SECRET_BYTES = 32
_MAX_BYTES = 4096


class SecretError(OrchwatchError):
    """A secret that cannot be read or written; the message names its file."""


def read(path: str) -> str | None:
    """The secret, None if it does not exist yet.

    Raises:
        SecretError: Its file cannot be read, or is empty.
    """
    try:
        secret = files.read(path, _MAX_BYTES, links=False).decode("ascii").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SecretError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SecretError(f"{path}: is not a secret of ours") from error
    if not secret:
        raise SecretError(
            f"{path}: is empty; remove it, then install or restart the program that sends it"
        )
    return secret


def make(path: str, size: int = _SECRET_BYTES) -> str:
    """The secret, created if it does not exist, readable by the user only.

    Args:
        path: Its file.
        size: Of a new one, in bytes.

    Raises:
        SecretError: Its file cannot be read or written.
    """
    secret = read(path)
    if secret:
        return secret
    secret = secrets.token_hex(size)
    unnamed = f"{path}.{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(path), DIRECTORY_MODE, exist_ok=True)
        file = files.create(unnamed)
        try:
            files.write_all(file, f"{secret}\n".encode())
        finally:
            os.close(file)
        try:
            os.link(unnamed, path)  # the first one wins, and no reader sees a part of it
        except FileExistsError:
            pass
        finally:
            os.unlink(unnamed)
    except OSError as error:
        raise SecretError(f"{path}: cannot be written: {error.strerror}") from error
    return read(path) or secret
