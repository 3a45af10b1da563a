"""Completion scripts for shells, out of the parsers: static, so that a key costs no process."""

from __future__ import annotations

import argparse
import re
import shlex
from typing import TYPE_CHECKING, NamedTuple

from orchwatch.cli.main import COMMANDS, command_module, command_parser

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_FILE = re.compile(r"FILE|PATH|DIRECTORY|DIR")
# Of the commands that parse by hand, as their usage spells them.
_OPTION = re.compile(r"^  (--[a-z-]+)(?: ([a-zA-Z|=]+))?", re.MULTILINE)
_GENERAL = (("--help", "show help"), ("--version", "show the version"))
_HELP_COLUMNS = 60


class Option(NamedTuple):
    """An option.

    Attributes:
        name: With its dashes.
        says: What it does, in a line.
        takes: Whether a value follows.
        values: Which ones, where that is known.
        is_file: Whether the value is a file's name.
    """

    name: str
    says: str
    takes: bool = False
    values: Sequence[str] = ()
    is_file: bool = False


class Place(NamedTuple):
    """Where one is after a few words.

    Attributes:
        path: The commands so far, e.g. `baseline show`; empty at first.
        words: What may come next, with what it does.
        options: The options here.
        takes_files: Whether names of files may come next, too.
    """

    path: str
    words: Sequence[tuple[str, str]]
    options: Sequence[Option]
    takes_files: bool = False


def script(shell: str) -> str:
    """What the shell has to evaluate: `bash`, `zsh` or `fish`."""
    writers = {"bash": _bash, "zsh": _zsh, "fish": _fish}
    return "\n".join(writers[shell](list(places()))) + "\n"


def places() -> Iterator[Place]:
    """Every command and sub-command."""
    commands = [(name, _short(command_module(name).HELP)) for name in COMMANDS]
    general = [Option(name, says) for name, says in _GENERAL]
    yield Place("", [*commands, ("help", "show the help of a command")], general)
    yield Place("help", commands, ())
    for name in COMMANDS:
        module = command_module(name)
        if hasattr(module, "USAGE"):
            yield Place(name, (), list(_spelt(module.USAGE)))
        else:
            yield from _parsed(name, command_parser(name))


def _spelt(usage: str) -> Iterator[Option]:
    for name, value in _OPTION.findall(usage):
        values = value.split("|") if "|" in value else ()
        yield Option(name, "", bool(value), values)
    yield Option("--help", "show help")


def _parsed(path: str, parser: argparse.ArgumentParser) -> Iterator[Place]:
    words: list[tuple[str, str]] = []
    options = []
    inner: list[Place] = []
    takes_files = False
    for action in parser._actions:
        says = _short((action.help or "") % {**vars(action), "prog": parser.prog})
        if isinstance(action, argparse._SubParsersAction):
            helps = {one.dest: one.help or "" for one in action._choices_actions}
            for name, child in action.choices.items():
                words.append((name, _short(helps.get(name, ""))))
                inner += _parsed(f"{path} {name}", child)
        elif action.option_strings:
            name = max(action.option_strings, key=len)
            values = [str(choice) for choice in action.choices or ()]
            is_file = bool(_FILE.fullmatch(str(action.metavar)))
            options.append(Option(name, says, action.nargs != 0, values, is_file))
        else:
            words += [(str(choice), "") for choice in action.choices or ()]
            takes_files = takes_files or bool(_FILE.fullmatch(str(action.metavar)))
    yield Place(path, words, options, takes_files)
    yield from inner


def _short(text: str) -> str:
    """The beginning of a help text, without what a shell would take for its own."""
    plain = re.sub(r"[\[\]`'\"\\$:]", "", " ".join(text.split()))
    return plain if len(plain) <= _HELP_COLUMNS else plain[: _HELP_COLUMNS - 1].rstrip() + "…"


def _words(texts: Iterable[str]) -> str:
    return shlex.quote(" ".join(texts))


def _paths(found: Sequence[Place]) -> str:
    return "|".join(shlex.quote(place.path) for place in found if place.path)


