"""The monitor process: follows session files, hooks and the spool, and records what it sees."""
