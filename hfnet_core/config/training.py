"""Settings of training."""

from __future__ import annotations

from dataclasses import dataclass

from hfnet_core.config.settings import Checked, setting
from hfnet_core.errors import ConfigError

__all__ = ["PaperTrainConfig", "TrainConfig"]

_CELL_PX = 8


@dataclass(frozen=True)
class TrainConfig(Checked):
    """From a pool of photos to weights. How those that ship were made: models/README.md."""

    global_head: str = setting(
        "local",
        "what the global descriptor pools: the local descriptors, fitted in minutes; or layer 18, trained as well",
        choices=("local", "layer_18"),
    )
    local_minutes: float = setting(45.0, "training time of layers 1-7 and the local heads", unit="min", minimum=0.01)
    polish_minutes: float = setting(
        60.0,
        "training time of the same with overlapping photos and learned weights of the losses",
        unit="min",
        minimum=0.01,
    )
    finish_minutes: float = setting(
        80.0, "training time of the same once more, from a lower rate", unit="min", minimum=0.01
    )
    turn_minutes: float = setting(
        65.0, "training time of the same with crops turned much further", unit="min", minimum=0.01
    )
    warmup_minutes: float = setting(
        3.0, "layer_18: training time of layers 8-18 before the VLAD clusters are placed", unit="min", minimum=0.01
    )
    global_minutes: float = setting(
        30.0, "layer_18: contrastive training time of layers 8-18 and the global head", unit="min", minimum=0.01
    )
    imitation_minutes: float = setting(
        15.0, "layer_18: training time of the same to imitate a VLAD of the local descriptors", unit="min", minimum=0.01
    )
    wide_minutes: float = setting(
        0.0,
        "training time of the same with pairs that differ far in scale and angle, in other light, and correspondences; "
        "0 leaves it out",
        unit="min",
        minimum=0.0,
    )
    own_minutes: float = setting(
        110.0,
        "training time of the same where the network's own keypoints teach, and which of them match; 0 leaves it out",
        unit="min",
        minimum=0.0,
    )
    quantized_minutes: float = setting(
        0.0,
        "training time of the local part to compute in INT8 what it does in full; 0 leaves it out",
        unit="min",
        minimum=0.0,
    )
    local_learning_rate: float = setting(3e-3, "peak learning rate of the local stage", minimum=1e-6, maximum=1.0)
    polish_learning_rate: float = setting(1.5e-3, "peak learning rate of the polish stage", minimum=1e-6, maximum=1.0)
    finish_learning_rate: float = setting(1.2e-3, "peak learning rate of the finish stage", minimum=1e-6, maximum=1.0)
    turn_learning_rate: float = setting(1.2e-3, "peak learning rate of the turn stage", minimum=1e-6, maximum=1.0)
    wide_learning_rate: float = setting(6e-4, "peak learning rate of the wide stage", minimum=1e-6, maximum=1.0)
    own_learning_rate: float = setting(1e-3, "peak learning rate of the own stage", minimum=1e-6, maximum=1.0)
    quantized_learning_rate: float = setting(
        3e-5, "peak learning rate of the quantized stage", minimum=1e-6, maximum=1.0
    )
    global_learning_rate: float = setting(2e-3, "peak learning rate of the global stage", minimum=1e-6, maximum=1.0)
    imitation_learning_rate: float = setting(1e-3, "peak learning rate of the imitation", minimum=1e-6, maximum=1.0)
    crop_px: int = setting(256, "side of the local stage's crops, a multiple of 8", unit="px", minimum=32, maximum=1024)
    pairs: int = setting(8, "photos per batch of the local stage, two crops each", minimum=1, maximum=1024)
    own_keypoints: int = setting(320, "own: keypoints of each crop that teach", minimum=8)
    regression_batches: int = setting(
        40, "batches the final layer is fitted to the imitated descriptors on, before training it", minimum=1
    )
    view_px: int = setting(336, "width of the global stage's views", unit="px", minimum=64, maximum=2048)
    places: int = setting(10, "places per batch of the global stage", minimum=2, maximum=1024)
    views: int = setting(4, "views per place, an even number", minimum=2, maximum=64)
    local_dim: int = setting(128, "channels of the local descriptor", minimum=1)
    global_dim: int = setting(1024, "size of the global descriptor", minimum=1)
    words: int = setting(48, "local: VLAD words", minimum=1)
    word_dim: int = setting(48, "local: channels of the descriptors' projection before VLAD", minimum=1)
    clusters: int = setting(32, "layer_18: VLAD clusters", minimum=1)
    rooms: int = setting(180, "rendered rooms whose views show what changes with the viewpoint", minimum=0)
    feature_batches: int = setting(
        240, "layer_18: batches of views whose layer 7 is computed once and kept, 10 MB each", minimum=1
    )
    intermediate_dim: int = setting(64, "layer_18: channels of the projection before VLAD; 0 for none", minimum=0)
    any_licence: bool = setting(
        False,
        "train on photos under share-alike licences and of unknown origin too, as the weights up to 0.6.0 had them",
    )
    night_rooms: int = setting(100, "wide: rendered rooms, each seen by day and by night", minimum=0)
    correspondences: bool = setting(
        False, "wide, own: matches of LightGlue between the pool's photos, checked by geometry, besides the teacher's"
    )
    correspondence_keypoints: int = setting(1024, "wide, own: keypoints of a photo that LightGlue matches", minimum=64)
    correspondence_side_px: int = setting(
        640, "wide, own: longer side that photos are reduced to for LightGlue", unit="px", minimum=64
    )
    turned_labels: bool = setting(
        False, "wide: keypoints that the teacher finds in each photo and in its quarter turns, for cameras that roll"
    )
    tracks: bool = setting(
        False, "keypoints where the pool's sequences, reconstructed, have their points, not where one photo shows them"
    )
    seed: int = setting(0, "seed of weights, crops and noise", minimum=0)
    threads: int = setting(0, "CPU threads of the trainer; 0 leaves it to torch", minimum=0, maximum=256)
    workers: int = setting(1, "processes that prepare batches", minimum=0, maximum=64)
    processor_time: bool = setting(
        False, "minutes of stages are those of the processor: what else a shared machine does costs no steps"
    )
    device: str = setting("cpu", "where to train", choices=("cpu", "cuda"))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop_px % _CELL_PX:
            raise ConfigError(f"crop_px: {self.crop_px} is not a multiple of {_CELL_PX}")
        if self.views % 2:
            raise ConfigError(f"views: {self.views} is not even")
        if self.own_keypoints > self.crop_px**2:
            raise ConfigError(
                f"own_keypoints: {self.own_keypoints} are more than a crop of {self.crop_px} px has pixels"
            )


