"""What a model file says about itself, and the hash that ties maps to models."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import ModelError
from hfnet_core.features.network.architecture import NetworkSpec

__all__ = ["MODEL_FORMAT", "NORMALISATION", "UNKNOWN_LICENCE", "ModelInfo", "hash_variables", "spec_of"]

MODEL_FORMAT = 1  # raised when the graph's inputs, outputs or arithmetic change
NORMALISATION = "(gray-128)/128"  # done inside the graph; the input is gray 0..255
UNKNOWN_LICENCE = "unknown"  # images and teachers have their own
_PREFIX = "hfnet."
_HASH = re.compile(r"[0-9a-f]{64}")
_LARGEST = {"local_dim": 4096, "global_dim": 65536, "clusters": 4096, "intermediate_dim": 4096}
_SAMPLING = {True: "corner-aligned", False: "cell-centres"}


@dataclass(frozen=True)
class ModelInfo:
    """Identity of what makes features.

    name, version: of the weights, for people. model_hash: hexadecimal SHA-256 of variables and spec; descriptors of
    different hashes cannot be compared. spec: sizes and sampling convention. licence: SPDX identifier of the weights.
    subpixel: whether keypoints may be refined below the pixel; False for models that must reproduce integer ones.
    """

    name: str
    version: str
    model_hash: str
    spec: NetworkSpec
    licence: str
    subpixel: bool

    def to_metadata(self) -> dict[str, str]:
        """The key-value pairs stored in the ONNX file."""
        sampling = _SAMPLING[self.spec.corner_aligned]
        values = {
            "format": str(MODEL_FORMAT),
            "name": self.name,
            "version": self.version,
            "licence": self.licence,
            "model_hash": self.model_hash,
            "normalisation": NORMALISATION,
            "sampling": sampling,
            "subpixel": json.dumps(self.subpixel),
            "spec": json.dumps(asdict(self.spec), sort_keys=True),
        }
        return {_PREFIX + key: value for key, value in values.items()}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], source: str) -> ModelInfo:
        """Read back `to_metadata`. `source` names the file in messages. Raises ModelError for anything unexpected."""
        found = metadata.get(_PREFIX + "format")
        if found is None:
            raise ModelError(f"{source}: not an HF-Net model (no hfnet.format in its metadata); use `hfnet export`")
        if found != str(MODEL_FORMAT):
            raise ModelError(f"{source}: model format {found}, this version reads {MODEL_FORMAT}; export it again")
        try:
            values = {key: metadata[_PREFIX + key] for key in cls.__dataclass_fields__}
            normalisation = metadata[_PREFIX + "normalisation"]
            sampling = metadata[_PREFIX + "sampling"]
            spec, subpixel = spec_of(json.loads(values["spec"])), json.loads(values["subpixel"])
        except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ModelError(f"{source}: damaged model metadata ({error}); export it again") from error
        if type(subpixel) is not bool or not _HASH.fullmatch(values["model_hash"]):
            raise ModelError(f"{source}: damaged model metadata (subpixel or model_hash); export it again")
        if normalisation != NORMALISATION or sampling != _SAMPLING[spec.corner_aligned]:
            raise ModelError(
                f"{source}: normalisation {normalisation!r} or sampling {sampling!r} is not supported; export it again"
            )
        return cls(values["name"], values["version"], values["model_hash"], spec, values["licence"], subpixel)


def spec_of(values: Any) -> NetworkSpec:
    """A spec from a table; ValueError for missing, unknown or misfit fields."""
    types: dict[str, type] = {item.name: type(item.default) for item in fields(NetworkSpec)}
    if isinstance(values, dict):
        values = {"pool_local": False, **values}  # files written before there was a choice pool layer 18
    if not isinstance(values, dict) or values.keys() != types.keys():
        raise ValueError(f"spec {values!r}")
    for name, kind in types.items():
        low, high = 0 if name == "intermediate_dim" else 1, _LARGEST.get(name, 1)
        if type(values[name]) is not kind or (kind is int and not low <= values[name] <= high):
            raise ValueError(f"spec {name}={values[name]!r}")
    return NetworkSpec(**values)


def hash_variables(variables: Mapping[str, NDArray[Any]], spec: NetworkSpec) -> str:
    """Hexadecimal SHA-256 over the spec and every variable's name, shape and float32 values, in order of names."""
    digest = hashlib.sha256(json.dumps([MODEL_FORMAT, asdict(spec)], sort_keys=True).encode())
    for name in sorted(variables):
        value = np.ascontiguousarray(variables[name], dtype="<f4")
        digest.update(f"\n{name} {value.shape}\n".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()
