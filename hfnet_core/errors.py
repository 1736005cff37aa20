"""The library's exceptions: one root, few children, each message one line that names the thing and the remedy."""

__all__ = ["BackendError", "ConfigError", "DatasetError", "HFNetError", "MapError", "ModelError", "first_line"]


class HFNetError(Exception):
    """An expected failure. The command line prints its message alone and exits with status 2."""


class ConfigError(HFNetError):
    """A setting, argument or parameter has a value that is not allowed."""


class ModelError(HFNetError):
    """A model or checkpoint file is missing, damaged or does not fit."""


class BackendError(HFNetError):
    """An inference runtime is missing or failed."""


class MapError(HFNetError):
    """A map is missing, damaged, of another version, or made with another model."""


class DatasetError(HFNetError):
    """A bag, image, calibration or pose file is missing, damaged or incomplete."""


def first_line(error: BaseException) -> str:
    """What a library's exception says, short enough for a message of one line."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
