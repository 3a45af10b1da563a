"""The table of targets: what is shipped, and what a user's file changes in it."""
