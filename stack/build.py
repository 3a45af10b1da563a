"""Build the servers, and the tools that check their files, from their Go modules into a cache.

`python3 stack/build.py` builds what is missing and says so, `python3 stack/build.py servers` only
what `make up` runs. Each component lies in a directory of
its own, named by its version and a hash of everything that decides what is built, so a change of
one rebuilds that one only:
`${XDG_CACHE_HOME:-~/.cache}/orchwatch/stack/<component>-<version>-<hash>/bin/`.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
MODULES = ROOT / "stack" / "go"
MANIFEST = ROOT / "collector" / "builder.yaml"
BUILDER = "go.opentelemetry.io/collector/cmd/builder"

# Static and stripped; no version control stamp, because the modules stand inside this checkout.
_GO_BUILD = ("go", "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags=-s -w")
# A go.work in a directory above must not decide what is built.
_GO_ENVIRONMENT = {"CGO_ENABLED": "0", "GOWORK": "off"}
_SHOWN_LOG_LINES = 20

# As a shell says that Ctrl-C ended a command.
EXIT_INTERRUPTED = 130


class StackError(Exception):
    """What keeps the stack from being built or run, in one line that a person can act on."""


@dataclass(frozen=True, kw_only=True)
class Component:
    """One Go module and what is built from it.

    Attributes:
        name: The directory under `stack/go` that holds its go.mod and go.sum.
        requires: The module whose required version is the component's version.
        packages: Main packages; the last element of each is the binary's name. Empty: the
            Collector, whose sources the builder writes.
        binaries: The names of the files that the build leaves in `bin/`.
        serves: Whether the stack runs it; else only tests do.
    """

    name: str
    requires: str
    packages: tuple[str, ...]
    binaries: tuple[str, ...]
    serves: bool = True

    @property
    def module(self) -> Path:
        """The directory of its go.mod and go.sum."""
        return MODULES / self.name

    def inputs(self) -> list[Path]:
        """The files that decide what is built."""
        files = [self.module / "go.mod", self.module / "go.sum"]
        return files if self.packages else [*files, MANIFEST]

    def version(self) -> str:
        """The version that go.mod requires."""
        required = re.search(
            rf"^\s*(?:require )?{re.escape(self.requires)} v(\S+)",
            (self.module / "go.mod").read_text(),
            re.MULTILINE,
        )
        if required is None:
            raise StackError(f"{self.module / 'go.mod'} does not require {self.requires}")
        return required[1]

    def directory(self) -> Path:
        """Where its `bin/` lies in the cache, built or not."""
        digest = hashlib.sha256("\0".join(_GO_BUILD).encode())
        for file in self.inputs():
            digest.update(file.read_bytes())
        return cache_directory() / f"{self.name}-{self.version()}-{digest.hexdigest()[:12]}"

    def is_built(self) -> bool:
        """Whether the cache has it."""
        return (self.directory() / "bin").is_dir()


COMPONENTS = (
    Component(name="collector", requires=BUILDER, packages=(), binaries=("otelcol",)),
    Component(
        name="prometheus",
        requires="github.com/prometheus/prometheus",
        packages=(
            "github.com/prometheus/prometheus/cmd/prometheus",
            "github.com/prometheus/prometheus/cmd/promtool",
        ),
        binaries=("prometheus", "promtool"),
    ),
    Component(
        name="tempo",
        requires="github.com/grafana/tempo",
        packages=("github.com/grafana/tempo/cmd/tempo",),
        binaries=("tempo",),
    ),
    # 0.30 and later embed a page that the Go module does not carry.
    Component(
        name="alertmanager",
        requires="github.com/prometheus/alertmanager",
        packages=(
            "github.com/prometheus/alertmanager/cmd/alertmanager",
            "github.com/prometheus/alertmanager/cmd/amtool",
        ),
        binaries=("alertmanager", "amtool"),
    ),
    Component(
        name="pint",
        requires="github.com/cloudflare/pint",
        packages=("github.com/cloudflare/pint/cmd/pint",),
        binaries=("pint",),
        serves=False,
    ),
    Component(
        name="dashboard-linter",
        requires="github.com/grafana/dashboard-linter",
        packages=("github.com/grafana/dashboard-linter",),
        binaries=("dashboard-linter",),
        serves=False,
    ),
    Component(
        name="helm",
        requires="helm.sh/helm/v4",
        packages=("helm.sh/helm/v4/cmd/helm",),
        binaries=("helm",),
        serves=False,
    ),
)


SERVERS = tuple(component for component in COMPONENTS if component.serves)


def cache_directory() -> Path:
    """The directory that holds every built component."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "orchwatch" / "stack"


