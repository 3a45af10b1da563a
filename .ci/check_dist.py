"""Whether a sdist and a wheel hold what they must, and an index would take and show them."""

from __future__ import annotations

import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

from packaging.metadata import Metadata
from readme_renderer import markdown

ROOT = Path(__file__).resolve().parents[1]


def main(directory: Path) -> None:
    """Exits with one line where something is wrong."""
    (sdist,) = directory.glob("*.tar.gz")
    (wheel,) = directory.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = set(archive.namelist())
        (name,) = (name for name in in_wheel if name.endswith(".dist-info/METADATA"))
        check_metadata(Metadata.from_email(archive.read(name), validate=True))
    with tarfile.open(sdist) as tar:
        in_sdist = {name.partition("/")[2] for name in tar.getnames()}

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for name in project["tool"]["hatch"]["build"]["hooks"]["custom"]["files"]:
        for path in [ROOT / name, *(ROOT / name).rglob("*")]:
            if path.is_file():
                below = str(path.relative_to(ROOT))
                require(below in in_sdist, f"{sdist.name} lacks {below}")
                require(f"orchwatch/stack/{below}" in in_wheel, f"{wheel.name} lacks {below}")
    sources = ROOT / "instrumentation"
    for path in sources.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            below = str(path.relative_to(sources))
            require(below in in_wheel, f"{wheel.name} lacks {below}")
            require(f"instrumentation/{below}" in in_sdist, f"{sdist.name} lacks {below}")
    foreign = {name for name in in_wheel if not name.startswith(("orchwatch/", "orchwatch-"))}
    require(not foreign, f"{wheel.name} installs {', '.join(sorted(foreign))} as well")


def check_metadata(metadata: Metadata) -> None:
    """What an index shows."""
    require(metadata.description_content_type == "text/markdown", "the README is no Markdown")
    require(bool(markdown.render(metadata.description or "")), "the README cannot be shown")
    require({"Homepage", "Changelog"} <= set(metadata.project_urls or {}), "no project URLs")


def require(holds: bool, otherwise: str) -> None:  # noqa: FBT001 - as assert has it
    """Ends with an error unless something holds."""
    if not holds:
        sys.exit(f"error: {otherwise}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
