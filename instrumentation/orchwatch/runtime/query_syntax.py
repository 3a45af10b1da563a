"""The part of JSONPath (RFC 9535) that most queries are made of, read without the library.

To import the library takes longer than to start Python and to answer. Whatever is not in this part
is left to it: so it alone decides what is JSONPath, and says what is wrong with what is none. The
part is `$`, then any of `.name`, `['name']`, `[0]`, `.*`, `[*]`, each also at any depth (`..name`),
and filters: `[?@.a.b == 'x' && (@.n > 3 || !@.c)]`.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as in `recording`: a process that asks one question pays for each import
if TYPE_CHECKING:
    from typing import Any

    from orchwatch.runtime.state_paths import Keys

    # Whether it looks at any depth, the kind of its selector, and that one's argument: a name, an
    # index, None or a test.
    Segment = tuple[bool, str, Any]
    # A kind and its parts: two tests, one, names, or names with an operator and a literal.
    Test = tuple[Any, ...]

NAME, INDEX, ALL, FILTER = "name", "index", "all", "filter"
AND, OR, NOT, EXISTS, COMPARES = "&&", "||", "!", "exists", "compares"

EQUALITIES = ("==", "!=")
# The longer first: each begins with another one.
_OPERATORS = (*EQUALITIES, "<=", ">=", "<", ">")
_WORDS = (("true", True), ("false", False), ("null", None))
_BLANKS = " \t\n\r"
_DIGITS = frozenset("0123456789")
_FIRST_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz")
_LETTERS = _FIRST_LETTERS | _DIGITS
# As many as a float holds exactly, and RFC 9535 allows.
_MAX_DIGITS = 15
_MAX_TESTS = 100


class _BeyondError(Exception):
    """It is for the library."""


def parsed(path: str) -> tuple[Segment, ...] | None:
    """The segments of a query; None where it is not all made of this part."""
    try:
        return tuple(_Source(path).segments())
    except _BeyondError:
        return None


class _Source:
    """A text, and how far it is read."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._tests = 0

    def segments(self) -> list[Segment]:
        self._expect("$")
        found: list[Segment] = []
        while self._at < len(self._text):
            deep = self._takes("..")
            if self._takes("["):
                kind, argument = self._bracketed()
            elif not deep and not self._takes("."):
                raise _BeyondError
            elif self._takes("*"):
                kind, argument = ALL, None
            else:
                kind, argument = NAME, self._name()
            found.append((deep, kind, argument))
        return found

    def _bracketed(self) -> tuple[str, Any]:
        self._skip_blanks()
        selector: tuple[str, Any]
        if self._takes("*"):
            selector = ALL, None
        elif self._takes("?"):
            selector = FILTER, self._either()
        elif self._next() in "'\"":
            selector = NAME, self._quoted()
        else:
            selector = INDEX, int(self._digits())
        self._skip_blanks()
        self._expect("]")
        return selector

    def _either(self) -> Test:
        found = self._both()
        return (OR, found, self._either()) if self._takes_operator("||") else found

    def _both(self) -> Test:
        found = self._one()
        return (AND, found, self._both()) if self._takes_operator("&&") else found

    def _one(self) -> Test:
        self._tests += 1
        if self._tests > _MAX_TESTS:
            raise _BeyondError
        self._skip_blanks()
        negated = self._takes("!")
        if negated:
            self._skip_blanks()
        if self._takes("("):
            found = self._either()
            self._skip_blanks()
            self._expect(")")
        else:
            self._expect("@")
            found = self._compared(self._names(), allowed=not negated)
        return (NOT, found) if negated else found

    def _compared(self, names: Keys, *, allowed: bool) -> Test:
        for operator in _OPERATORS if allowed else ():
            if self._takes_operator(operator):
                self._skip_blanks()
                return COMPARES, names, operator, self._literal(of_order=operator not in EQUALITIES)
        return EXISTS, names

    def _names(self) -> Keys:
        names = []
        while True:
            if self._takes("."):
                names.append(self._name())
            elif self._takes("["):
                self._skip_blanks()
                if self._next() not in "'\"":
                    raise _BeyondError
                names.append(self._quoted())
                self._skip_blanks()
                self._expect("]")
            else:
                return tuple(names)

    def _literal(self, *, of_order: bool) -> str | float | bool | None:
        if self._next() in "'\"":
            return self._quoted()
        for word, value in _WORDS:
            if not of_order and self._takes(word):
                return value
        whole = self._digits()
        if not self._takes("."):
            return int(whole)
        fraction = self._run(_DIGITS)
        if not fraction:
            raise _BeyondError
        return float(f"{whole}.{fraction}")

    def _digits(self) -> str:
        sign = "-" if self._takes("-") else ""
        digits = self._run(_DIGITS)
        if not 0 < len(digits) <= _MAX_DIGITS or (digits[0] == "0" and (sign or digits != "0")):
            raise _BeyondError
        return sign + digits

    def _name(self) -> str:
        if self._next() not in _FIRST_LETTERS:
            raise _BeyondError
        return self._run(_LETTERS)

    def _quoted(self) -> str:
        start = self._at + 1
        end = self._text.find(self._text[self._at], start)
        found = self._text[start:end]
        if end < 0 or "\\" in found or not found.isprintable():
            raise _BeyondError
        self._at = end + 1
        return found

    def _run(self, letters: frozenset[str]) -> str:
        start = self._at
        while self._at < len(self._text) and self._text[self._at] in letters:
            self._at += 1
        return self._text[start : self._at]

    def _next(self) -> str:
        if self._at == len(self._text):
            raise _BeyondError
        return self._text[self._at]

    def _takes_operator(self, word: str) -> bool:
        """As `_takes`, after blanks."""
        start = self._at
        self._skip_blanks()
        if self._takes(word):
            return True
        self._at = start
        return False

    def _takes(self, word: str) -> bool:
        if not self._text.startswith(word, self._at):
            return False
        self._at += len(word)
        return True

    def _expect(self, word: str) -> None:
        if not self._takes(word):
            raise _BeyondError

    def _skip_blanks(self) -> None:
        while self._at < len(self._text) and self._text[self._at] in _BLANKS:
            self._at += 1
