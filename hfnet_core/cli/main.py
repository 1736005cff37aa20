"""The `hfnet` command: one sub-command per job, expected errors as one line."""

from __future__ import annotations

import importlib
import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from hfnet_core import __version__
from hfnet_core.errors import HFNetError
from hfnet_core.files import allow_open_files
from hfnet_core.terminal import PrintableFormatter
from hfnet_core.threads import one_blas_thread

__all__ = ["app", "main", "one_line_errors"]

# How libraries say it that do not raise MemoryError: the loader of extensions, torch's allocator and its kernels.
_NO_MEMORY = (
    "failed to map segment",
    "Cannot allocate memory",
    "can't allocate memory",
    "could not create a primitive",
)

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Visual localization with HF-Net: build maps, localize images, evaluate, train.",
)

# sub-application -> its module in hfnet_core.cli
_APPS = {"map": "map.app", "bag": "bag", "bench": "measuring.bench", "engine": "engine"}

# module in hfnet_core.cli -> its commands
_COMMANDS = {
    "localize": ("localize",),
    "features": ("export_features", "match_features"),
    "import_checkpoint": ("import_checkpoint",),
    "measuring.benchmark": ("benchmark",),
    "measuring.eval_bag": ("eval_bag",),
    "train": ("train", "export"),
    "measuring.calibrate": ("calibrate",),
}


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hfnet {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    del version


def _mount() -> None:
    for name, module in _APPS.items():
        app.add_typer(importlib.import_module(f"hfnet_core.cli.{module}").app, name=name)
    for module, commands in _COMMANDS.items():
        functions = importlib.import_module(f"hfnet_core.cli.{module}")
        for command in commands:
            app.command(name=command.replace("_", "-"))(getattr(functions, command))


_mount()


def main() -> None:
    """Run the command line. Exits with status 2 and one line for an expected error, 130 for ctrl-C."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # pycolmap's import makes it a crash with a stack trace
    one_blas_thread()
    allow_open_files()
    log = logging.StreamHandler()
    log.setFormatter(PrintableFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[log])
    with one_line_errors():
        app()


@contextmanager
def one_line_errors() -> Iterator[None]:
    """What is expected to go wrong is said in one line and ends the process with status 2; ctrl-C with 130."""
    try:
        yield
    except HFNetError as error:
        print(f"hfnet: {error}", file=sys.stderr)
        sys.exit(2)
    except (MemoryError, ImportError, RuntimeError) as error:
        if not (isinstance(error, MemoryError) or any(text in str(error) for text in _NO_MEMORY)):
            raise
        print("hfnet: out of memory; close other programs, or use smaller images or maps", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("hfnet: interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
