from __future__ import annotations

import pytest

from orchwatch.recording import hook_names


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["/opt/guard", "notes.py"], "guard"),
        (["python3", "-u", "/x/.claude/hooks/check.py", "--key", "k.py"], "check.py"),
        (["uv", "run", "$DIR/hook.py"], "hook.py"),
        (["A=1", "B=2", "bash", "a b/run.sh"], "run.sh"),
        (["bash", "-c", "curl https://x/y.sh"], "bash"),
        (["[", "-f", "x", "]"], "shell"),
        (["/x/" + "y" * 65], "shell"),
        ([], "shell"),
    ],
)
def test_a_hook_is_named_after_its_script_or_program(words: list[str], name: str) -> None:
    assert hook_names.of_command(words) == name
