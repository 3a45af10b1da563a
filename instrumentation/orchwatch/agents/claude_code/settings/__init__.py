"""What Orchwatch adds to Claude Code's settings, and takes out to the byte."""
