"""Claude Code's `settings.json` as text: what orchwatch adds to it, and takes out again.

Everything here maps a text to a text; files are the business of `installation`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchwatch.agents.claude_code.settings import hook_wrapping, json_edit
from orchwatch.agents.claude_code.settings.registration import is_own
from orchwatch.errors import OrchwatchError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchwatch.agents.claude_code.settings.json_edit import Edit, Part
    from orchwatch.agents.claude_code.settings.registration import Entry

_EMPTY = "{}\n"
_HOOKS, _ENV = "hooks", "env"


class SettingsError(OrchwatchError):
    """Settings that cannot be read or changed; the message names the file or the key."""


@dataclass(frozen=True, kw_only=True)
class Additions:
    """What is to stand in the settings.

    Attributes:
        hooks: The hook to register, by event.
        wrap: Whether the user's own command hooks are measured too.
        env: Environment variables, set where the settings do not set them.
    """

    hooks: Mapping[str, Entry]
    wrap: bool = False
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def hold_a_secret(self) -> bool:
        """Whether only the owner may read the file that holds them."""
        return any("headers" in entry for entry in self.hooks.values())


@dataclass(frozen=True, kw_only=True)
class Removed:
    """Settings without what is ours.

    Attributes:
        text: The settings.
        hooks: How many of our hooks were in it.
        unwrapped: How many hooks were wrapped.
        env: The variables that were taken out.
    """

    text: str
    hooks: int
    unwrapped: int
    env: tuple[str, ...]

    @property
    def anything(self) -> bool:
        """Whether there was anything of ours."""
        return bool(self.hooks or self.unwrapped or self.env)


def parse(text: str) -> dict[str, Any]:
    """The settings; an empty file holds none.

    Raises:
        SettingsError: They are not a JSON object, or hold `hooks` or `env` of another shape.
    """
    if not text.strip():
        return {}
    try:
        value = json_edit.parse(text)
    except ValueError as error:
        raise SettingsError(f"is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise SettingsError("must hold a JSON object")
    for key in (_HOOKS, _ENV):
        if not isinstance(value.get(key, {}), dict):
            raise SettingsError(f"{key}: must be an object")
    for event, groups in value.get(_HOOKS, {}).items():
        if not isinstance(groups, list):
            raise SettingsError(f"{_HOOKS}.{event}: must be an array")
    return value


def add(text: str, additions: Additions) -> str:
    """The settings with the additions; none of ours may be in them yet.

    Raises:
        SettingsError: As `parse` does.
    """
    parse(text)
    if not text.strip():
        text = _EMPTY
    if additions.wrap:
        text = json_edit.apply(text, _wrappings(text))
    groups = {event: [{"hooks": [entry]}] for event, entry in additions.hooks.items()}
    text = _merge_lists(text, groups)
    set_already = parse(text).get(_ENV, {})
    missing = {key: value for key, value in additions.env.items() if key not in set_already}
    return _merge_variables(text, missing)


def remove(text: str, before: Mapping[str, Any] | None, env: Mapping[str, str]) -> Removed:
    """Takes out what is ours, and the containers that were made for it.

    Args:
        text: The settings as they are.
        before: The settings as they were, where that is known: what was empty then stays.
        env: The variables that we set; one that has another value by now is the user's.

    Raises:
        SettingsError: As `parse` does.
    """
    if not parse(text):
        return Removed(text=text, hooks=0, unwrapped=0, env=())
    wrapped = [hook for _, _, hook in _hooks(text) if hook_wrapping.is_wrapped(hook.value)]
    text = json_edit.apply(
        text,
        [edit for hook in wrapped for edit in _set(text, hook, hook_wrapping.unwrap(hook.value))],
    )
    own = [hook for _, _, hook in _hooks(text) if is_own(hook.value)]
    text = _without_own(text, before)
    variables = tuple(
        key for key, value in parse(text).get(_ENV, {}).items() if env.get(key) == value
    )
    text = _without_variables(text, variables, keep=before is not None and _ENV in before)
    return Removed(text=text, hooks=len(own), unwrapped=len(wrapped), env=variables)


def wrapped_count(text: str) -> int:
    """How many hooks in the settings run through a launcher of ours."""
    return sum(hook_wrapping.is_wrapped(hook.value) for _, _, hook in _hooks(text))


def launchers(text: str) -> dict[str, bytes]:
    """What the launchers hold that the hooks need once they are wrapped, by path."""
    if not parse(text):
        return {}
    return dict(
        hook_wrapping.launcher(hook.value, event, group.value.get("matcher"))
        for event, group, hook in _hooks(text)
        if hook_wrapping.can_wrap(hook.value)
    )


def _wrappings(text: str) -> list[Edit]:
    return [
        edit
        for event, group, hook in _hooks(text)
        if hook_wrapping.can_wrap(hook.value)
        for edit in _set(
            text, hook, hook_wrapping.wrap(hook.value, event, group.value.get("matcher"))
        )
    ]


def _hooks(text: str) -> Iterator[tuple[str, Part, Part]]:
    """Each hook with its event and its group."""
    container = json_edit.member(text, json_edit.root(text), _HOOKS)
    for event in json_edit.parts(text, container) if container else ():
        for group in json_edit.parts(text, event):
            for hook in _group_hooks(text, group):
                yield event.key or "", group, hook


def _group_hooks(text: str, group: Part) -> list[Part]:
    array = json_edit.member(text, group, _HOOKS) if isinstance(group.value, dict) else None
    if array is None or not isinstance(array.value, list):
        return []  # not what Claude Code reads either
    return json_edit.parts(text, array)


def _set(text: str, hook: Part, members: Entry) -> list[Edit]:
    edits: list[Edit] = []
    for part in json_edit.parts(text, hook):
        if part.key not in members:
            continue
        value = members[part.key]
        if part.key == "args":  # all that changes is what stands before the hook's own
            more = len(value) - len(part.value)
            if more > 0:
                edits.append(json_edit.prefixing(text, part, value[:more]))
            else:
                edits += json_edit.removals(text, part, range(-more))
        else:
            edits.append(json_edit.replacement(text, part, value))
    return edits


def _merge_lists(text: str, groups: Mapping[str, list[Entry]]) -> str:
    whole = json_edit.root(text)
    container = json_edit.member(text, whole, _HOOKS)
    if container is None:
        return json_edit.apply(text, [json_edit.insertion(text, whole, {_HOOKS: groups})])
    events = {event.key: event for event in json_edit.parts(text, container)}
    edits = [
        json_edit.insertion(text, events[event], added)
        for event, added in groups.items()
        if event in events
    ]
    missing = {event: added for event, added in groups.items() if event not in events}
    if missing:
        edits.append(json_edit.insertion(text, container, missing))
    return json_edit.apply(text, edits)


def _merge_variables(text: str, variables: Mapping[str, str]) -> str:
    if not variables:
        return text
    whole = json_edit.root(text)
    container = json_edit.member(text, whole, _ENV)
    edit = (
        json_edit.insertion(text, whole, {_ENV: dict(variables)})
        if container is None
        else json_edit.insertion(text, container, dict(variables))
    )
    return json_edit.apply(text, [edit])


def _without_own(text: str, before: Mapping[str, Any] | None) -> str:
    whole = json_edit.root(text)
    container = json_edit.member(text, whole, _HOOKS)
    if container is None:
        return text
    known = {} if before is None else before.get(_HOOKS, {})
    edits: list[Edit] = []
    emptied = set()
    events = json_edit.parts(text, container)
    for index, event in enumerate(events):
        groups = json_edit.parts(text, event)
        gone, inner = _own_groups(text, groups)
        edits += inner
        if gone and len(gone) == len(groups) and event.key not in known:
            emptied.add(index)
        elif gone:
            edits += json_edit.removals(text, event, gone)
    if emptied and len(emptied) == len(events) and (before is None or _HOOKS not in before):
        return _without_members(text, whole, {_HOOKS})
    if emptied:
        edits += json_edit.removals(text, container, emptied)
    return json_edit.apply(text, edits)


def _own_groups(text: str, groups: list[Part]) -> tuple[set[int], list[Edit]]:
    """The groups that hold nothing but our hooks, and the edits that take them out of others."""
    gone, edits = set(), []
    for index, group in enumerate(groups):
        hooks = _group_hooks(text, group)
        own = {number for number, hook in enumerate(hooks) if is_own(hook.value)}
        if own and len(own) == len(hooks):
            gone.add(index)
        elif own:
            array = json_edit.member(text, group, _HOOKS)
            assert array is not None, "it has just given its hooks"
            edits += json_edit.removals(text, array, own)
    return gone, edits


def _without_variables(text: str, variables: tuple[str, ...], *, keep: bool) -> str:
    whole = json_edit.root(text)
    container = json_edit.member(text, whole, _ENV)
    if container is None or not variables:
        return text
    if len(variables) == len(container.value) and not keep:
        return _without_members(text, whole, {_ENV})
    return _without_members(text, container, set(variables))


def _without_members(text: str, container: Part, keys: set[str]) -> str:
    indexes = {
        index for index, part in enumerate(json_edit.parts(text, container)) if part.key in keys
    }
    return json_edit.apply(text, json_edit.removals(text, container, indexes))
