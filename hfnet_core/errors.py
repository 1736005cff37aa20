"""The library's exceptions: one root, few children, each message one line that names the thing and the remedy."""

__all__ = ["BackendError", "ConfigError", "DatasetError", "HFNetError", "MapError", "ModelError"]


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
