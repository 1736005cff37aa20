"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hfnet_core.errors import DatasetError

__all__ = ["whole_file", "written_whole"]


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it takes its name at the end and vanishes on any error.

    Raises DatasetError when the folder does not exist or may not be written.
    """
    path = Path(path)
    if path.is_dir():
        raise DatasetError(f"{path}: is a folder; give the name of a file to write")
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent or Path())
    except OSError as error:
        raise DatasetError(
            f"{path}: cannot be written ({error.strerror}); create its folder or choose another"
        ) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def written_whole(path: Path, text: str) -> None:
    """Write a text file in one step."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
