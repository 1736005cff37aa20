"""A process gives back what it freed."""

from __future__ import annotations

import platform
import threading

import pytest
from processes import resident_bytes

from hfnet_ros import memory
from hfnet_ros.memory import Tidier, give_back_freed


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc: it has no such pools")
def test_what_a_thread_freed_goes_back_to_the_system() -> None:
    kept: list[bytes] = []

    def work() -> None:
        pieces = [bytes([1]) * 20_000 for _ in range(4000)]
        kept.extend(pieces[::100])  # so that the pool has no end that is free

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    before_mb = resident_bytes() / 1e6
    give_back_freed()
    assert resident_bytes() / 1e6 < before_mb - 50


def test_a_process_is_tidied_when_it_has_grown(monkeypatch: pytest.MonkeyPatch) -> None:
    resident, tidied = [100 << 20], []
    monkeypatch.setattr(memory, "_resident_bytes", lambda: resident[0])

    def give_back() -> None:
        tidied.append(resident[0] >> 20)
        resident[0] = min(resident[0], 110 << 20)

    monkeypatch.setattr(memory, "give_back_freed", give_back)
    tidier = Tidier()
    for megabytes in (100, 110, 115, 200, 120, 125, 130):
        resident[0] = megabytes << 20
        tidier.tidy()
    assert tidied == [100, 200, 130]
