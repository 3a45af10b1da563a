"""Claude Code behind the contract that all agents' readers keep."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from orchwatch.agents.claude_code.sessions import clients, session_files
from orchwatch.agents.claude_code.sessions.transcript import Transcript
from orchwatch.agents.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchwatch.agents.reader import RecordedSession, SessionFile
    from orchwatch.agents.sessions.claims import Claims


class ClaudeCode(Reader):
    """Reads `projects` in `CLAUDE_CONFIG_DIR` or `~/.claude`."""

    name = "claude-code"
    title = "Claude Code"
    provider = "anthropic"
    knows = "2.1.328"

    def places(self) -> list[str]:
        return [session_files.projects_directory()]

    def find(self, paths: Iterable[str]) -> tuple[list[RecordedSession], list[str]]:
        return session_files.find(paths)

    def file_reader(
        self,
        session: RecordedSession,
        file: SessionFile,
        claims: Claims,
        state: dict[str, Any] | None = None,
    ) -> Transcript:
        origin = session_files.agent_origin(file.path) if file.agent_id else {}
        return Transcript(session.session_id, file.agent_id, state, claims, **origin)

    def is_lost(self, session: RecordedSession) -> bool:
        projects = os.path.dirname(os.path.dirname(os.path.abspath(session.files[0].path)))
        return clients.is_lost(projects, session.session_id)
