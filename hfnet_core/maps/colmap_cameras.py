"""Our cameras as pycolmap's."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from hfnet_core.extras import later
from hfnet_core.types import Camera

if TYPE_CHECKING:
    import pycolmap
else:
    pycolmap = later("pycolmap")

__all__ = ["colmap_camera", "to_pycolmap"]


def to_pycolmap(camera: Camera, camera_id: int = 1) -> pycolmap.Camera:
    """The same camera for pycolmap, in our pixels."""
    return pycolmap.Camera(
        camera_id=camera_id, model=camera.model, width=camera.width, height=camera.height, params=list(camera.params)
    )


@lru_cache(maxsize=64)
def colmap_camera(camera: Camera) -> Any:
    """The same, made once; not to be changed."""
    return to_pycolmap(camera)
