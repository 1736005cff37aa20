"""A camera that nobody has calibrated."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hfnet_core.extras import needed
from hfnet_core.types import Camera

__all__ = ["guess_camera"]

_FOCAL_SHARE = 1.2  # of the longer side: a view of 45 degrees, the middle of what phones and webcams have
_EXIF = b"Exif\x00\x00"
_HEADER = 65536  # bytes of a JPEG that its EXIF stands in


def guess_camera(width: int, height: int, encoded: bytes = b"") -> Camera:
    """A pinhole with one radial coefficient, its focal length from EXIF where the encoded image has it.

    Images of one size without EXIF get equal guesses.
    """
    focal = _FOCAL_SHARE * max(width, height)
    if _EXIF in encoded[:_HEADER]:
        focal = _from_exif(encoded) or focal
    return Camera("SIMPLE_RADIAL", width, height, (focal, (width - 1) / 2, (height - 1) / 2, 0.0))


def _from_exif(encoded: bytes) -> float | None:
    """The focal length in pixels, by pycolmap's reading of EXIF and its list of sensors, or None."""
    with tempfile.NamedTemporaryFile(suffix=".jpg") as file:
        file.write(encoded)
        file.flush()
        camera = needed("pycolmap").infer_camera_from_image(Path(file.name))
    return float(camera.params[0]) if camera.has_prior_focal_length else None
