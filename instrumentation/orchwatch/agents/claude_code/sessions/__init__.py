"""Session files and hook events become facts, facts become spans."""
