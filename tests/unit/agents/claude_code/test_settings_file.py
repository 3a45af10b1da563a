from __future__ import annotations

import json
from typing import Any

import pytest

from orchwatch.agents.claude_code.settings import registration, settings_file
from orchwatch.agents.claude_code.settings.settings_file import Additions, SettingsError

HOOKS = registration.entries("http", "the-secret")
ENV = {"CLAUDE_CODE_ENABLE_TELEMETRY": "1", "OTEL_METRICS_EXPORTER": "otlp"}
ALL = Additions(hooks=HOOKS, wrap=True, env=ENV)

WITH_HOOKS = """{
    "hooks": {
        "PreToolUse": [
            {"matcher": "Bash|Edit", "hooks": [
                {"type": "command", "command": "./guard.sh --key k", "timeout": 5},
                {"type": "http", "url": "https://example.com/x"}
            ]}
        ],
        "SessionStart": [{"hooks": [{"type": "command", "command": "cat", "args": ["-"]}]}],
        "MadeUpEvent": [{"hooks": [{"type": "prompt", "prompt": "x"}]}, "what?", {"hooks": 3}, {}]
    },
    "env": {"OTEL_METRICS_EXPORTER": "prometheus", "A": "\\u00e9"},
    "unknown": [1.50, 1e3, {"größe": null}],
    "unknown": "twice"
}
"""
WILD = {
    "empty object": "{}",
    "with other hooks": WITH_HOOKS,
    "minified": json.dumps(json.loads(WITH_HOOKS), separators=(",", ":")),
    "on one line": json.dumps(json.loads(WITH_HOOKS)),
    "with tabs": json.dumps(json.loads(WITH_HOOKS), indent="\t") + "\n\n",
    "with CRLF": WITH_HOOKS.replace("\n", "\r\n"),
    "without hooks": '{\n  "model": "opus"\n}\n',
    "with an empty event": '{\n  "hooks": {\n    "Stop": []\n  }\n}',
    "with empty hooks and env": '{\n  "env": {},\n  "hooks": {}\n}',
    "not indented": '{\n"model": "opus",\n"hooks": {\n"Stop": [\n{}\n]\n}\n}',
    "with hooks twice": '{"hooks": {"Stop": []}, "hooks": {"Setup": []}}',
    "with an own group of ours' kind": '{"hooks": {"Stop": [{"hooks": []}]}}',
}


def plain(text: str) -> Any:
    return json.loads(text)


@pytest.mark.parametrize("text", WILD.values(), ids=WILD)
def test_what_was_added_goes_to_the_last_character(text: str) -> None:
    added = settings_file.add(text, ALL)
    removed = settings_file.remove(added, plain(text), ENV)
    assert removed.text == text
    assert removed.hooks == len(HOOKS)


@pytest.mark.parametrize("text", WILD.values(), ids=WILD)
def test_every_event_gets_its_hook_after_all_others(text: str) -> None:
    before, after = plain(text), plain(settings_file.add(text, Additions(hooks=HOOKS)))
    for event, entry in HOOKS.items():
        others = before.get("hooks", {}).get(event, [])
        assert after["hooks"][event] == [*others, {"hooks": [entry]}]
    for event in before.get("hooks", {}).keys() - HOOKS.keys():
        assert after["hooks"][event] == before["hooks"][event]
    assert list(after)[: len(before)] == list(before)
    before.pop("hooks", None)
    after.pop("hooks")
    assert after == before


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_an_empty_file_becomes_one_with_our_entries_only(text: str) -> None:
    added = settings_file.add(text, Additions(hooks=HOOKS, env=ENV))
    assert plain(added).keys() == {"hooks", "env"}
    assert added == json.dumps(plain(added), indent=2) + "\n"
    assert plain(settings_file.remove(added, {}, ENV).text) == {}


@pytest.mark.parametrize("text", WILD.values(), ids=WILD)
def test_without_a_record_only_empty_containers_are_ambiguous(text: str) -> None:
    removed = plain(settings_file.remove(settings_file.add(text, ALL), None, ENV).text)
    expected = plain(text)
    for event in [event for event, groups in expected.get("hooks", {}).items() if not groups]:
        del expected["hooks"][event]
    for key in ("hooks", "env"):
        if expected.get(key) == {}:
            del expected[key]
    assert removed == expected


