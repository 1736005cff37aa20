"""ROS tests stay on this machine, and every pytest worker in a domain of its own."""

import os
import sys

_worker = int("".join(filter(str.isdigit, os.environ.get("PYTEST_XDIST_WORKER", ""))) or 0)
_run = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
os.environ["ROS_DOMAIN_ID"] = str(1 + (13 * _run + _worker) % 100)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["RCUTILS_COLORIZED_OUTPUT"] = "0"
os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)

import pytest  # noqa: E402  after the environment: rclpy reads it at import


@pytest.fixture(scope="session")
def wall_world(tmp_path_factory):
    """(model, map) of the wall in test/wall.py."""
    pytest.importorskip("onnx", reason="onnx is not installed: no stand-in model can be made")
    from wall import wall_files

    return wall_files(tmp_path_factory.mktemp("wall"))


@pytest.fixture(scope="session")
def ros():
    """A client node of this process, spinning in the background."""
    pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")
    from robot import Client

    client = Client()
    yield client
    client.close()


def pytest_collection_modifyitems(items):
    """Processes that find each other over DDS on a busy machine may do so late: such a test gets a second chance.

    One that fails twice is broken. Reruns are counted in pytest's last line.
    """
    for item in items:
        if "ros" in item.nodeid.split("/")[:2] and "ros" in item.fixturenames:
            item.add_marker(pytest.mark.flaky(reruns=1))
