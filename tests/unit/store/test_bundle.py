"""A bundle holds names, times and outcomes and no more, and a hostile one does no harm."""

from __future__ import annotations

import json
import os
import re
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.conftest import NOW_NS

from orchwatch.cli.main import main
from orchwatch.errors import OrchwatchError
from orchwatch.store import bundle, outlines
from orchwatch.store.database import Store
from orchwatch.store.selection import Selection

if TYPE_CHECKING:
    from tests.unit.conftest import Record

SECRET = "sk-live-very-secret"
ROW = ["ab" * 16, 7, None, "state.query", "state.query", 5, 9, 1, *[None] * 8]
LINE = json.dumps(ROW) + "\n"


def head(**more: Any) -> str:
    own = {"orchwatch_bundle": 1, "orchwatch": "0.1.0", "made_at_ns": 1, "spans": 1}
    return json.dumps({**own, "fields": bundle.FIELDS, **more})


HEAD = ("bundle.json", head())


def zipped(path: Path, *members: tuple[str, str | bytes]) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return str(path)


def outcome(path: str, home: Path) -> tuple[str, int]:
    """What is said where it cannot be opened, or how many spans it has."""
    try:
        return "", bundle.unpack(path, home).spans
    except OrchwatchError as error:
        return str(error), 0


def spans_of(home: Path) -> list[outlines.Outline]:
    with Store(home) as store:
        return outlines.selected(store, Selection(history=True))


def test_it_comes_out_as_it_went_in_but_for_content_and_names_of_machines(
    home: Path, tmp_path: Path, record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    record(
        "tool.execute",
        trace_id="cd" * 16,
        span_id="0f" * 8,
        duration_ns=12_345,
        failed=True,
        attributes={
            "session.id": "s1",
            "gen_ai.agent.name": "coder",
            "gen_ai.agent.id": "a1",
            "gen_ai.tool.call.arguments": SECRET,
            "url": SECRET,
        },
        more=f',"events":[{{"name":"{SECRET}","timeUnixNano":"5"}}]',
    )
    record("state.query", trace_id="cd" * 16, parent_span_id="0f" * 8)
    record(None, name="a span that is no operation", family="history", end_ns=NOW_NS - 5)
    record("hook.process", attributes={"orchestration.hook.name": "\u202e[x]\n"})
    path = tmp_path / "b.zip"
    assert main(["export", "--bundle", str(path), "--since", "all"]) == 0
    assert "4 spans" in capsys.readouterr().out
    with zipfile.ZipFile(path) as archive:
        assert sorted(archive.namelist()) == ["bundle.json", "spans.jsonl"]
        content = b"".join(archive.read(name) for name in archive.namelist())
    assert SECRET.encode() not in content
    assert os.uname().nodename.encode() not in content
    found = bundle.unpack(str(path), tmp_path / "there")
    assert (found.spans, found.end_ns) == (4, NOW_NS)
    before, after = spans_of(home), spans_of(tmp_path / "there")
    machine = {None: None, before[0].host: after[0].host}
    assert [span._replace(host=machine[span.host]) for span in before] == after


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ((), "it has no bundle.json"),
        ((("bundle.json", head()),), "it has no spans.jsonl"),
        ((HEAD, ("spans.jsonl", "")), "it holds 0 of the 1 spans that bundle.json says"),
        ((HEAD, ("spans.jsonl", "\xff\xfe\n")), "line 1 of spans.jsonl is no JSON"),
        ((HEAD, ("spans.jsonl", "[]\n")), "line 1 of spans.jsonl is no list of 16 values"),
        ((HEAD, ("spans.jsonl", f"{LINE}{{")), "line 2 of spans.jsonl is no JSON"),
        ((HEAD, ("spans.jsonl", "[" * 60_000)), "line 1 of spans.jsonl is no JSON"),
        ((HEAD, ("spans.jsonl", "1" * 70_000)), "line 1 of spans.jsonl has more than 64 KiB"),
        ((HEAD, ("spans.jsonl", LINE * 2)), "it holds 2 of the 1 spans that bundle.json says"),
    ],
)
def test_what_is_none_is_one_line(
    tmp_path: Path, members: tuple[tuple[str, str], ...], said: str
) -> None:
    path = zipped(tmp_path / "b.zip", *members)
    with pytest.raises(OrchwatchError, match=r"b\.zip") as raised:
        bundle.unpack(path, tmp_path / "home")
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "bundle.json is no JSON"),
        ("[]", "bundle.json is no JSON object"),
        (head(more="x" * 70_000), "bundle.json is no JSON object of at most 64 KiB"),
        (head(orchwatch_bundle=2), "a bundle of version 2; this orchwatch opens 1"),
        (head(orchwatch_bundle="x" * 999), "orchwatch_bundle in bundle.json must be its version"),
        (head(orchwatch_bundle=None), "orchwatch_bundle in bundle.json must be its version"),
        (head(orchwatch=["x"]), "orchwatch in bundle.json must be the version of orchwatch"),
        (head(fields=["name"]), "fields in bundle.json must be those of version 1"),
        (head(fields=None), "fields in bundle.json must be those of version 1"),
        (head(made_at_ns="now"), "made_at_ns in bundle.json must be a whole number above 0"),
        (head(spans=-1), "spans in bundle.json must be a whole number above 0"),
        (head(spans=True), "spans in bundle.json must be a whole number above 0"),
        (head(spans=1 << 64), "spans in bundle.json must be a whole number above 0"),
    ],
)
def test_a_head_that_is_not_as_it_must_be_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = zipped(tmp_path / "b.zip", ("bundle.json", text), ("spans.jsonl", LINE))
    assert said in outcome(path, tmp_path / "home")[0]


