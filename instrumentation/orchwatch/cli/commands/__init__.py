"""One module for each command, named as the command is with `_` for `-`.

Each has `HELP`, one line. Most have `add_arguments(parser)` and `run(arguments) -> exit code`; a
command that must start faster than `argparse` loads has `main(words) -> exit code` instead.
Whatever is slow to import is imported inside `run`, because `orchwatch --help` reads every `HELP`.
"""
