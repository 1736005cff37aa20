"""Tables that a resumed run goes on writing."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs torch")

from hfnet_core.errors import DatasetError
from hfnet_core.training.stages.csv_table import StepTable


def test_what_a_killed_run_wrote_after_its_checkpoint_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    killed = StepTable(path)
    for step in (10, 20, 30):
        killed.append(step, {"loss": f"{step}.5", "rate": "1"})
    with path.open("a") as file:
        file.write("4")  # cut off within a row
    resumed = StepTable(path)
    resumed.append(20, {"loss": "0", "rate": "2"})
    resumed.append(30, {"loss": "1", "rate": "2"})
    assert path.read_text() == "step,loss,rate\n10,10.5,1\n20,0,2\n30,1,2\n"


def test_a_table_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"log\.csv: cannot be written .*; make room"):
        StepTable(tmp_path / "none" / "log.csv").append(1, {"loss": "1"})
