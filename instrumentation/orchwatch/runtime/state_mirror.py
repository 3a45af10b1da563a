"""A copy of a session's state in memory that follows what any process writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchwatch.runtime import state_paths
from orchwatch.runtime.state_reader import MISSING

if TYPE_CHECKING:
    from orchwatch.runtime.session_state import SessionStateManager
    from orchwatch.runtime.state_paths import Keys


class Mirror:
    """The state as one document, read once and then member by member.

    Attributes:
        document: The state; its objects have their members in the order of their names, as the
            file has.
        version: The version that it is of; -1 before the first `follow`.
    """

    def __init__(self, state: SessionStateManager) -> None:
        self._state = state
        self.document: dict[str, Any] = {}
        self.version = -1

    def follow(self) -> list[Keys]:
        """Take over what was written since the last call.

        Returns:
            The members that were written or removed, with all that is below them; `()` is all.

        Raises:
            StateError: The file cannot be read.
        """
        update = self._state.update(self.version)
        for keys, value in update.members:
            self._take(keys, value)
        self.version = update.version
        return [keys for keys, _ in update.members]

    def _take(self, keys: Keys, value: Any) -> None:
        if not keys:
            self.document = value
            return
        above = self.document
        for key in keys[:-1]:
            if key not in above:
                if value is MISSING:
                    return
                _insert(above, key, {})
            above = above[key]
        if value is MISSING:
            above.pop(keys[-1], None)
        elif keys[-1] in above:
            above[keys[-1]] = value
        else:
            _insert(above, keys[-1], value)


def _insert(members: dict[str, Any], name: str, value: Any) -> None:
    last = next(reversed(members), None)
    members[name] = value
    if last is not None and state_paths.order(last) > state_paths.order(name):
        ordered = sorted(members.items(), key=lambda item: state_paths.order(item[0]))
        members.clear()
        members.update(ordered)
