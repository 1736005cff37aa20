"""The library's exceptions: one root, few children, each message one line that names the thing and the remedy."""

__all__ = [
    "BackendError",
    "ConfigError",
    "DatasetError",
    "HFNetError",
    "MapError",
    "MissingExtraError",
    "ModelError",
    "ShortageError",
    "first_line",
    "printable",
    "shortened",
]


_LONGEST = 2000  # characters of a message; one that quotes a damaged file may have megabytes


class HFNetError(Exception):
    """An expected failure. The command line prints its message alone and exits with status 2.

    Whatever a message quotes of a file, as text it is one line that every log and terminal can take.
    """

    def __str__(self) -> str:
        return shortened(printable(super().__str__()), _LONGEST)


class ConfigError(HFNetError):
    """A setting, argument or parameter has a value that is not allowed."""


class ModelError(HFNetError):
    """A model or checkpoint file is missing, damaged or does not fit."""


class BackendError(HFNetError):
    """An inference runtime is missing or failed."""


class MapError(HFNetError):
    """A map is missing, damaged, of another version, or made with another model."""


class MissingExtraError(ConfigError, ImportError):
    """A library is missing that comes with one of our extras."""


class DatasetError(HFNetError):
    """A bag, image, calibration or pose file is missing, damaged or incomplete."""


class ShortageError(HFNetError):
    """The computer has too little memory or too few open files left: what was asked for may be all right."""


def first_line(error: BaseException) -> str:
    """What a library's exception says, short enough for a message of one line."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def shortened(text: str, longest: int) -> str:
    """Its beginning and its end, where it has more characters."""
    return text if len(text) <= longest else f"{text[: longest // 2]} ... {text[-longest // 4 :]}"


def printable(text: str, *, lines: bool = False) -> str:
    """The text with everything visible that a terminal would obey: `\\x1b` for an escape character.

    Lone surrogates and marks that reverse the reading direction are shown as well. lines: whether breaks of lines and
    tabs stay as they are.
    """
    if text.isprintable():
        return text
    kept = "\n\t" if lines else ""
    return "".join(
        character if character.isprintable() or character in kept else character.encode("unicode_escape").decode()
        for character in text
    )
