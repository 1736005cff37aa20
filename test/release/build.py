"""What a release hands out, into a new folder: `python test/release/build.py dist` (`make release`).

    hfnet_ros-X.Y.Z.tar.gz, hfnet_ros-X.Y.Z-py3-none-any.whl     the second is made from the first
    hfnet_ros-X.Y.Z-sample.zip                                    a small map and a drive (hfnet_core.synthetic.sample)
    SHA256SUMS

Only what is committed goes in; a working tree that differs is refused. The sample is localized in by the wheel that was
made, in a folder of its own, before anything is handed out.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAME = "hfnet_ros"


def run(*command: object, cwd: Path = ROOT, path: Path | None = None) -> str:
    """What a command prints; its errors go to the terminal. path: where Python looks for packages first."""
    environment = dict(os.environ) if path is None else {**os.environ, "PYTHONPATH": str(path)}
    words = [str(word) for word in command]
    return subprocess.run(words, cwd=cwd, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


def refuse_what_is_not_committed() -> None:
    changed = run("git", "status", "--porcelain")
    if changed:
        sys.exit(f"the working tree differs from the last commit; a release has only what is committed:\n{changed}")


def build_package(dist: Path, source: Path) -> Path:
    """Source archive and wheel of the files in `source`, a checkout without build folders. Returns the wheel."""
    run(sys.executable, "setup.py", "--quiet", "sdist", "--dist-dir", dist, cwd=source)
    (archive,) = dist.glob(f"{NAME}-*.tar.gz")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", dist, archive)
    (wheel,) = dist.glob(f"{NAME}-*.whl")
    return wheel


def build_sample(archive: Path, wheel: Path, work: Path) -> None:
    """The sample, made and tried by what is in the wheel."""
    package = work / "package"
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", package, wheel)
    sample = work / "sample"
    run(sys.executable, "-m", "hfnet_core.synthetic.sample", sample, cwd=work, path=package)
    hfnet = (sys.executable, "-m", "hfnet_core.cli.main")
    said = run(*hfnet, "localize", sample / "courtyard.hfmap", sample / "images", cwd=work, path=package)
    print(said, end="")
    found = re.search(r"^(\d+) of (\d+) images localized$", said, re.MULTILINE)
    if found is None or found[1] != found[2]:
        sys.exit("not every image of the sample is localized by the wheel: no release")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(path for path in sample.rglob("*") if path.is_file()):
            file.write(path, Path(archive.stem) / path.relative_to(sample))


def write_checksums(dist: Path) -> None:
    """As sha256sum writes and checks them."""
    files = sorted(path for path in dist.iterdir() if path.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (dist / "SHA256SUMS").write_text("".join(lines))


def main(dist: Path) -> None:
    if dist.exists():
        sys.exit(f"{dist}: is there already; remove it, or name another folder")
    refuse_what_is_not_committed()
    dist.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        source = work / "source"
        run("git", "worktree", "add", "--quiet", "--detach", source)
        try:
            wheel = build_package(dist, source)
        finally:
            run("git", "worktree", "remove", "--force", source)
        version = wheel.name.split("-")[1]
        build_sample(dist / f"{NAME}-{version}-sample.zip", wheel, work)
    write_checksums(dist)
    print((dist / "SHA256SUMS").read_text(), end="")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
