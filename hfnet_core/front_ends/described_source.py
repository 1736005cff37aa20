"""Features from any ONNX model that somebody has described."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_core.config import ExtractorConfig
from hfnet_core.errors import BackendError, DatasetError, ModelError, first_line
from hfnet_core.features.backends.onnxruntime_backend import available_cores
from hfnet_core.features.detection import detect
from hfnet_core.features.exchange.checking import RawFeatures, checked_features
from hfnet_core.features.network.architecture import NetworkSpec
from hfnet_core.features.network.model_file import read_model_file
from hfnet_core.features.network.model_info import ModelInfo
from hfnet_core.features.sampling import sample_descriptors
from hfnet_core.front_ends.model_description import ModelDescription, read_description
from hfnet_core.front_ends.model_guard import check_model
from hfnet_core.front_ends.peer_source import prepared_image
from hfnet_core.images.pixels import PixelMap
from hfnet_core.types import Features, Float32

__all__ = ["DescribedModel", "open_described"]

_TYPES = {"float32": np.float32, "float16": np.float16, "uint8": np.uint8}


def open_described(path: Path, config: ExtractorConfig | None = None, threads: int = 0) -> DescribedModel:
    """The model that a YAML file describes. Raises ConfigError for the description, ModelError for the model."""
    description = read_description(path)
    return DescribedModel(description, path.parent / description.model, path, config or ExtractorConfig(), threads)


class DescribedModel:
    """A `FeatureSource`; see `ModelDescription` for what it goes by. Nothing is taken on trust: outputs are checked as
    features from files are."""

    def __init__(
        self, description: ModelDescription, model: Path, path: Path, config: ExtractorConfig, threads: int
    ) -> None:
        self.config, self._description, self._path = config, description, path
        content = read_model_file(model)
        check_model(content, str(model))
        self._session = _session(content, str(model), threads)
        self._inputs = [item.name for item in self._session.get_inputs()]
        outputs = [item.name for item in self._session.get_outputs()]
        wanted = {description.keypoints, description.scores, description.descriptors, description.global_descriptor}
        self._outputs = sorted(wanted - {""})
        lacking = [name for name in self._outputs if name not in outputs]
        if lacking or (description.input or self._inputs[0]) not in self._inputs or len(self._inputs) != 1:
            raise ModelError(f"{path}: the model takes {self._inputs} and gives {outputs}; {lacking} are described")
        identity = hashlib.sha256(content + repr(description).encode()).hexdigest()
        spec = NetworkSpec(description.dim, description.global_dim, clusters=0, corner_aligned=False)
        self.info = ModelInfo(description.name, "1", identity, spec, description.licence, subpixel=True)

    def extract(self, image: NDArray[Any]) -> Features:
        """Raises DatasetError for an image that cannot be used or outputs that are no features, BackendError where the
        model fails."""
        image = np.asarray(image)
        pixels, pixel_map = self._prepared(image)
        found = self._run(pixels)
        height, width = pixels.shape[:2]
        raw = self._dense(found) if self._description.dense else self._sparse(found, (width, height))
        moved = RawFeatures(pixel_map.to_original(raw.keypoints), raw.scores, raw.descriptors, raw.global_descriptor)
        size = (image.shape[1], image.shape[0])
        return checked_features(moved, size, f"{self._path}", self.config.max_keypoints).features

    def _prepared(self, image: NDArray[Any]) -> tuple[NDArray[np.uint8], PixelMap]:
        """The image as the model sees it: in its size, or cropped to its multiple."""
        asked = self._description
        pixels, pixel_map = prepared_image(image, self.config.max_side_px, asked.channels == 3)
        if asked.width:
            pixels = np.asarray(cv2.resize(pixels, (asked.width, asked.height), interpolation=cv2.INTER_AREA), np.uint8)
            scale = (image.shape[1] / asked.width, image.shape[0] / asked.height)
            return pixels, PixelMap(scale, 0.5)
        height, width = (side - side % asked.multiple for side in pixels.shape[:2])
        if not height or not width:
            raise DatasetError(f"image is smaller than {asked.multiple} px, which {self._path} asks for")
        return pixels[:height, :width], pixel_map

    def _run(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        asked = self._description
        values: Any = pixels
        if asked.pixel_type != "uint8":
            values = pixels.astype(np.float32) * np.float32(asked.scale)
        values = values.reshape(*pixels.shape[:2], asked.channels)  # HWC
        if asked.pixel_type != "uint8":
            values = (values - np.array(asked.mean, np.float32)) / np.array(asked.deviation, np.float32)
        if asked.layout in ("NCHW", "CHW"):
            values = values.transpose(2, 0, 1)
        if asked.layout == "HW":
            values = values[:, :, 0]
        if asked.layout.startswith("N"):
            values = values[None]
        fed = {self._inputs[0]: np.ascontiguousarray(values, dtype=_TYPES[asked.pixel_type])}
        try:
            found = self._session.run(self._outputs, fed)
        except Exception as error:  # the runtime's exceptions have no common base of their own
            shape = list(values.shape)
            raise BackendError(f"{self._path}: the model failed on {shape}: {first_line(error)}") from error
        return dict(zip(self._outputs, found, strict=True))

    def _sparse(self, found: dict[str, NDArray[Any]], size: tuple[int, int]) -> RawFeatures:
        asked = self._description
        keypoints: Float32 = _flat(found[asked.keypoints], 2, self._path, asked.keypoints).astype(np.float32)
        if keypoints.shape[1] == 2 and asked.keypoint_order == "yx":
            keypoints = keypoints[:, ::-1]
        sides = np.array(size, np.float32)
        if asked.keypoint_unit == "unit":
            keypoints = keypoints * sides
        if asked.keypoint_unit == "signed":
            keypoints = (keypoints + np.float32(1)) / np.float32(2) * sides
        if asked.keypoint_unit != "pixels" or asked.keypoint_origin == "corner":
            keypoints = keypoints - np.float32(0.5)
        descriptors = _flat(found[asked.descriptors], 2, self._path, asked.descriptors)
        descriptors = descriptors.T if asked.descriptor_layout == "DK" else descriptors
        return RawFeatures(keypoints, self._scores(found), self._of_dim(descriptors), self._global(found))

    def _scores(self, found: dict[str, NDArray[Any]]) -> NDArray[Any] | None:
        return found[self._description.scores].reshape(-1) if self._description.scores else None

    def _dense(self, found: dict[str, NDArray[Any]]) -> RawFeatures:
        """Keypoints chosen as those of our own network are."""
        asked, config = self._description, self.config
        scores = _flat(found[asked.scores], 2, self._path, asked.scores).astype(np.float32)
        cells = _flat(found[asked.descriptors], 3, self._path, asked.descriptors).astype(np.float32)
        if not (np.isfinite(scores).all() and np.isfinite(cells).all()):
            raise DatasetError(f"{self._path}: the model's dense outputs hold NaN or infinite numbers")
        if (8 * cells.shape[1], 8 * cells.shape[2]) != scores.shape:
            raise DatasetError(
                f"{self._path}: descriptors of {cells.shape[2]}x{cells.shape[1]} cells for scores of "
                f"{scores.shape[1]}x{scores.shape[0]}: cells of 8 px are wanted"
            )
        pixels, values = detect(scores, config.nms_radius_px, config.detection_threshold, config.max_keypoints)
        everywhere = np.ascontiguousarray(cells.transpose(1, 2, 0))
        keypoints: Float32 = pixels.astype(np.float32)
        descriptors = sample_descriptors(everywhere, keypoints, asked.corner_aligned)
        return RawFeatures(keypoints, values, self._of_dim(descriptors), self._global(found))

    def _of_dim(self, descriptors: NDArray[Any]) -> NDArray[Any]:
        if descriptors.shape[1] != self._description.dim:
            raise DatasetError(
                f"{self._path}: the model's descriptors have {descriptors.shape[1]} numbers, dim says "
                f"{self._description.dim}; is descriptor_layout right?"
            )
        return descriptors

    def _global(self, found: dict[str, NDArray[Any]]) -> NDArray[Any] | None:
        name = self._description.global_descriptor
        if not name:
            return None
        if found[name].size != self._description.global_dim:
            raise DatasetError(f"{self._path}: {name} has {found[name].size} numbers, global_dim says otherwise")
        return found[name].reshape(-1)


def _session(content: bytes, source: str, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads or available_cores()
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's exceptions have no common base of their own
        raise ModelError(f"{source}: cannot be opened ({first_line(error)})") from error


def _flat(values: NDArray[Any], dimensions: int, path: Path, name: str) -> NDArray[Any]:
    """Without leading dimensions of size 1. Raises DatasetError where others are left."""
    while values.ndim > dimensions and values.shape[0] == 1:
        values = values[0]
    if values.ndim != dimensions or values.dtype.kind not in "fiu":
        raise DatasetError(
            f"{path}: output {name} is {values.dtype} {list(values.shape)}, not of {dimensions} dimensions"
        )
    return values
