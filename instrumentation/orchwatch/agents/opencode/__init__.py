"""opencode: the sessions in its database become facts."""
