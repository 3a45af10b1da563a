from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from orchwatch.diagnosis.fleet import tokens
from orchwatch.errors import OrchwatchError, UsageError

ROOT = Path(__file__).parents[4]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "gateway" / "tokens")


def taken(path: str) -> set[str]:
    """What the Collector takes: the first word of each line."""
    return {line.split()[0] for line in Path(path).read_text().splitlines()}


def test_a_new_token_is_one_that_the_gateway_takes(path: str) -> None:
    made = tokens.add(path, "laptop")
    assert made.token in taken(path)
    assert tokens.listed(path) == [made]
    assert (made.machine, tokens.PATTERN.fullmatch(made.token)[1]) == ("laptop", made.id)  # type: ignore[index]
    assert Path(path).stat().st_mode & 0o777 == 0o600


def test_a_second_token_of_a_machine_leaves_the_first_valid(path: str) -> None:
    first, second = tokens.add(path, "laptop"), tokens.add(path, "laptop")
    assert {first.token, second.token} < taken(path)
    assert tokens.revoke(path, first.id) == [first]
    assert tokens.listed(path) == [second]
    assert first.token not in taken(path)


def test_a_machine_loses_all_of_its_tokens_by_its_name(path: str) -> None:
    tokens.add(path, "laptop")
    tokens.add(path, "laptop")
    other = tokens.add(path, "other")
    assert len(tokens.revoke(path, "laptop")) == 2
    assert tokens.listed(path) == [other]


def test_the_gateways_own_token_is_none_that_can_be_revoked_or_is_listed(path: str) -> None:
    tokens.add(path, "laptop")
    tokens.revoke(path, "laptop")
    (own,) = taken(path)
    assert tokens.listed(path) == []
    for which in ("gateway", own.split("_")[1]):
        with pytest.raises(OrchwatchError, match="no machine or token of that name"):
            tokens.revoke(path, which)
    assert taken(path) == {own}


def test_a_machine_may_be_called_as_the_gateway_is(path: str) -> None:
    made = tokens.add(path, "gateway")
    assert tokens.revoke(path, "gateway") == [made]
    assert len(taken(path)) == 1


def test_no_two_machines_have_the_same_token_however_many_join_at_once(path: str) -> None:
    code = "import sys; from orchwatch.diagnosis.fleet import tokens; tokens.add(*sys.argv[1:])"
    running = [
        subprocess.Popen([sys.executable, "-c", code, path, f"machine-{number}"])
        for number in range(6)
    ]
    assert [process.wait() for process in running] == [0] * 6
    assert {one.machine for one in tokens.listed(path)} == {f"machine-{n}" for n in range(6)}
    assert len(taken(path)) == 7


def test_nobody_has_a_token_where_there_is_no_file(path: str) -> None:
    assert tokens.listed(path) == []
    with pytest.raises(OrchwatchError, match="no machine or token"):
        tokens.revoke(path, "laptop")
    assert not Path(path).exists()


@pytest.mark.parametrize("text", ["\n", "secret\n", "a b c d\n", "owf_1 x y z\n", "\xff"])
def test_a_file_of_something_else_stays_as_it_is(path: str, text: str) -> None:
    Path(path).parent.mkdir()
    Path(path).write_bytes(text.encode("latin-1"))
    with pytest.raises(OrchwatchError, match="tokens: "):
        tokens.add(path, "laptop")
    assert Path(path).read_bytes() == text.encode("latin-1")


@pytest.mark.parametrize("name", ["two words", "a\nowf", ""])
def test_a_name_that_would_break_a_line_makes_no_token(path: str, name: str) -> None:
    with pytest.raises(UsageError):
        tokens.add(path, name)
    assert not Path(path).exists()


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OrchwatchError, match="file/tokens: cannot be written: "):
        tokens.add(str(tmp_path / "file" / "tokens"), "laptop")


def test_the_collector_masks_what_looks_like_a_token() -> None:
    config = yaml.safe_load((ROOT / "collector" / "config.yaml").read_text())
    masked = config["processors"]["redaction"]["blocked_values"]
    assert tokens.PATTERN.pattern.replace("(", "").replace(")", "") in masked


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_the_file_stays_as_readable_as_it_was(path: str, mode: int) -> None:
    tokens.add(path, "m1")
    os.chmod(path, mode)
    before = os.stat(path)
    tokens.add(path, "m2")
    tokens.revoke(path, "m1")
    after = os.stat(path)
    assert stat.S_IMODE(after.st_mode) == mode
    assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_the_file_stays_whose_it_was(path: str) -> None:
    tokens.add(path, "m1")
    os.chown(path, 10001, 10001)
    tokens.add(path, "m2")
    assert (os.stat(path).st_uid, os.stat(path).st_gid) == (10001, 10001)


def test_a_link_stays_one_and_what_it_leads_to_is_changed(path: str) -> None:
    tokens.add(path, "m1")
    link = f"{path}-link"
    os.symlink(path, link)
    tokens.revoke(link, "m1")
    assert os.path.islink(link)
    assert tokens.listed(path) == tokens.listed(link) == []


def test_the_gateways_own_token_is_known_by_its_name_not_by_its_line(path: str) -> None:
    made = [tokens.add(path, name) for name in ("m1", "m2")]
    lines = Path(path).read_text().splitlines()
    Path(path).write_text("\n".join([*lines[1:], lines[0]]) + "\n")
    assert tokens.listed(path) == made
    tokens.revoke(path, "m1")
    assert tokens.listed(path) == [made[1]]
    assert Path(path).read_text().splitlines()[0] == lines[0]
    Path(path).write_text(f"{lines[1]}\n")
    assert tokens.listed(path) == [made[0]]
    tokens.revoke(path, "m1")
    assert tokens.listed(path) == []
    assert Path(path).read_text().strip(), "a file without a token would not be read"