def test_only_commands_of_others_are_wrapped() -> None:
    added = plain(settings_file.add(WITH_HOOKS, ALL))
    assert settings_file.wrapped_count(json.dumps(added)) == 2
    (guard, web), *_ = (group["hooks"] for group in added["hooks"]["PreToolUse"])
    assert "/wrapped-hooks/PreToolUse-guard.sh-" in guard["command"]
    assert guard["timeout"] == 5
    assert web == {"type": "http", "url": "https://example.com/x"}


def test_a_variable_of_the_users_stays() -> None:
    added = plain(settings_file.add(WITH_HOOKS, ALL))
    assert added["env"] == {
        "OTEL_METRICS_EXPORTER": "prometheus",
        "A": "é",
        "CLAUDE_CODE_ENABLE_TELEMETRY": "1",
    }


def test_a_variable_that_was_changed_since_is_the_users() -> None:
    added = settings_file.add("{}", ALL).replace('"otlp"', '"console"')
    removed = settings_file.remove(added, {}, ENV)
    assert plain(removed.text) == {"env": {"OTEL_METRICS_EXPORTER": "console"}}
    assert removed.env == ("CLAUDE_CODE_ENABLE_TELEMETRY",)


def test_what_others_added_since_stays_where_it_is() -> None:
    added = plain(settings_file.add(WITH_HOOKS, ALL))
    added["hooks"]["Stop"].append({"hooks": [{"type": "command", "command": "later"}]})
    added["hooks"]["SubagentStop"][0]["hooks"].insert(0, {"type": "command", "command": "inside"})
    added["later"] = 1
    removed = plain(settings_file.remove(json.dumps(added, indent=2), plain(WITH_HOOKS), ENV).text)
    expected = plain(WITH_HOOKS)
    expected["hooks"]["Stop"] = [{"hooks": [{"type": "command", "command": "later"}]}]
    expected["hooks"]["SubagentStop"] = [{"hooks": [{"type": "command", "command": "inside"}]}]
    expected["later"] = 1
    assert removed == expected


def test_entries_of_another_installation_go_too() -> None:
    text = json.dumps(
        {
            "hooks": {
                "Stop": [
                    {"hooks": [{"type": "http", "url": "http://127.0.0.1:9/claude/hook"}]},
                    {"hooks": [{"command": "/a/py -I -S /b/orchwatch/agents/claude_code/hook.py"}]},
                ]
            }
        }
    )
    removed = settings_file.remove(text, None, {})
    assert (plain(removed.text), removed.hooks) == ({}, 2)


@pytest.mark.parametrize("text", WILD.values(), ids=WILD)
def test_where_nothing_is_ours_nothing_changes(text: str) -> None:
    removed = settings_file.remove(text, None, {})
    assert (removed.text, removed.anything) == (text, False)


def test_two_megabytes_of_other_settings_stay_as_they_are() -> None:
    allow = [f"Bash(tool-{number} *)" for number in range(60_000)]
    text = json.dumps({"permissions": {"allow": allow}, "hooks": {}}, indent=2)
    added = settings_file.add(text, ALL)
    assert plain(added)["permissions"]["allow"] == allow
    assert settings_file.remove(added, plain(text), ENV).text == text


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "is not valid JSON: .* line 1 column 2"),
        ('{\n  // mine\n  "a": 1\n}', "is not valid JSON: .* line 2 column 3"),
        ('{"a": 1,}', "is not valid JSON"),
        ('{"a": NaN}', "is not valid JSON: NaN"),
        ("[" * 100_000, "is not valid JSON: is nested too deeply"),
        ("[]", "must hold a JSON object"),
        ("null", "must hold a JSON object"),
        ('{"hooks": []}', "hooks: must be an object"),
        ('{"env": "A=1"}', "env: must be an object"),
        ('{"hooks": {"Stop": {}}}', r"hooks\.Stop: must be an array"),
    ],
)
def test_what_cannot_be_settings_is_named(text: str, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        settings_file.add(text, ALL)
    with pytest.raises(SettingsError, match=complaint):
        settings_file.remove(text, None, {})
