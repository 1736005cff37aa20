"""`python -m hfnet_core.features.backends.tensorrt.build_process REQUEST`: build one engine into the cache.

REQUEST is JSON: model (path), size ([height, width]), config (EngineConfig), extraction (ExtractorConfig). Prints one
line and ends with status 2 when that fails.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from hfnet_core.config import EngineConfig, ExtractorConfig, from_mapping
from hfnet_core.errors import HFNetError
from hfnet_core.features.backends.tensorrt.backend import TensorRTBackend

__all__ = ["main"]


def main(request: str) -> int:
    values = json.loads(request)
    try:
        extraction = from_mapping(ExtractorConfig, values["extraction"])
        backend = TensorRTBackend(Path(values["model"]), from_mapping(EngineConfig, values["config"]), extraction)
        try:
            backend.build(*values["size"])
        finally:
            backend.close()
    except HFNetError as error:
        print(error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
