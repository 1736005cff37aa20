"""Every dataset by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from hfnet_core.benchmarks.datasets.aachen import Aachen, AachenV11
from hfnet_core.benchmarks.datasets.cambridge import Cambridge
from hfnet_core.benchmarks.datasets.cmu import Cmu, ExtendedCmu
from hfnet_core.benchmarks.datasets.dataset import Dataset
from hfnet_core.benchmarks.datasets.inloc import InLoc
from hfnet_core.benchmarks.datasets.robotcar import RobotCar, RobotCarV2
from hfnet_core.benchmarks.datasets.scenes import SevenScenes, TwelveScenes
from hfnet_core.errors import ConfigError

__all__ = ["DATASETS", "open_dataset"]

DATASETS: Mapping[str, Callable[[Path], Dataset]] = {
    "aachen": Aachen,
    "aachen-v1.1": AachenV11,
    "robotcar": RobotCar,
    "robotcar-v2": RobotCarV2,
    "cmu": Cmu,
    "cmu-extended": ExtendedCmu,
    "7scenes": SevenScenes,
    "12scenes": TwelveScenes,
    "cambridge": Cambridge,
    "inloc": InLoc,
}


def open_dataset(name: str, root: Path) -> Dataset:
    """Raises ConfigError for a name that is not in DATASETS, or a folder that is not there."""
    if name not in DATASETS:
        raise ConfigError(f"dataset {name!r} is not known; choose {', '.join(DATASETS)}")
    return DATASETS[name](root)