def test_a_key_that_a_later_version_added_is_let_be(tmp_path: Path) -> None:
    path = zipped(tmp_path / "b.zip", ("bundle.json", head(later=1)), ("spans.jsonl", LINE))
    assert outcome(path, tmp_path / "home") == ("", 1)


@pytest.mark.parametrize("place", range(len(ROW)))
@pytest.mark.parametrize("value", [-1, 1 << 70, 1.5, True, "../../x", {"a": 1}, [[]], None])
def test_a_field_that_is_none_never_gets_further(tmp_path: Path, place: int, value: Any) -> None:
    row = [value if at == place else one for at, one in enumerate(ROW)]
    path = zipped(
        tmp_path / "b.zip", ("bundle.json", head()), ("spans.jsonl", json.dumps(row) + "\n")
    )
    said, spans = outcome(path, tmp_path / "home")
    if said:
        assert f"line 1 of spans.jsonl: {bundle.FIELDS[place]} must be " in said
    else:
        assert spans == len(spans_of(tmp_path / "home")) == 1


def test_names_of_members_lead_nowhere(tmp_path: Path) -> None:
    path = zipped(
        tmp_path / "b.zip",
        ("bundle.json", head()),
        ("spans.jsonl", json.dumps(ROW) + "\n"),
        ("../../escaped", "x"),
        (str(tmp_path / "absolute"), "x"),
        ("spool/operations-000001.jsonl", "x"),
    )
    assert bundle.unpack(path, tmp_path / "deep" / "home").spans == 1
    made = [one for one in tmp_path.rglob("*") if one.is_file()]
    segment = tmp_path / "deep" / "home" / "spool" / "operations-000001.jsonl"
    assert sorted(made) == [tmp_path / "b.zip", segment]


def test_a_bomb_is_stopped_by_what_comes_out_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = json.dumps(ROW) + "\n"
    path = zipped(
        tmp_path / "b.zip", ("bundle.json", head(spans=40_000)), ("spans.jsonl", line * 40_000)
    )
    monkeypatch.setattr(bundle, "MAX_BYTES", 1 << 20)
    with pytest.raises(OrchwatchError, match="unpacked, it has more than 1 MiB"):
        bundle.unpack(path, tmp_path / "home")


def test_what_is_cut_off_changed_or_no_file_is_one_line(tmp_path: Path) -> None:
    whole = Path(
        zipped(tmp_path / "b.zip", ("bundle.json", head()), ("spans.jsonl", json.dumps(ROW) + "\n"))
    ).read_bytes()
    for number in range(0, len(whole), 7):
        damaged = tmp_path / "damaged.zip"
        for content in (whole[:number], whole[:number] + b"\xff" + whole[number + 1 :]):
            damaged.write_bytes(content)
            said, _ = outcome(str(damaged), tmp_path / f"home-{number}-{len(content)}")
            assert not said or said.startswith(str(damaged))
            assert not re.search(r"Error|expected|zip_|Bad|decode|magic", said), said
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "missing", ""):
        with pytest.raises(OrchwatchError):
            bundle.unpack(str(tmp_path / name), tmp_path / "home")


def test_a_large_one_comes_in_several_segments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "_SEGMENT_BYTES", 2000)
    lines = "".join(json.dumps([*ROW[:1], 7 + number, *ROW[2:]]) + "\n" for number in range(50))
    path = zipped(tmp_path / "b.zip", ("bundle.json", head(spans=50)), ("spans.jsonl", lines))
    bundle.unpack(path, tmp_path / "home")
    assert len(list((tmp_path / "home" / "spool").iterdir())) > 5
    assert len(spans_of(tmp_path / "home")) == 50


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    "more", [["--format", "csv"], ["--step", "1h"], ["--output", "x"], ["--since", "never"]]
)
def test_what_does_not_go_with_it_is_a_usage_error(
    more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "--bundle", str(tmp_path / "b.zip"), *more]) == 2
    assert more[0] in capsys.readouterr().err
    assert not (tmp_path / "b.zip").exists()


def test_without_spans_and_without_room_one_line_says_so(
    home: Path, record: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "--bundle", str(tmp_path / "b.zip")]) == 1
    assert f"nothing is stored in {home}" in capsys.readouterr().err
    record("state.query", end_ns=time.time_ns())
    assert main(["export", "--bundle", str(tmp_path / "no" / "b.zip")]) == 1
    assert "cannot be written: No such file" in capsys.readouterr().err
