"""Small rendered places on disk, exactly as the datasets of visual localization lie there.

`write_copy("aachen", folder)` gives data to try `hfnet benchmark` with before anything is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from hfnet_core.errors import ConfigError
from hfnet_core.geometry import Pose
from hfnet_core.synthetic.copies import indoor, outdoor

__all__ = ["COPIES", "write_copy"]

COPIES: Mapping[str, Callable[[Path], dict[str, Pose]]] = {
    "aachen": outdoor.aachen,
    "aachen-v1.1": outdoor.aachen_v1_1,
    "robotcar": outdoor.robotcar,
    "robotcar-v2": outdoor.robotcar_v2,
    "cmu": outdoor.cmu,
    "cmu-extended": outdoor.cmu_extended,
    "7scenes": indoor.seven_scenes,
    "12scenes": indoor.twelve_scenes,
    "cambridge": outdoor.cambridge,
    "inloc": indoor.inloc,
}


def write_copy(dataset: str, folder: Path) -> dict[str, Pose]:
    """Lay out a small place as a dataset; the true pose of every query by its name in the dataset.

    Raises ConfigError for a dataset that is not in COPIES.
    """
    if dataset not in COPIES:
        raise ConfigError(f"no copy of {dataset!r} can be made; choose {', '.join(COPIES)}")
    return COPIES[dataset](folder)
