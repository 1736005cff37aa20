"""What a person wants to know of a map's size and quality, as its provenance keeps it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["COUNTS", "counts", "reprojection"]

COUNTS = ("keyframes", "landmarks", "observations", "mean_track_length")


def counts(keyframes: int, landmarks: int, observations: int) -> dict[str, Any]:
    """How much there is, under the names of COUNTS."""
    tracks = round(observations / max(landmarks, 1), 3)
    return dict(zip(COUNTS, (keyframes, landmarks, observations, tracks), strict=True))


def reprojection(errors_px: NDArray[np.float64]) -> dict[str, Any]:
    """Root mean square of the reprojection errors [O] of all observations; None where there are none."""
    return {"reprojection_rmse_px": round(float(np.sqrt(np.mean(errors_px**2))), 4) if len(errors_px) else None}