def _bash(found: Sequence[Place]) -> Iterator[str]:
    yield "# orchwatch completion bash"
    yield "_orchwatch() {"
    yield '  local at="" word i words="" files="" cur=${COMP_WORDS[COMP_CWORD]}'
    yield "  local prev=${COMP_WORDS[COMP_CWORD-1]}"
    yield "  # bash takes the sign of --option=value for a word of its own."
    yield '  if [[ $cur == "=" ]]; then cur=""'
    yield '  elif [[ $prev == "=" ]]; then prev=${COMP_WORDS[COMP_CWORD-2]}; fi'
    yield "  for ((i = 1; i < COMP_CWORD; i++)); do"
    yield "    word=${COMP_WORDS[i]}"
    yield '    if [[ $at == run && $word == "--" ]]; then'
    yield '      COMPREPLY=($(compgen -c -f -- "$cur")); return; fi'
    yield '    case "${at:+$at }$word" in'
    yield f'      {_paths(found)}) at="${{at:+$at }}$word" ;;'
    yield "    esac"
    yield "  done"
    yield '  case "$at $prev" in'
    for place in found:
        for option in place.options:
            if option.takes:
                what = f"-W {_words(option.values)}" if option.values else "-f"
                value = f'COMPREPLY=($(compgen {what} -- "$cur"))'
                if not option.values and not option.is_file:
                    value = "COMPREPLY=()"
                yield f"    {shlex.quote(f'{place.path} {option.name}')}) {value}; return ;;"
    yield "  esac"
    yield '  case "$at" in'
    for place in found:
        known = [*(word for word, _ in place.words), *(option.name for option in place.options)]
        files = ' files="-f"' if place.takes_files else ""
        yield f"    {shlex.quote(place.path)}) words={_words(known)}{files} ;;"
    yield "  esac"
    yield '  COMPREPLY=($(compgen $files -W "$words" -- "$cur"))'
    yield "}"
    yield "complete -F _orchwatch orchwatch"


def _zsh(found: Sequence[Place]) -> Iterator[str]:
    yield "#compdef orchwatch"
    yield "_orchwatch() {"
    yield '  local at="" word prev=${words[CURRENT-1]}'
    yield "  local -a known options"
    yield "  for word in ${words[2,CURRENT-1]}; do"
    yield '    if [[ $at == run && $word == "--" ]]; then _normal; return; fi'
    yield '    case "${at:+$at }$word" in'
    yield f'      ({_paths(found)}) at="${{at:+$at }}$word" ;;'
    yield "    esac"
    yield "  done"
    yield '  if [[ $PREFIX == --*=* ]]; then prev=${PREFIX%%=*}; compset -P "*="; fi'
    yield '  case "$at $prev" in'
    for place in found:
        for option in place.options:
            if option.takes:
                value = "_message value"
                if option.values:
                    value = f"compadd -- {' '.join(map(shlex.quote, option.values))}"
                elif option.is_file:
                    value = "_files"
                yield f"    ({shlex.quote(f'{place.path} {option.name}')}) {value}; return ;;"
    yield "  esac"
    yield '  case "$at" in'
    for place in found:
        options = [(option.name, option.says) for option in place.options]
        files = " _files;" if place.takes_files else ""
        yield (
            f"    ({shlex.quote(place.path)}) known=({_described(place.words)});"
            f" options=({_described(options)});{files} ;;"
        )
    yield "  esac"
    yield "  _describe word known"
    yield "  _describe -o option options"
    yield "}"
    yield "compdef _orchwatch orchwatch"


def _described(words: Iterable[tuple[str, str]]) -> str:
    return " ".join(shlex.quote(f"{word}:{says}" if says else word) for word, says in words)


def _fish(found: Sequence[Place]) -> Iterator[str]:
    yield "# orchwatch completion fish"
    yield "function __orchwatch_at"
    yield '  set -l at ""'
    yield "  for word in (commandline -opc)[2..-1]"
    yield '    test "$at $word" = "run --"; and return 1'
    yield '    switch (string trim "$at $word")'
    paths = " ".join(shlex.quote(place.path) for place in found if place.path)
    yield f"      case {paths}"
    yield '        set at (string trim "$at $word")'
    yield "    end"
    yield "  end"
    yield '  test "$at" = "$argv"'
    yield "end"
    yield "complete -c orchwatch -f"
    yield "complete -c orchwatch -n 'contains -- -- (commandline -opc)' -F"
    for place in found:
        here = f"complete -c orchwatch -n {shlex.quote(f'__orchwatch_at {place.path}'.strip())}"
        if place.takes_files:
            yield f"{here} -F"
        for word, says in place.words:
            yield f"{here} -a {shlex.quote(word)} -d {shlex.quote(says)}"
        for option in place.options:
            value = ""
            if option.values:
                value = f" -xa {_words(option.values)}"
            elif option.takes:
                value = " -rF" if option.is_file else " -x"
            yield f"{here} -l {option.name[2:]}{value} -d {shlex.quote(option.says)}"
