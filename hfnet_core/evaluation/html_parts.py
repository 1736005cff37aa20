"""What our pages of HTML are made of; each page is one file that needs nothing else."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from typing import Any

import cv2
from numpy.typing import NDArray

from hfnet_core.evaluation.picture import COLORS, FAINT, INK, PAPER

__all__ = ["document", "figure", "section", "table"]

_STYLE = f"""
body{{background:{PAPER};color:{INK};font:15px/1.5 system-ui,sans-serif;max-width:1200px;margin:2em auto;padding:0 1em}}
h1{{font-size:1.5em}}h2{{font-size:1.1em;margin-top:2em}}
table{{border-collapse:collapse}}td{{padding:.15em 1.2em .15em 0}}
td+td{{text-align:right;font-weight:600}}figure{{margin:0}}figcaption,.faint{{color:{FAINT}}}img{{max-width:100%}}
.frames{{display:grid;grid-template-columns:repeat(auto-fill,minmax(360px,1fr));gap:1em}}.frames img{{width:100%}}
.bad{{color:{COLORS["wrong"]}}}"""
_QUALITY = 80


def document(title: str, sections: Iterable[str]) -> str:
    """A page."""
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
    return f"{head}<style>{_STYLE}</style><h1>{html.escape(title)}</h1>{''.join(sections)}</html>\n"


def section(name: str, said: str, content: str) -> str:
    """A heading, what is to be said of it, and what it is about (HTML)."""
    return f'<h2>{html.escape(name)} <span class="faint">{html.escape(said)}</span></h2>{content}'


def table(lines: Sequence[tuple[str, str]]) -> str:
    """Names and values."""
    cells = "".join(f"<tr><td>{html.escape(name)}</td><td>{html.escape(value)}</td></tr>" for name, value in lines)
    return f"<table>{cells}</table>"


def figure(image: NDArray[Any], caption: str, *, bad: bool = False) -> str:
    """An image, gray or RGB, with a line below it."""
    ordered = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    _, data = cv2.imencode(".jpg", ordered, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    source = base64.b64encode(data.tobytes()).decode()
    kind = ' class="bad"' if bad else ""
    return (
        f'<figure><img alt="" src="data:image/jpeg;base64,{source}">'
        f"<figcaption{kind}>{html.escape(caption)}</figcaption></figure>"
    )