@dataclass(frozen=True)
class PaperTrainConfig(Checked):
    """Distillation as in the paper (Sarlin et al., CVPR 2019), with the numbers of its authors' code."""

    steps: int = setting(85_000, "batches to train on", minimum=1)
    batch_size: int = setting(16, "images per batch", minimum=1, maximum=4096)
    width_px: int = setting(
        640, "width that images are resized to, a multiple of 8", unit="px", minimum=16, maximum=4096
    )
    height_px: int = setting(
        480, "height that images are resized to, a multiple of 8", unit="px", minimum=16, maximum=4096
    )
    learning_rates: tuple[float, ...] = setting((1e-3, 1e-4, 1e-5), "learning rates, one after the other")
    learning_rate_steps: tuple[float, ...] = setting((60_000.0, 80_000.0), "step from which each but the first is used")
    rms_decay: float = setting(0.9, "RMSProp: share of the mean square that is kept", minimum=0.0, maximum=1.0)
    rms_epsilon: float = setting(1e-10, "RMSProp: added to the mean square", minimum=0.0, maximum=1.0)
    weight_decay: float = setting(
        4e-5, "times half the sum of squares of the kernels of backbone and local heads", minimum=0.0, maximum=1.0
    )
    loss_weights: tuple[float, ...] = setting(
        (), "weights of the losses: global, local descriptors, keypoints; empty: learned with their uncertainty"
    )
    batch_norm_decay: float = setting(
        0.997, "share of the running statistics that is kept: backbone, local heads", minimum=0.0, maximum=1.0
    )
    vlad_batch_norm_decay: float = setting(0.999, "the same of the VLAD layer", minimum=0.0, maximum=1.0)
    augment: bool = setting(True, "change light, noise and blur of what the student sees; teachers see clean images")
    clusters: int = setting(32, "VLAD clusters", minimum=1, maximum=4096)
    intermediate_dim: int = setting(0, "channels of a projection of layer 18 before VLAD; 0 for none", minimum=0)
    corner_aligned: bool = setting(True, "sample descriptors as the released network; false: at the cells' centres")
    validation_images: int = setting(192, "images kept for validation, at most a fifth of all", minimum=0)
    validation_steps: int = setting(500, "steps between two validations", minimum=1)
    checkpoint_steps: int = setting(
        5000, "steps between two checkpoints; every three minutes there is one too", minimum=1
    )
    seed: int = setting(0, "seed of weights, order and noise", minimum=0)
    threads: int = setting(0, "CPU threads of the trainer; 0 leaves it to torch", minimum=0, maximum=256)
    workers: int = setting(1, "processes that prepare batches", minimum=0, maximum=64)
    device: str = setting(
        "auto", "where student and teachers run; auto: on the GPU where there is one", choices=("auto", "cpu", "cuda")
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("width_px", "height_px"):
            if getattr(self, name) % _CELL_PX:
                raise ConfigError(f"{name}: {getattr(self, name)} is not a multiple of {_CELL_PX}")
        if len(self.learning_rates) != len(self.learning_rate_steps) + 1 or min(self.learning_rates) <= 0:
            raise ConfigError(
                f"learning_rates: {self.learning_rates}: give one positive rate more than learning_rate_steps"
            )
        if list(self.learning_rate_steps) != sorted(self.learning_rate_steps):
            raise ConfigError(f"learning_rate_steps: {self.learning_rate_steps} do not ascend")
        if self.loss_weights and (
            len(self.loss_weights) != 3 or min(self.loss_weights) < 0 or not sum(self.loss_weights)
        ):
            raise ConfigError(f"loss_weights: {self.loss_weights}: give three weights of at least 0, or none")
