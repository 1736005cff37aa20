"""Every setting of the product: its default, range, unit and help text, in one place.

The command line, the ROS node and the documentation read these; nothing else may hold a default. Settings are frozen
dataclasses made with `setting(...)`; construction validates ranges and raises ConfigError naming setting, value and
what is allowed. `load(path)` reads overrides from YAML; unknown names are refused.
"""

from hfnet_core.config.evaluation import EvaluationConfig
from hfnet_core.config.features import BACKENDS, EngineConfig, ExtractorConfig
from hfnet_core.config.live import LiveConfig
from hfnet_core.config.localization import UNHURRIED_MS, LocalizerConfig
from hfnet_core.config.mapping import MapBuildConfig, MapCareConfig
from hfnet_core.config.node import NodeConfig
from hfnet_core.config.settings import Setting, Settings, from_mapping, setting, settings_of
from hfnet_core.config.training import PaperTrainConfig, TrainConfig

__all__ = [
    "BACKENDS",
    "UNHURRIED_MS",
    "EngineConfig",
    "EvaluationConfig",
    "ExtractorConfig",
    "LiveConfig",
    "LocalizerConfig",
    "MapBuildConfig",
    "MapCareConfig",
    "NodeConfig",
    "PaperTrainConfig",
    "Setting",
    "Settings",
    "TrainConfig",
    "from_mapping",
    "setting",
    "settings_of",
]
