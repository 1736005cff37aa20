"""The Dockerfiles of config/docker, as far as they can be looked at without running a container."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "config/docker").glob("*.Dockerfile"))


def instructions(path: Path) -> list[tuple[str, str]]:
    """(RUN, its command) and so on, continued lines joined."""
    text = "\n".join(line for line in path.read_text().splitlines() if not line.startswith("#"))
    lines = re.sub(r"\\\n", " ", text).splitlines()
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines if line.strip())]


def pip_packages(path: Path) -> set[str]:
    """Names of what is installed from the package index."""
    found: set[str] = set()
    for word, command in instructions(path):
        for part in re.split(r"&&|;", command) if word == "RUN" else ():
            words = shlex.split(part)
            if "install" in words and any(one.endswith("pip") for one in words):
                found |= {one for one in words[words.index("install") + 1 :] if not one.startswith(("-", "/", "."))}
    return {re.split(r"[\[<>=]", one)[0] for one in found}


def test_there_is_one_for_ros_one_for_jetson_and_one_for_x86() -> None:
    assert [path.name for path in FILES] == ["ros.Dockerfile", "tensorrt-l4t.Dockerfile", "tensorrt-x86.Dockerfile"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_step_is_shell_and_what_it_names_of_ours_exists(path: Path) -> None:
    steps = instructions(path)
    assert {word for word, _ in steps} <= {
        "ARG",
        "FROM",
        "RUN",
        "COPY",
        "WORKDIR",
        "USER",
        "ENV",
        "VOLUME",
        "ENTRYPOINT",
        "CMD",
    }
    for word, rest in steps:
        if word == "RUN":
            done = subprocess.run(["sh", "-n", "-c", rest], capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{rest}: {done.stderr}"
        if word == "COPY":
            assert (ROOT / next(one for one in rest.split() if not one.startswith("--"))).exists()
    text = path.read_text()
    extras = set(",".join(re.findall(r"hfnet_ros\[([\w,]+)\]", text)).split(",")) - {""}
    assert extras <= set(re.findall(r'^        "(\w+)":', (ROOT / "setup.py").read_text(), re.MULTILINE))
    for launch in re.findall(r"[\w.]+\.launch\.py", text):
        assert (ROOT / "launch" / launch).is_file()
    assert path.name in text  # its own docker build command
    assert "UNTESTED" in text


@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_pip_installs_is_on_the_package_index(path: Path) -> None:
    if not reached():
        pytest.skip("the package index cannot be asked")
    for name in sorted(pip_packages(path)):
        asked = [sys.executable, "-m", "pip", "index", "versions", name]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{name}: {done.stderr}"


@cache
def reached() -> bool:
    asked = [sys.executable, "-m", "pip", "index", "versions", "typer"]
    return subprocess.run(asked, capture_output=True, check=False).returncode == 0
