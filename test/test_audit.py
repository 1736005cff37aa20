"""`make lint` asks pip-audit, and says so where there is nobody to ask."""

from __future__ import annotations

import json
import subprocess
from types import SimpleNamespace

import audit
import pytest


def answered(monkeypatch: pytest.MonkeyPatch, *packages: dict[str, object]) -> None:
    said = SimpleNamespace(stdout=json.dumps({"dependencies": packages}))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: said)


CLEAN = {"name": "a", "version": "1", "vulns": []}
BAD = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
UNKNOWN = {"name": "c", "skip_reason": "not found"}


def test_a_known_vulnerability_fails_and_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answered(monkeypatch, CLEAN, BAD, UNKNOWN)
    assert audit.main() == 1
    assert "b 2: CVE-1, mended in 3" in capsys.readouterr().out
    answered(monkeypatch, CLEAN, UNKNOWN)
    assert audit.main() == 0
    assert "1 of 2 packages asked about, 0 vulnerabilities" in capsys.readouterr().out


def test_without_data_it_is_skipped_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answered(monkeypatch, UNKNOWN)
    assert audit.main() == 0
    assert "pip-audit: SKIPPED" in capsys.readouterr().out
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(stdout="no network"))
    assert audit.main() == 0
    assert "pip-audit: SKIPPED" in capsys.readouterr().out
