"""The datum of the map, told to navsat_transform."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")

from scipy.spatial.transform import Rotation
from sensor_msgs.msg import NavSatFix, NavSatStatus

from hfnet_core.errors import ConfigError
from hfnet_core.georeference.datum import Georeference
from hfnet_core.georeference.earth import Geodetic
from hfnet_ros.node import map_component
from hfnet_ros.node.map_component import Datum

PLACE = Georeference(Geodetic(48.1, 11.5, 520.0), Rotation.from_euler("z", 90, degrees=True).as_matrix())


class Service:
    """Stands for a client of navsat_transform, which comes later than the map."""

    def __init__(self) -> None:
        self.ready = False
        self.requests: list[SimpleNamespace] = []

    def service_is_ready(self) -> bool:
        return self.ready

    def call_async(self, request: SimpleNamespace) -> None:
        self.requests.append(request)


class Node:
    """Keeps what it is asked for."""

    def __init__(self) -> None:
        self.service, self.timers, self.logged = Service(), [], []

    def create_client(self, kind: type, name: str) -> Service:
        assert (kind.__name__, name) == ("SetDatum", "/datum")
        return self.service

    def create_timer(self, seconds: float, call: object) -> object:
        self.timers.append(call)
        return call

    def destroy_timer(self, timer: object) -> None:
        self.timers.remove(timer)


class SetDatum:
    """The service's type, as rosidl makes it."""

    @staticmethod
    def Request() -> SimpleNamespace:
        zero = SimpleNamespace(latitude=0.0, longitude=0.0, altitude=0.0)
        pose = SimpleNamespace(position=zero, orientation=SimpleNamespace(x=0.0, y=0.0, z=0.0, w=1.0))
        return SimpleNamespace(geo_pose=pose)


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Node:
    made = Node()
    quiet = SimpleNamespace(info=made.logged.append, warning=made.logged.append)
    monkeypatch.setattr(map_component, "Log", SimpleNamespace(of=lambda _: quiet))
    monkeypatch.setattr(map_component, "now_ns", lambda _: 5)
    publisher = SimpleNamespace(publish=made.logged.append)
    monkeypatch.setattr(map_component, "lifecycle_publisher", lambda *_: publisher)
    return made


@pytest.fixture
def robot_localization(monkeypatch: pytest.MonkeyPatch) -> None:
    package, services = ModuleType("robot_localization"), ModuleType("robot_localization.srv")
    services.SetDatum = SetDatum  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "robot_localization", package)
    monkeypatch.setitem(sys.modules, "robot_localization.srv", services)


def shown(place: Georeference | None) -> SimpleNamespace:
    known = {} if place is None else {"georeference": place.as_dict()}
    return SimpleNamespace(landmark_map=SimpleNamespace(provenance=known), path="hall.hfmap")


@pytest.mark.usefixtures("robot_localization")
def test_navsat_transform_is_told_once_it_is_there(node: Node) -> None:
    datum = Datum(node, "/datum")  # type: ignore[arg-type]
    datum.show(shown(PLACE), "map")  # type: ignore[arg-type]
    node.timers[0]()
    assert not node.service.requests
    node.service.ready = True
    node.timers[0]()
    assert not node.timers
    pose = node.service.requests[0].geo_pose
    assert (pose.position.latitude, pose.position.longitude, pose.position.altitude) == (48.1, 11.5, 520.0)
    assert (pose.orientation.z, pose.orientation.w) == pytest.approx((np.sqrt(0.5), np.sqrt(0.5)))


@pytest.mark.usefixtures("robot_localization")
def test_another_map_replaces_what_was_not_told_yet(node: Node) -> None:
    datum = Datum(node, "/datum")  # type: ignore[arg-type]
    datum.show(shown(PLACE), "map")  # type: ignore[arg-type]
    datum.show(shown(replace(PLACE, datum=Geodetic(50.0, 8.0, 100.0))), "map")  # type: ignore[arg-type]
    node.service.ready = True
    node.timers[0]()
    assert not node.timers
    assert [request.geo_pose.position.latitude for request in node.service.requests] == [50.0]


@pytest.mark.usefixtures("robot_localization")
def test_a_map_without_a_place_says_so_where_one_is_asked_for(node: Node) -> None:
    assert Datum(node, "/datum").show(shown(None), "map") is None  # type: ignore[arg-type]
    assert node.logged == ["datum_service: hall.hfmap has no place on Earth: build it from a bag with GPS"]
    node.logged.clear()
    assert Datum(node, "").show(shown(None), "map") is None  # type: ignore[arg-type]
    assert not node.logged


def test_a_missing_robot_localization_is_named(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "robot_localization.srv", None)
    with pytest.raises(ConfigError, match="datum_service /datum: robot_localization is not installed"):
        Datum(node, "/datum")  # type: ignore[arg-type]


def test_a_map_without_a_place_takes_back_that_of_the_one_before(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[NavSatFix] = []
    monkeypatch.setattr(map_component, "lifecycle_publisher", lambda *_: SimpleNamespace(publish=told.append))
    datum = Datum(node, "")
    nowhere = shown(None)
    datum.show(nowhere, "map")
    assert not told
    datum.show(shown(PLACE), "map")
    datum.show(nowhere, "map")
    assert told[0].latitude == 48.1
    assert told[1].status.status == NavSatStatus.STATUS_NO_FIX
    assert np.isnan(told[1].latitude)
