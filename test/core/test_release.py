"""What a release hands out (test/release/build.py), as far as it can be looked at without a package index."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
import tarfile
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

ROOT = Path(__file__).parents[2]


def build_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("release_build", ROOT / "test/release/build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_source_archive_holds_what_its_own_setup_reads_and_the_wheel_needs(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "setup.py",
        "--quiet",
        "egg_info",
        "--egg-base",
        tmp_path,
        "sdist",
        "--dist-dir",
        tmp_path,
    ]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        held = {name.partition("/")[2] for name in file.getnames()}
    for name in (
        "setup.py",
        "setup.cfg",
        "package.xml",
        "README.md",
        "LICENSE",
        "resource/hfnet_ros",
        "config/localization.yaml",
    ):
        assert name in held
    for folder, pattern in (
        ("hfnet_core", "*.py"),
        ("hfnet_core/models", "*"),
        ("hfnet_ros", "*.py"),
        ("launch", "*.py"),
    ):
        wanted = {str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob(pattern) if path.is_file()}
        assert {name for name in wanted if "__pycache__" not in name} <= held
    assert {f"hfnet_ros/executables/{path.name}" for path in (ROOT / "hfnet_ros/executables").iterdir()} <= held


def test_checksums_are_those_sha256sum_checks(tmp_path: Path) -> None:
    (tmp_path / "one.whl").write_bytes(b"one")
    (tmp_path / "two.zip").write_bytes(b"two")
    build_script().write_checksums(tmp_path)
    expected = [
        f"{hashlib.sha256(word).hexdigest()}  {name}" for word, name in ((b"one", "one.whl"), (b"two", "two.zip"))
    ]
    assert (tmp_path / "SHA256SUMS").read_text().splitlines() == expected
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=tmp_path, check=True, capture_output=True)


def test_package_xml_has_what_bloom_reads() -> None:
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    version = package.findtext("version") or ""
    assert package.get("format") == "3"
    assert [part.isdigit() for part in version.split(".")] == [True] * 3  # bloom takes no other versions
    assert package.find("maintainer").get("email")  # type: ignore[union-attr]
    for name in ("name", "description", "license", "maintainer"):
        assert (package.findtext(name) or "").strip()
    assert package.findtext("export/build_type") == "ament_python"
    keys = [key.text for key in package.iter() if key.tag.endswith("_depend")]
    assert len(keys) == len(set(keys))
