"""`orchwatch completion`: what a shell needs to complete this command's words."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

HELP = "print what bash, zsh or fish needs to complete commands, options and their values"

SHELLS = ("bash", "zsh", "fish")
_EPILOG = """\
bash:  eval "$(orchwatch completion bash)"        in ~/.bashrc
zsh:   eval "$(orchwatch completion zsh)"         in ~/.zshrc, after compinit
fish:  orchwatch completion fish > ~/.config/fish/completions/orchwatch.fish
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    import argparse  # noqa: PLC0415 - loaded by whoever made the parser

    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument("shell", choices=SHELLS, metavar="|".join(SHELLS), help="which shell")


def run(arguments: argparse.Namespace) -> int:
    """Prints the script."""
    from orchwatch.cli import completion  # noqa: PLC0415 - slow, see `commands`

    sys.stdout.write(completion.script(arguments.shell))
    return 0
