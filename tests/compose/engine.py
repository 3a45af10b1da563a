"""A Docker engine of the test's own, and docker compose on it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT = Path(__file__).resolve().parents[2]

# Of its own, so that what the engine leaves behind there can be told from what was there before.
_CGROUP = "orchwatch-test-compose"
_CGROUPS = Path("/sys/fs/cgroup")
_WAIT_S = 60.0
_POLL_S = 0.2

T = TypeVar("T")


def wait_until(what: str, probe: Callable[[], T], timeout_s: float = _WAIT_S) -> T:
    """Returns the first true answer of `probe`, or fails saying what did not come about."""
    deadline = time.monotonic() + timeout_s
    while not (answer := probe()):
        assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s: {what} ({answer!r})"
        time.sleep(_POLL_S)
    return answer


class Engine:
    """One `dockerd` with its data in a directory that goes with it."""

    def __init__(self) -> None:
        # Short: a socket's path has room for some hundred characters.
        self.directory = Path(tempfile.mkdtemp(prefix="orchwatch-engine-"))
        self.address = f"unix://{self.directory}/docker.sock"
        with (self.directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    "dockerd",
                    f"--host={self.address}",
                    f"--data-root={self.directory}/data",
                    f"--exec-root={self.directory}/exec",
                    f"--pidfile={self.directory}/pid",
                    f"--cgroup-parent=/{_CGROUP}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait_until("dockerd answers", self._answers)

    def stop(self) -> None:
        """Ends the engine and removes all that it made."""
        self._process.terminate()
        self._process.wait()
        shutil.rmtree(self.directory)
        for parent in [*_CGROUPS.glob(_CGROUP), *_CGROUPS.glob(f"*/{_CGROUP}")]:
            for directory, _, _ in os.walk(parent, topdown=False):
                Path(directory).rmdir()

    def docker(self, *arguments: str, stdin: Path | None = None) -> str:
        """Runs a docker command, fed with a file, and returns what it printed."""
        with (stdin or Path(os.devnull)).open("rb") as source:
            return subprocess.run(
                ["docker", "--host", self.address, *arguments],
                stdin=source,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            ).stdout

    def inspect(self, container: str) -> dict[str, Any]:
        """What the engine knows about a container."""
        found: list[dict[str, Any]] = json.loads(self.docker("inspect", container))
        return found[0]

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self.directory / "log").read_text()[-2000:]
        return (
            subprocess.run(
                ["docker", "--host", self.address, "version"], capture_output=True, check=False
            ).returncode
            == 0
        )


def by_tag(image: str) -> str:
    """The image without its digest, which nothing that is made here can have."""
    return image.partition("@")[0]


def python_image(directory: Path) -> str:
    """The image that a Dockerfile begins with."""
    dockerfile = (directory / "Dockerfile").read_text()
    (image,) = re.findall(r"^ARG PYTHON=(\S+)", dockerfile, re.MULTILINE)
    return str(image)


class Project:
    """A docker-compose.yml with the settings of one user.

    Attributes:
        directory: Where it lies: the repository, or what `orchwatch generate --output` wrote.
        home: `ORCHWATCH_HOME` on the host.
        claude: `CLAUDE_CONFIG_DIR` there.
        settings: What that user has set besides.
    """

    def __init__(self, engine: Engine, home: Path, directory: Path = ROOT, **settings: str) -> None:
        self.engine = engine
        self.directory = directory
        self.home = home
        self.claude = home.with_name(f"{home.name}-claude")
        self.settings: Mapping[str, str] = settings

    def compose(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs a docker compose command."""
        done = subprocess.run(
            [
                os.environ["ORCHWATCH_TEST_COMPOSE"],
                # No .env: the one of this checkout is somebody's own.
                f"--env-file={os.devnull}",
                "--file=docker-compose.yml",
                f"--file={self._images_by_tag()}",
                *arguments,
            ],
            cwd=self.directory,
            env={
                "PATH": os.environ["PATH"],
                "HOME": os.environ["HOME"],
                "DOCKER_HOST": self.engine.address,
                # The other builder is an image, which would have to be pulled.
                "DOCKER_BUILDKIT": "0",
                "ORCHWATCH_HOME": str(self.home),
                "CLAUDE_CONFIG_DIR": str(self.claude),
                **self.settings,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0 or not check, f"{done.stdout}\n{done.stderr}"
        return done

    def _images_by_tag(self) -> Path:
        services = yaml.safe_load((self.directory / "docker-compose.yml").read_text())["services"]
        build = {"build": {"args": {"PYTHON": by_tag(python_image(self.directory))}}}
        changed = {
            name: {"image": by_tag(settings["image"])} if "image" in settings else build
            for name, settings in services.items()
        }
        file = self.engine.directory / "by-tag.yml"
        file.write_text(yaml.safe_dump({"services": changed}))
        return file

    def up(self, *services: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Starts services, and what they depend on."""
        self.compose("build", "prepare")
        return self.compose("up", "--detach", "--pull=never", *services, check=check)

    def remove(self) -> None:
        """Removes the containers and all that they stored."""
        self.compose("--profile=demo", "down", "--volumes", "--timeout=2")

    def container(self, service: str) -> dict[str, Any]:
        """What the engine knows about the container of a service."""
        identity = self.compose("ps", "--all", "--quiet", service).stdout.strip()
        return self.engine.inspect(identity)

    def logs(self, service: str) -> str:
        """What a service printed."""
        return self.compose("logs", "--no-color", "--no-log-prefix", service).stdout
