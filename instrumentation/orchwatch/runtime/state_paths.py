"""Paths into a session's state: which member is meant, and the key that its row has."""

from __future__ import annotations

from functools import lru_cache

from orchwatch.errors import OrchwatchError

TYPE_CHECKING = False  # as in `recording`: a process that asks one question pays for each import
if TYPE_CHECKING:
    from collections.abc import Sequence

    Path = str | Sequence[str]
    Keys = tuple[str, ...]

# Each name of a key begins with the separator, so that what lies below a member is one range of
# keys, in the order of the primary key.
SEPARATOR = "\x1f"
BEHIND = "\x20"
_ESCAPE = "\x1e"
MAX_DEPTH = 200
_REMEMBERED = 1024

_QUOTES = "'\""
_SIGNS = frozenset("[]'\"*?@")


class PathError(OrchwatchError):
    """A path names no member; the message names the path and the rule."""


def member(path: Path) -> tuple[Keys, str]:
    """A path's names and the key that the row has, from memory where the same was asked lately.

    Raises:
        PathError: As `parse`.
    """
    try:
        return _remembered(path) if type(path) in {str, tuple} else _member(path)
    except TypeError:  # not hashable, so no names
        return _member(path)


def _member(path: Path) -> tuple[Keys, str]:
    keys = parse(path)
    return keys, encode(keys)


_remembered = lru_cache(maxsize=_REMEMBERED)(_member)


def parse(path: Path) -> Keys:
    """The names that lead to a member, from the outside in; none for the whole state.

    Args:
        path: `$.tasks['a.b'].status`, the same without `$.`, or the names themselves, one by one.

    Raises:
        PathError: It is none of these, or has too many names.
    """
    if isinstance(path, str):
        keys = _parsed(path)
    else:
        keys = tuple(path)
        if not all(isinstance(key, str) for key in keys):
            raise PathError(f"{path!r} names no member of the state: each name must be a str")
    if len(keys) > MAX_DEPTH:
        raise PathError(f"a path of {len(keys)} names: the state is at most {MAX_DEPTH} deep")
    for key in keys:
        check_name(key)
    return keys


def shown(keys: Keys) -> str:
    """The path as a person reads it, and as `parse` takes it."""
    return "$" + "".join(f".{key}" if _is_plain(key) else f"['{_quoted(key)}']" for key in keys)


def encode(keys: Keys) -> str:
    """The row's key."""
    return "".join([SEPARATOR + _escaped(key) for key in keys])


def decode(key: str) -> Keys:
    """The names that a row's key stands for."""
    return tuple(map(decode_name, key.split(SEPARATOR)[1:]))


def decode_name(name: str) -> str:
    """One of the names in a row's key."""
    if _ESCAPE not in name:
        return name
    return name.replace(_ESCAPE + "1", SEPARATOR).replace(_ESCAPE + "0", _ESCAPE)


def order(name: str) -> str:
    """What the members of an object are in the order of, in the file and in what is read of it."""
    return _escaped(name)


def check_name(key: object) -> None:
    """Refuses what cannot be the name of a member.

    Raises:
        PathError: It is no str, or no Unicode text.
    """
    if not isinstance(key, str):
        raise PathError(f"{key!r} cannot name a member of the state: it must be a str")
    if not key.isascii():
        try:
            key.encode()
        except UnicodeEncodeError:
            raise PathError(f"{key!r} cannot name a member: half of a surrogate pair") from None


def _parsed(path: str) -> Keys:
    if not path:
        raise PathError("'' names no member of the state: '$' is all of it")
    rest = path.removeprefix("$")
    keys = []
    at = 0
    while at < len(rest):
        if rest[at] == "[":
            key, at = _bracketed(rest, at + 1)
        else:
            # The first name stands without a dot where there is no `$`.
            is_first = at == 0 and path == rest
            start = at if is_first else at + 1
            ends = [end for end in (rest.find(".", start), rest.find("[", start)) if end >= 0]
            key = rest[start : min(ends, default=len(rest))]
            is_name = key and (rest[at] == ".") is not is_first and _SIGNS.isdisjoint(key)
            at = start + len(key) if is_name else -1
        if at < 0:
            raise PathError(
                f"{path!r} names no member of the state: write names with dots between them, "
                "and ['…'] around a name that has a dot, a bracket or a sign of JSONPath"
            )
        keys.append(key)
    return tuple(keys)


def _bracketed(text: str, start: int) -> tuple[str, int]:
    """The name in quotes there, and where its bracket is behind; -1 where there is none."""
    quote = text[start : start + 1]
    letters: list[str] = []
    at = start + 1
    while quote and quote in _QUOTES and at < len(text):
        letter = text[at]
        if letter == quote:
            return "".join(letters), at + 2 if text.startswith("]", at + 1) else -1
        if letter == "\\" and text[at + 1 : at + 2] in (*_QUOTES, "\\"):
            at += 1
        letters.append(text[at])
        at += 1
    return "", -1


def _is_plain(key: str) -> bool:
    return not key.startswith("-") and key.replace("-", "").replace("_", "a").isalnum()


def _quoted(key: str) -> str:
    return key.replace("\\", "\\\\").replace("'", "\\'")


def _escaped(key: str) -> str:
    if _ESCAPE not in key and SEPARATOR not in key:
        return key
    return key.replace(_ESCAPE, _ESCAPE + "0").replace(SEPARATOR, _ESCAPE + "1")
