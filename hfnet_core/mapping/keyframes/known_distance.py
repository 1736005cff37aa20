"""The distance between two images that somebody has measured, as text."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hfnet_core.errors import ConfigError

__all__ = ["KnownDistance", "known_distance", "named_images"]


_IMAGE = r"(?:(\d+)/)?(\d+)"  # recording, number


@dataclass(frozen=True)
class KnownDistance:
    """The distance between the cameras of two images; each is (recording, image number), both from 0."""

    first: tuple[int, int]
    second: tuple[int, int]
    metres: float


def known_distance(text: str) -> KnownDistance | None:
    """From `A B METRES` as the setting has it; None for an empty text. Raises ConfigError."""
    if not text.strip():
        return None
    found = re.fullmatch(rf"{_IMAGE}\s+{_IMAGE}\s+(\d+\.?\d*|\.\d+)", text.strip())
    numbers = [int(value or 0) for value in found.groups()[:4]] if found else []
    metres = float(found.group(5)) if found else 0.0
    if not metres or numbers[:2] == numbers[2:]:
        raise ConfigError(
            f"known_distance: {text!r} is not `A B METRES` with the numbers of two different images (or "
            "RECORDING/NUMBER) and the distance between their cameras"
        )
    return KnownDistance((numbers[0], numbers[1]), (numbers[2], numbers[3]), metres)


def named_images(text: str, recording: int) -> set[int]:
    """Numbers of the images of a recording that a known distance speaks of: they must become keyframes."""
    known = known_distance(text)
    return {number for owner, number in ((known.first, known.second) if known else ()) if owner == recording}
