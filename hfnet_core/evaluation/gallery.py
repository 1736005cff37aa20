"""A page of queries beside the map images they were matched with: one HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hfnet_core.evaluation import html_parts
from hfnet_core.files import written_whole

__all__ = ["GALLERY_PICTURES", "GalleryPicture", "write_gallery"]

GALLERY_PICTURES = 12  # of those that failed, and as many that did not


@dataclass(frozen=True, eq=False)
class GalleryPicture:
    """group: under which heading. failed: no pose, or a wrong one."""

    group: str
    caption: str
    image: NDArray[np.uint8] = field(repr=False)
    failed: bool = False


def write_gallery(
    path: Path, title: str, pictures: Sequence[GalleryPicture], numbers: Sequence[tuple[str, str]] = ()
) -> None:
    """Failed ones first in each group. Raises DatasetError when the file cannot be written."""
    sections = [html_parts.table(numbers)] if numbers else []
    for group in dict.fromkeys(picture.group for picture in pictures):
        for failed, said in ((True, "without a right pose"), (False, "localized")):
            shown = [item for item in pictures if item.group == group and item.failed is failed]
            if shown:
                figures = "".join(html_parts.figure(item.image, item.caption, bad=failed) for item in shown)
                content = f'<div class="frames">{figures}</div>'
                sections.append(html_parts.section(group, f"{said}; green: fits the pose, red: does not", content))
    written_whole(path, html_parts.document(title, sections))
