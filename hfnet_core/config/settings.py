"""What a setting is: default, range, unit and help text in one place, checked where it is made."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeVar, cast, get_type_hints

from hfnet_core.errors import ConfigError

__all__ = ["Checked", "Setting", "Settings", "from_mapping", "setting", "settings_of"]


@dataclass(frozen=True)
class Setting:
    """What is known of one setting. `minimum` and `maximum` are inclusive; `unit` is "" for pure numbers."""

    name: str
    type: type
    default: Any
    help: str
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()

    def check(self, value: Any) -> Any:
        """The value, converted from int to float where that is exact. Raises ConfigError."""
        if self.type is float and type(value) is int:
            value = _as_float(value)
        if self.type == tuple[str, ...]:
            value = tuple(value) if isinstance(value, list | tuple) else value
            if not isinstance(value, tuple) or not all(isinstance(word, str) for word in value):
                raise ConfigError(f"{self.name}: {value!r} is not a list of texts")
        elif self.type == tuple[float, ...]:
            value = tuple(map(_as_float, value)) if _numbers(value) else value
            if not isinstance(value, tuple) or not all(math.isfinite(number) for number in value):
                raise ConfigError(f"{self.name}: {value!r} is not a list of finite numbers")
        elif type(value) is not self.type:
            raise ConfigError(f"{self.name}: {value!r} is not of type {self.type.__name__}")
        if self.choices and value not in self.choices:
            raise ConfigError(f"{self.name}: {value!r} is not one of {', '.join(self.choices)}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{self.name}: {value!r} is not a finite number")
        low: Any = self.minimum
        high: Any = self.maximum
        if (low is not None and value < low) or (high is not None and value > high):
            raise ConfigError(
                f"{self.name}: {value!r} is outside {low if low is not None else '-inf'}"
                f"..{high if high is not None else 'inf'} {self.unit}".rstrip()
            )
        return value


def _numbers(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(type(item) in (int, float) for item in value)


def _as_float(value: float) -> float:
    """Infinite for a whole number that no float can hold, which is refused as every infinite one."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def setting(
    default: Any,
    help: str,
    *,
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """A dataclass field with its documentation and range."""
    known = {"help": help, "unit": unit, "minimum": minimum, "maximum": maximum, "choices": choices}
    return field(default=default, metadata=known)


class Settings(Protocol):
    """Any of the frozen dataclasses below."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


S = TypeVar("S", bound=Settings)


def settings_of(cls: type[Settings]) -> Iterator[Setting]:
    """The settings of a configuration class, in order of declaration."""
    types = get_type_hints(cls)
    for item in dataclasses.fields(cls):
        yield Setting(item.name, types[item.name], item.default, **item.metadata)


def from_mapping(cls: type[S], values: Mapping[str, Any]) -> S:
    """Build settings from a mapping of overrides. Raises ConfigError for an unknown name or a refused value."""
    known = {item.name for item in settings_of(cls)}
    for name in values:
        if name not in known:
            raise ConfigError(f"{name}: no such setting of {cls.__name__}; known are {', '.join(sorted(known))}")
    return cls(**values)


class Checked:
    def __post_init__(self) -> None:
        for item in settings_of(cast("type[Settings]", type(self))):
            object.__setattr__(self, item.name, item.check(getattr(self, item.name)))
