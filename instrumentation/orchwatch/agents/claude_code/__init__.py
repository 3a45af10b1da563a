"""Claude Code: its session files and hooks become facts, facts become spans.

Facts about one session come from several sources, in any order, twice or by half; an assembler
makes each span of them exactly once, with ids that any process can derive.
"""
