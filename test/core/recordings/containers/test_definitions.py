"""Definitions that a recording brings along become a program: what is too long for one is refused."""

from __future__ import annotations

import time

import pytest

pytest.importorskip("rosbags", reason="rosbags is not installed: pip install 'hfnet_ros[bags]'")

from rosbags.highlevel import anyreader
from rosbags.typesys import Stores, get_typestore

from hfnet_core.errors import DatasetError
from hfnet_core.recordings.containers import opening
from hfnet_core.recordings.containers.definitions import store_of, types_from_idl, types_from_msg

RULE = "=" * 80 + "\n"


def test_honest_definitions_are_parsed() -> None:
    types = types_from_msg("string[3] names\nfloat64[36] covariance\nuint8[1000000] data\n", "a/msg/A")
    store = get_typestore(Stores.EMPTY)
    store.register(types)
    assert [name for name, _ in store.fielddefs["a/msg/A"][1]] == ["names", "covariance", "data"]
    idl = "module a { module msg { struct B { string name; }; }; };"
    assert list(types_from_idl(idl)) == ["a/msg/B"]


def test_what_messages_are_made_of_is_registered_and_nothing_else() -> None:
    types = get_typestore(Stores.ROS2_JAZZY).fielddefs
    store = store_of(types, ["tf2_msgs/msg/TFMessage", "a/msg/Unknown"])
    assert sorted(store.fielddefs.keys() - get_typestore(Stores.EMPTY).fielddefs.keys()) == [
        "geometry_msgs/msg/Quaternion", "geometry_msgs/msg/Transform",
        "geometry_msgs/msg/TransformStamped", "geometry_msgs/msg/Vector3", "std_msgs/msg/Header",
        "tf2_msgs/msg/TFMessage",
    ]  # fmt: skip


def register(text: str) -> None:
    get_typestore(Stores.EMPTY).register(types_from_msg(text, "a/msg/A"))


@pytest.mark.parametrize("field", ["string[20000] a", "Other[2000000000] a"])
def test_arrays_that_would_be_a_long_program_are_refused(field: str) -> None:
    began = time.process_time()
    with pytest.raises(DatasetError, match=r"field 'a' of 'a/msg/A' is an array of \d+"):
        register(f"{field}\n{RULE}MSG: a/Other\nint8 x\n")
    assert time.process_time() - began < 5.0


NONE = "MSG: a/None3\n"


@pytest.mark.parametrize(
    "rest",
    [
        "MSG: a/Other\n",
        f"MSG: a/Other\nNone3 x\n{RULE}{NONE}",
        f"MSG: a/Other\nNone3[9] x\n{RULE}{NONE}",
    ],
)
def test_a_list_of_messages_of_nothing_is_refused(rest: str) -> None:
    """Its length is four bytes of the file, and each of its items none."""
    with pytest.raises(DatasetError, match="field 'a' of 'a/msg/A' is a list of messages of nothing"):
        register(f"Other[] a\n{RULE}{rest}")


def test_a_message_that_contains_itself_is_refused() -> None:
    with pytest.raises(DatasetError, match="contains itself"):
        register(f"Other[] a\n{RULE}MSG: a/Other\nOther x\n")


def test_lists_of_messages_of_something_are_not() -> None:
    register(f"Other[] a\nOther[3] b\n{RULE}MSG: a/Other\nint8[] x\n")


def test_a_definition_that_is_too_long_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(f"int8 a{number}\n" for number in range(20_000))
    with pytest.raises(DatasetError, match="HFNET_MAX_DEFINITION_KB"):
        types_from_msg(text, "a/msg/A")
    monkeypatch.setenv("HFNET_MAX_DEFINITION_KB", "1")
    with pytest.raises(DatasetError, match="more than the limit of 1 kB"):
        types_from_idl("#" * 2000)


def test_rosbags_itself_uses_them() -> None:
    assert opening.open_container
    assert anyreader.get_types_from_msg is types_from_msg
    assert anyreader.get_types_from_idl is types_from_idl


def test_messages_of_nothing_in_each_other_are_looked_at_once() -> None:
    """Two of the next kind in each of sixty: a million million million ways."""
    levels = [f"MSG: a/B{level}\nB{level + 1} x\nB{level + 1} y\n" for level in range(60)]
    with pytest.raises(DatasetError, match="a list of messages of nothing"):
        register(f"B0[] a\n{RULE}{RULE.join([*levels, 'MSG: a/B60' + chr(10)])}")
