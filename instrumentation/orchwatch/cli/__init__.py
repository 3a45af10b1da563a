"""The `orchwatch` command line."""
