"""What strangers wrote, on a terminal: names in maps and bags may hold escape sequences, markup and line breaks.

The only module at the ground that needs rich; the command line and reports use it, the node does not.
"""

from __future__ import annotations

import logging
from typing import Any

from rich.console import Console
from rich.text import Text

from hfnet_core.errors import printable

__all__ = ["PrintableFormatter", "SafeConsole", "styled"]


class SafeConsole(Console):
    """A console that shows texts as they are: no markup, no emoji codes, control characters visible.

    Our own colours come as `styled` text, which it prints as given.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        """Texts of `print` and of the cells and titles of tables come through here."""
        return super().render_str(printable(text, lines=True), **{**options, "markup": False, "emoji": False})


def styled(*parts: str | tuple[str, str]) -> Text:
    """A line of texts and of (text, style of rich); control characters in them become visible."""
    return Text.assemble(
        *((printable(part[0]), part[1]) if isinstance(part, tuple) else printable(part) for part in parts)
    )


class PrintableFormatter(logging.Formatter):
    """One line for each message of a log, whatever it quotes."""

    def format(self, record: logging.LogRecord) -> str:
        """The message, without a trace: a log on the terminal is for users."""
        return printable(record.getMessage())
