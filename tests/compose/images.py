"""Images of the pinned names, made from what `make stack` built, as bare as the published ones.

What a published image lacks is missing here too: a health check that needs a shell where there is
none, or a user that cannot write, fails in the test as it would fail for a user.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from tests.compose.engine import ROOT, Engine, by_tag, python_image

from build import binaries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PASSWD = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
_PIP_CONFIG = b"[global]\nno-index = true\nfind-links = /wheels\n"
_NOBODY = 65534
_TEMPO = 10001
_LIBRARIES = "lib/x86_64-linux-gnu"
# The loader, and what compiled wheels may count on (PEP 600) beyond what the interpreter needs.
_WANTED_BY_WHEELS = (
    # Debian has it in every image.
    "libcrypt.so.1",
    "ld-linux-x86-64.so.2",
    "libdl.so.2",
    "libgcc_s.so.1",
    "libpthread.so.0",
    "librt.so.1",
    "libstdc++.so.6",
)
# Parts of Python that no program of ours runs.
_LEFT_OUT = {"__pycache__", "idlelib", "site-packages", "test"}


class Tree:
    """The root file system of an image, written as a tar archive."""

    def __init__(self, archive: Path) -> None:
        self._tar = tarfile.open(archive, "w")  # noqa: SIM115 (closed by close)

    def close(self) -> None:
        """Ends the archive."""
        self._tar.close()

    def directory(self, path: str, *, owner: int = 0, mode: int = 0o755) -> None:
        """Adds an empty directory."""
        entry = tarfile.TarInfo(path)
        entry.type, entry.mode, entry.uid, entry.gid = tarfile.DIRTYPE, mode, owner, owner
        self._tar.addfile(entry)

    def text(self, path: str, content: bytes) -> None:
        """Adds a file with this content."""
        entry = tarfile.TarInfo(path)
        entry.size, entry.mode = len(content), 0o644
        self._tar.addfile(entry, io.BytesIO(content))

    def link(self, path: str, target: str) -> None:
        """Adds a symbolic link."""
        entry = tarfile.TarInfo(path)
        entry.type, entry.linkname = tarfile.SYMTYPE, target
        self._tar.addfile(entry)

    def copy(self, path: str, source: Path) -> None:
        """Adds a file, or a directory with all that is in it, as root's."""
        self._tar.add(source.resolve(), path, filter=_as_root)

    def busybox(self, directory: str) -> None:
        """Adds a static busybox and a link for each of its commands."""
        found = shutil.which("busybox")
        assert found is not None
        self.copy(f"{directory}/busybox", Path(found))
        for command in _output("busybox", "--list").split():
            if command != "busybox":
                self.link(f"{directory}/{command}", f"/{directory}/busybox")


def import_all(engine: Engine) -> None:
    """Makes every image that the compose file and the Dockerfile name, except Grafana's."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    _import(engine, services["collector"]["image"], _collector, "USER 10001", "/otelcol-contrib")
    _import(engine, services["prometheus"]["image"], _prometheus, "USER nobody", "/bin/prometheus")
    alertmanager = services["alertmanager"]["image"]
    _import(engine, alertmanager, _alertmanager, "USER nobody", "/bin/alertmanager")
    _import(engine, services["tempo"]["image"], _tempo, "USER 10001:10001", "/tempo")
    _import(engine, python_image(ROOT), _python, "ENV PATH=/usr/local/bin:/bin", "")


def _import(
    engine: Engine, image: str, fill: Callable[[Tree], None], change: str, entrypoint: str
) -> None:
    changes = [f"--change={change}"]
    if entrypoint:
        changes.append(f'--change=ENTRYPOINT ["{entrypoint}"]')
    with tempfile.TemporaryDirectory() as directory:
        archive = Path(directory) / "tree.tar"
        tree = Tree(archive)
        fill(tree)
        tree.close()
        engine.docker("import", *changes, "-", by_tag(image), stdin=archive)


def _collector(tree: Tree) -> None:
    tree.copy("otelcol-contrib", binaries()["otelcol"])


def _prometheus(tree: Tree) -> None:
    tree.busybox("bin")
    tree.copy("bin/prometheus", binaries()["prometheus"])
    tree.copy("bin/promtool", binaries()["promtool"])
    tree.text("etc/passwd", _PASSWD)
    tree.directory("prometheus", owner=_NOBODY)
    tree.directory("tmp", mode=0o1777)


def _alertmanager(tree: Tree) -> None:
    tree.busybox("bin")
    tree.copy("bin/alertmanager", binaries()["alertmanager"])
    tree.copy("bin/amtool", binaries()["amtool"])
    tree.text("etc/passwd", _PASSWD)
    tree.directory("alertmanager", owner=_NOBODY)


def _tempo(tree: Tree) -> None:
    tree.busybox("busybox")
    tree.copy("tempo", binaries()["tempo"])
    tree.directory("var/tempo", owner=_TEMPO, mode=0o700)


def _python(tree: Tree) -> None:
    """The interpreter that runs this test, moved to /usr/local, with the wheels to install from."""
    base = Path(sys.base_prefix)
    tree.busybox("bin")
    tree.text("etc/passwd", _PASSWD)
    tree.text("etc/pip.conf", _PIP_CONFIG)
    tree.copy("wheels", Path(os.environ["ORCHWATCH_TEST_WHEELS"]))
    tree.directory("tmp", mode=0o1777)
    tree.copy("usr/local/bin/python3", Path(sys.executable))
    tree.link("usr/local/bin/python", "python3")
    library = f"lib/python{sys.version_info.major}.{sys.version_info.minor}"
    tree.copy(f"usr/local/{library}", base / library)
    for name, path in _shared_libraries(base / library):
        tree.copy(f"{_LIBRARIES}/{name}", path)
    tree.directory("lib64")
    tree.link("lib64/ld-linux-x86-64.so.2", f"/{_LIBRARIES}/ld-linux-x86-64.so.2")


def _shared_libraries(library: Path) -> Iterator[tuple[str, Path]]:
    """What the interpreter, its modules and compiled wheels are linked to: (name, where)."""
    modules = [str(module) for module in (library / "lib-dynload").glob("*.so")]
    loaded = _output("ldd", str(Path(sys.executable).resolve()), *modules)
    found = dict(re.findall(r"(\S+) => (/\S+)", loaded))
    for name in _WANTED_BY_WHEELS:
        found[name] = str(Path(found["libc.so.6"]).with_name(name))
    for name, path in found.items():
        yield name, Path(path)


def _as_root(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if not _LEFT_OUT.isdisjoint(Path(entry.name).parts):
        return None
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def _output(*command: str) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