def binaries(wanted: tuple[Component, ...] = COMPONENTS) -> dict[str, Path]:
    """Where each binary lies, by its name.

    Args:
        wanted: Of which components.

    Raises:
        StackError: One of them is not built.
    """
    missing = [component.name for component in wanted if not component.is_built()]
    if missing:
        raise StackError(f"not built: {', '.join(missing)} (run `make stack`)")
    return {
        binary: component.directory() / "bin" / binary
        for component in wanted
        for binary in component.binaries
    }


def build_missing(out: IO[str], wanted: tuple[Component, ...] = COMPONENTS) -> None:
    """Build the wanted components that the cache lacks, one at a time, and report each to `out`.

    Raises:
        StackError: Go is missing, or a build failed.
    """
    for component in wanted:
        label = f"{component.name} {component.version()}"
        if component.is_built():
            print(f"{label}: in the cache", file=out, flush=True)
            continue
        if shutil.which("go") is None:
            raise StackError("Go is not installed (no `go` in PATH): it builds the local stack")
        with _locked(out):
            if component.is_built():
                print(f"{label}: built by another process", file=out, flush=True)
                continue
            print(f"{label}: building (minutes, if Go's caches are empty)", file=out, flush=True)
            started = time.monotonic()
            _build(component)
            print(f"{label}: built in {time.monotonic() - started:.0f} s", file=out, flush=True)


@contextmanager
def _locked(out: IO[str]) -> Iterator[None]:
    """Hold the cache's lock: one build takes all cores, and two of the same would be waste."""
    cache_directory().mkdir(parents=True, exist_ok=True)
    with (cache_directory() / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for another build to end", file=out, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(component: Component) -> None:
    """Build into a directory beside the final one and rename: what is in the cache is whole."""
    work = Path(tempfile.mkdtemp(prefix=f".{component.name}-", dir=cache_directory()))
    try:
        built = work / "built" / "bin"
        built.mkdir(parents=True)
        if component.packages:
            _go_build(component.module, built, *component.packages)
        else:
            _build_collector(component, work, built)
        built.parent.rename(component.directory())
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _build_collector(component: Component, work: Path, built: Path) -> None:
    """Let the builder write the sources, and compile them with the committed go.mod and go.sum.

    The builder's own way resolves versions anew and downloads modules that are not compiled, some
    of which cannot be had.
    """
    _go_build(component.module, work, BUILDER)
    only_sources = ("--skip-get-modules", "--skip-compilation")
    _run([str(work / "builder"), "--config", str(MANIFEST), *only_sources], work)
    sources = work / "otelcol"
    for file in ("go.mod", "go.sum"):
        shutil.copy(component.module / file, sources / file)
    _go_build(sources, built / "otelcol", ".")


def _go_build(module: Path, output: Path, *packages: str) -> None:
    destination = f"{output}/" if output.is_dir() else str(output)
    _run([*_GO_BUILD, "-o", destination, *packages], module)


def _run(command: list[str], directory: Path) -> None:
    done = subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, **_GO_ENVIRONMENT},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        log = [line for line in done.stdout.splitlines() if not line.startswith("go: downloading")]
        print("\n".join(log[-_SHOWN_LOG_LINES:]), file=sys.stderr)
        raise StackError(f"`{' '.join(command[:2])}` failed in {directory} ({done.returncode})")


def main() -> int:
    """Build what is missing; one line on stderr and 1 if that fails, 130 for Ctrl-C."""
    parser = argparse.ArgumentParser(description="Build what the local stack consists of.")
    parser.add_argument("what", nargs="?", choices=("servers",), help="only what `make up` runs")
    wanted = SERVERS if parser.parse_args().what else COMPONENTS
    try:
        build_missing(sys.stdout, wanted)
    except StackError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        where = error.filename or cache_directory()
        print(f"error: {where}: {error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: what had been built whole is kept", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
