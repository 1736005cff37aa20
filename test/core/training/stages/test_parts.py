# ruff: noqa: E402
"""Long work without steps: what was done is not done again."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from hfnet_core.training.stages.parts import Parts


def test_an_interrupted_pass_goes_on_behind_its_last_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made: list[int] = []

    def make(number: int) -> tuple[torch.Tensor, ...]:
        if number == 70 and 70 not in made:
            made.append(70)
            raise KeyboardInterrupt
        made.append(number)
        return (torch.full((2,), float(number)),)

    folder = tmp_path / "parts"
    with pytest.raises(KeyboardInterrupt):
        list(Parts(folder).each("squares", 80, make))
    assert made == list(range(71))
    made.clear()
    (folder / "squares_32.pt").write_bytes(b"damaged")
    made.append(70)
    found = [int(rows[0]) for (rows,) in Parts(folder).each("squares", 80, make)]
    assert found == list(range(80))
    assert made == [70, *range(32, 80)]
    assert "squares_32.pt: is damaged" in caplog.text

    parts = Parts(folder)
    parts.finish("head", {"words": torch.ones(3)})
    assert [path.name for path in folder.iterdir()] == ["head.pt"]
    assert torch.equal(parts.read("head")["words"], torch.ones(3))


def test_without_a_folder_nothing_is_kept() -> None:
    parts = Parts()
    assert [int(rows) for (rows,) in parts.each("x", 3, lambda number: (torch.tensor(number),))] == [0, 1, 2]
    parts.finish("head", 1)
    assert parts.read("head") is None
