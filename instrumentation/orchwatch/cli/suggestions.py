"""What a misspelt word may have been meant to be."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# How alike two words are that differ by a slip: 1 is the same.
_SIMILAR = 0.6
_MAX_KNOWN = 10_000


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean current?`, or nothing."""
    import difflib  # noqa: PLC0415 - only who errs pays for it

    similar = difflib.get_close_matches(word, list(known)[:_MAX_KNOWN], n=1, cutoff=_SIMILAR)
    return f"did you mean {similar[0]}?" if similar else ""
