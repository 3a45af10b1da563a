"""What of the coding agents' sessions that were imported is not understood."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from orchwatch.agents import registry
from orchwatch.agents.sessions import import_record
from orchwatch.diagnosis.check import Check
from orchwatch.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchwatch.agents.reader import Reader
    from orchwatch.agents.sessions.import_record import About

_MAX_REASONS = 6


def check_agents() -> Iterator[Check]:
    """One check for each agent of which sessions were imported; and for each broken reader."""
    readers, broken = registry.known()
    for line in broken:
        yield Check(
            name="agent",
            state="warn",
            found=f"{line}: its sessions are not read",
            remedy="update or uninstall the package that brings it",
        )
    by_name = {reader.name: reader for reader in readers}
    sessions: dict[str, list[About]] = defaultdict(list)
    for about in import_record.imported():
        sessions[about.agent].append(about)
    for name in sorted(sessions):
        yield _check(name, sessions[name], by_name.get(name))


def _check(name: str, sessions: list[About], reader: Reader | None) -> Check:
    title = reader.title if reader else name
    versions = sorted({about.version for about in sessions if about.version}, key=in_order)
    found = f"{counted(len(sessions), 'session')} of {title}"
    if versions:
        found += f" {versions[0]}" + (f" to {versions[-1]}" if len(versions) > 1 else "")
    if reader and reader.knows and versions and in_order(versions[-1]) > in_order(reader.knows):
        found += f" (newer than {reader.knows}, which its reader was tried with)"
    skipped: Counter[str] = Counter()
    for about in sessions:
        skipped.update(about.skipped)
    unknown = Counter({why: number for why, number in skipped.items() if why.startswith("unknown")})
    damaged = skipped - unknown
    if unknown:
        found += f"; not understood, and passed over: {_listed(unknown)}"
    if damaged:
        found += f"; could not be read: {_listed(damaged)}"
    remedy = "update orchwatch; what is understood of these sessions is complete" if unknown else ""
    return Check(
        name=f"agent {name}", state="warn" if unknown else "ok", found=found, remedy=remedy
    )


def in_order(version: str) -> list[int]:
    """A version as a key that orders it: its numbers."""
    return [
        int("".join(filter(str.isdigit, part))[:9] or 0)
        for part in version.split("-", maxsplit=1)[0].split(".")
    ]


def _listed(reasons: Counter[str]) -> str:
    most = reasons.most_common(_MAX_REASONS)
    listed = ", ".join(f"{why} {number}" for why, number in most)
    more = len(reasons) - len(most)
    return listed + (f" and {more} more" if more else "")
