"""The engine cache: what a key is made of, one build among many processes, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hfnet_core.errors import BackendError
from hfnet_core.features.backends.tensorrt.building import cache as module
from hfnet_core.features.backends.tensorrt.building.cache import EngineCache, EngineKey

KEY = EngineKey(
    model_hash="ab" * 32,
    graph="cd" * 32,
    height=480,
    width=640,
    precision="fp16",
    gpu="NVIDIA GeForce RTX 4090",
    compute_capability="8.9",
    tensorrt="10.3.0",
    cuda="12040",
    selection="1000 within 4 px",
)
OTHER = {
    "model_hash": "00" * 32,
    "graph": "11" * 32,
    "height": 240,
    "width": 320,
    "precision": "fp32",
    "gpu": "Orin",
    "compute_capability": "8.7",
    "tensorrt": "8.6.1",
    "cuda": "11040",
    "selection": "500 within 4 px",
    "recipe": 99,
}
PLAN = bytes(range(256)) * 50


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "engines"


def never() -> tuple[bytes, dict[str, object]]:
    raise AssertionError("built although it was there")


def filled(folder: Path) -> EngineCache:
    cache = EngineCache(folder)
    cache.get_or_build(KEY, lambda: (PLAN, {"build_s": 1.5}))
    return cache


def file(folder: Path, suffix: str) -> Path:
    return folder / f"{KEY.name}{suffix}"


def test_every_field_makes_another_engine(folder: Path) -> None:
    assert set(OTHER) == {field.name for field in dataclasses.fields(EngineKey)}
    cache = filled(folder)
    for name, value in OTHER.items():
        key = dataclasses.replace(KEY, **{name: value})
        assert key.name != KEY.name
        assert cache.get(key) is None
        assert KEY.differences(key) == f"{name} {getattr(KEY, name)} -> {value}"
    assert KEY.name.startswith("abababab_640x480_fp16_NVIDIA-GeForce-RTX-4090_")


def test_what_is_built_is_found_again(folder: Path) -> None:
    filled(folder)
    found = EngineCache(folder).get_or_build(KEY, never)
    assert (found.plan, dict(found.facts)) == (PLAN, {"build_s": 1.5})
    assert [(key, dict(facts)) for key, facts in EngineCache(folder).entries()] == [(KEY, {"build_s": 1.5})]


def test_nobody_else_can_write_the_files(folder: Path) -> None:
    previous = os.umask(0)  # the most careless user
    try:
        filled(folder)
    finally:
        os.umask(previous)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.suffix: path.stat().st_mode & 0o777 for path in folder.iterdir()} == {
        ".engine": 0o600,
        ".json": 0o600,
        ".lock": 0o600,
    }


def replace_content(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def edit_record(folder: Path, **values: object) -> None:
    path = file(folder, ".json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "tampered": (lambda f: replace_content(file(f, ".engine"), PLAN[:-1] + b"x"), "checksum"),
    "truncated": (lambda f: replace_content(file(f, ".engine"), PLAN[:100]), "checksum"),
    "empty": (lambda f: replace_content(file(f, ".engine"), b""), "checksum"),
    "world-writable": (lambda f: file(f, ".engine").chmod(0o606), "others could have changed it"),
    "group-writable": (lambda f: file(f, ".engine").chmod(0o660), "others could have changed it"),
    "second name": (lambda f: os.link(file(f, ".engine"), f / "elsewhere"), "2 links"),
    "link": (
        lambda f: (file(f, ".engine").rename(f / "real"), file(f, ".engine").symlink_to(f / "real")),
        "plain file",
    ),
    "folder": (lambda f: (file(f, ".engine").unlink(), file(f, ".engine").mkdir()), "no plain file"),
    "engine missing": (lambda f: file(f, ".engine").unlink(), "missing beside its record"),
    "record world-writable": (lambda f: file(f, ".json").chmod(0o666), "others could have changed it"),
    "record not JSON": (lambda f: replace_content(file(f, ".json"), b"\xff\xfe"), "no record"),
    "record a list": (lambda f: replace_content(file(f, ".json"), b"[]"), "no record"),
    "record of another format": (lambda f: edit_record(f, format=2), "no record"),
    "record without key": (lambda f: edit_record(f, key={}), "no usable key"),
    "record of another engine": (
        lambda f: edit_record(f, key=dataclasses.asdict(dataclasses.replace(KEY, width=8))),
        "another engine",
    ),
    "record too large": (lambda f: replace_content(file(f, ".json"), b" " * (2 << 20)), "too many"),
}


@pytest.mark.parametrize("how", REFUSED)
def test_what_cannot_be_trusted_is_refused_with_a_message_and_built_again(
    folder: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    filled(folder)
    damage, message = REFUSED[how]
    damage(folder)
    cache = EngineCache(folder)
    with caplog.at_level(logging.WARNING):
        assert cache.get(KEY) is None
    assert message in caplog.text
    assert "it will be built again" in caplog.text
    if how == "folder":
        file(folder, ".engine").rmdir()
    assert cache.get_or_build(KEY, lambda: (b"new plan", {})).plan == b"new plan"
    found = EngineCache(folder).get(KEY)
    assert found is not None
    assert found.plan == b"new plan"


def test_files_of_another_user_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache = filled(folder)
    me = os.geteuid()
    monkeypatch.setattr(module.os, "geteuid", lambda: me + 1)
    assert cache.get(KEY) is None
    assert f"was written by user {me}" in caplog.text
    with pytest.raises(BackendError, match=f"belongs to user {me}"):
        EngineCache(folder)


def test_a_folder_that_others_can_write_loses_its_engines(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    filled(folder)
    folder.chmod(0o777)
    cache = EngineCache(folder)
    assert "thrown away" in caplog.text
    assert folder.stat().st_mode & 0o777 == 0o700
    assert cache.get(KEY) is None
    assert not list(folder.iterdir())


def test_a_linked_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    filled(folder)
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(BackendError, match="is a link or no folder"):
        EngineCache(tmp_path / "link")
    (tmp_path / "file").touch()
    with pytest.raises(BackendError, match="cannot be made"):
        EngineCache(tmp_path / "file" / "engines")


def test_a_message_says_what_differs(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    filled(folder)
    newer = dataclasses.replace(KEY, tensorrt="10.13.3", cuda="13000")
    EngineCache(folder).get_or_build(newer, lambda: (PLAN, {}))
    assert "the nearest differs in tensorrt 10.3.0 -> 10.13.3, cuda 12040 -> 13000" in caplog.text


def test_a_failed_build_leaves_nothing(folder: Path) -> None:
    def fail() -> tuple[bytes, dict[str, object]]:
        raise BackendError("no memory")

    cache = EngineCache(folder)
    with pytest.raises(BackendError, match="no memory"):
        cache.get_or_build(KEY, fail)
    assert [path.suffix for path in folder.iterdir()] == [".lock"]
    assert cache.get_or_build(KEY, lambda: (PLAN, {})).plan == PLAN  # the lock is free again


def test_an_engine_that_cannot_be_kept_still_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache = EngineCache(folder)

    def full(path: Path, content: bytes) -> None:
        raise BackendError(f"{path}: cannot be written (No space left on device)")

    monkeypatch.setattr(module, "_write_own", full)
    assert cache.get_or_build(KEY, lambda: (PLAN, {})).plan == PLAN
    assert "the next start must build it again" in caplog.text


def test_threads_build_once(folder: Path) -> None:
    builds: list[int] = []

    def build() -> tuple[bytes, dict[str, object]]:
        time.sleep(0.2)
        builds.append(1)
        return PLAN, {}

    threads = [threading.Thread(target=lambda: EngineCache(folder).get_or_build(KEY, build)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(builds) == 1


CHILD = """
import os, sys, time
from pathlib import Path
from hfnet_core.features.backends.tensorrt.building.cache import EngineCache, EngineKey
import json
folder, journal, key, mode = Path(sys.argv[1]), Path(sys.argv[2]), EngineKey(**json.loads(sys.argv[3])), sys.argv[4]
def build():
    with journal.open("a") as file:
        file.write("build\\n")
    if mode == "die":
        os._exit(9)
    time.sleep(1.0)
    return b"plan", {}
print(EngineCache(folder).get_or_build(key, build).plan.decode())
"""


def child(folder: Path, journal: Path, mode: str = "build") -> subprocess.Popen[str]:
    arguments = [str(folder), str(journal), json.dumps(dataclasses.asdict(KEY)), mode]
    return subprocess.Popen([sys.executable, "-c", CHILD, *arguments], stdout=subprocess.PIPE, text=True)


def test_processes_build_once(folder: Path, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    children = [child(folder, journal) for _ in range(2)]
    assert [process.communicate(timeout=60)[0] for process in children] == ["plan\n", "plan\n"]
    assert journal.read_text() == "build\n"


def test_a_builder_that_dies_blocks_nobody(folder: Path, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    assert child(folder, journal, "die").wait(60) == 9
    assert child(folder, journal).communicate(timeout=60)[0] == "plan\n"
    assert journal.read_text() == "build\nbuild\n"
