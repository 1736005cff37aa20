"""Generate and compile tf2_msgs where a package index has no wheel of it: `python -m hfnet_ros.build_tf2_msgs`.

rclpy comes as wheels, tf2_msgs does not. The rosidl wheels hold the generators; a C and a C++ compiler and the Python
headers do the rest. With a real ROS installation, or when run again, it does nothing.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from hfnet_core.errors import HFNetError

__all__ = ["BuildError", "build", "main"]

PACKAGE = "tf2_msgs"
DEFINITIONS = {
    "msg/TFMessage.msg": "geometry_msgs/TransformStamped[] transforms\n",
    "msg/TF2Error.msg": (
        "uint8 NO_ERROR=0\nuint8 LOOKUP_ERROR=1\nuint8 CONNECTIVITY_ERROR=2\nuint8 EXTRAPOLATION_ERROR=3\n"
        "uint8 INVALID_ARGUMENT_ERROR=4\nuint8 TIMEOUT_ERROR=5\nuint8 TRANSFORM_ERROR=6\n\n"
        "uint8 error 0\nstring error_string ''\n"
    ),
    "srv/FrameGraph.srv": "---\nstring frame_yaml\n",
}
PACKAGE_XML = """<?xml version="1.0"?>
<package format="3">
  <name>tf2_msgs</name>
  <version>0.36.0</version>
  <description>Messages of tf2, generated for a Python environment without them.</description>
  <maintainer email="maintainers@hfnet-ros.dev">hfnet_ros developers</maintainer>
  <license>BSD</license>
  <depend>geometry_msgs</depend>
  <member_of_group>rosidl_interface_packages</member_of_group>
</package>
"""
C_LIBRARY = "rosidl_generator_c"
TYPE_SUPPORTS = ("rosidl_typesupport_fastrtps_c", "rosidl_typesupport_introspection_c", "rosidl_typesupport_c")
RUNTIME = (
    "rosidl_runtime_c",
    "rcutils",
    "rmw",
    "rosidl_typesupport_c",
    "rosidl_typesupport_fastrtps_c",
    "rosidl_typesupport_fastrtps_cpp",
    "rosidl_typesupport_introspection_c",
    "fastcdr",
)


class BuildError(HFNetError):
    """tf2_msgs cannot be built here."""


class _Build:
    """One run: definitions -> generated C and Python in `scratch` -> libraries, module and index in `prefix`."""

    def __init__(self, prefix: Path, scratch: Path) -> None:
        from ament_index_python import get_resources

        self.prefix, self.scratch = prefix, scratch
        self.lib, self.share = prefix / "lib", prefix / "share" / PACKAGE
        self.module = Path(sysconfig.get_path("platlib")) / PACKAGE
        self.known = sorted(set(get_resources("rosidl_interfaces")) - {PACKAGE})
        self.idl_paths = [prefix / "share" / package for package in self.known]
        self.out = scratch / "idl" / PACKAGE

    def run(self) -> None:
        idls, hashes = self._describe()
        self._generate(idls, hashes)
        self._compile()
        self._install(idls, hashes)

    def _describe(self) -> tuple[list[str], list[str]]:
        """Write the definitions and convert them to IDL and type descriptions."""
        from rosidl_adapter.msg import convert_msg_to_idl
        from rosidl_adapter.srv import convert_srv_to_idl
        from rosidl_generator_type_description.cli import HashTypeDescription

        source = self.scratch / "source"
        idls = []
        for name, text in DEFINITIONS.items():
            path = source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            output = self.out / path.parent.name
            output.mkdir(parents=True, exist_ok=True)
            convert = convert_srv_to_idl if path.suffix == ".srv" else convert_msg_to_idl
            convert(source, PACKAGE, path.relative_to(source), output)
            idls.append(f"{self.out}:{path.parent.name}/{path.stem}.idl")
        hashes = HashTypeDescription("hash").generate_type_hashes(PACKAGE, idls, self.idl_paths, self.out)
        return idls, [str(path) for path in hashes]

    def _generate(self, idls: list[str], hashes: list[str]) -> None:
        """C structures, their type supports, and the Python classes."""
        from rosidl_generator_c.cli import GenerateC
        from rosidl_generator_py.cli import GeneratePython
        from rosidl_typesupport_c.cli import GenerateCTypesupport
        from rosidl_typesupport_fastrtps_c.cli import GenerateFastRTPSCTypesupport
        from rosidl_typesupport_introspection_c.cli import GenerateIntrospectionCTypesupport

        GenerateC("c").generate(PACKAGE, idls, self.idl_paths, self.out, type_description_files=hashes)
        generators = (GenerateFastRTPSCTypesupport, GenerateIntrospectionCTypesupport, GenerateCTypesupport)
        for name, generator in zip(TYPE_SUPPORTS, generators, strict=True):
            generator(name).generate(PACKAGE, idls, self.idl_paths, self.scratch / name / PACKAGE)
        python = GeneratePython("py", typesupport_implementations=["rosidl_typesupport_c"])
        python.generate(PACKAGE, idls, self.idl_paths, self.scratch / "py" / PACKAGE)

    def _compile(self) -> None:
        generated = self.scratch / "py" / PACKAGE
        self._library(C_LIBRARY, self.out.rglob("*.c"))
        own = [C_LIBRARY]
        for name in TYPE_SUPPORTS:
            sources = (path for path in (self.scratch / name).rglob("*") if path.suffix in (".c", ".cpp"))
            self._library(name, sources, own)
        own += TYPE_SUPPORTS  # linked by the extension, so that the loader finds them by name later
        self._library("rosidl_generator_py", generated.rglob("*_s.c"), own)
        entry = next(generated.glob("*.ep.rosidl_typesupport_c.c"))
        needed = [f"{PACKAGE}__{name}" for name in ("rosidl_generator_py", *own)]
        self._link(generated / f"{PACKAGE}_s__rosidl_typesupport_c.so", [entry], RUNTIME, needed)

    def _library(self, name: str, sources: Iterable[Path], own: Sequence[str] = ()) -> None:
        libraries = [f"{PACKAGE}__{other}" for other in own]
        libraries += [f"{package}__{name}" for package in self.known]
        libraries += [f"{package}__{C_LIBRARY}" for package in self.known]
        present = {path.name for path in self.lib.glob("lib*.so")}
        libraries = [library for library in libraries if f"lib{library}.so" in present]
        self._link(self.lib / f"lib{PACKAGE}__{name}.so", sorted(sources), [*libraries, *RUNTIME])

    def _link(
        self, output: Path, sources: Sequence[Path], libraries: Sequence[str], needed: Sequence[str] = ()
    ) -> None:
        """Compile sources (C or C++ by suffix) and link them into one shared library."""
        objects: list[str] = []
        for source in sources:
            target = self.scratch / "objects" / output.name / f"{len(objects)}.o"
            target.parent.mkdir(parents=True, exist_ok=True)
            compiler = ["cc"] if source.suffix == ".c" else ["c++", "-std=c++17"]
            _call(
                [
                    *compiler,
                    "-O1",
                    "-fPIC",
                    *(f"-I{path}" for path in self._includes()),
                    "-c",
                    str(source),
                    "-o",
                    str(target),
                ]
            )
            objects.append(str(target))
        _call(
            [
                "c++",
                "-shared",
                "-o",
                str(output),
                f"-Wl,-soname,{output.name}",
                *objects,
                f"-L{self.lib}",
                "-Wl,--no-as-needed",
                *(f"-l{name}" for name in needed),
                "-Wl,--as-needed",
                *(f"-l{name}" for name in libraries),
                f"-Wl,-rpath,{self.lib}",
            ]
        )

    def _includes(self) -> list[Path]:
        import numpy as np

        include = self.prefix / "include"
        packages = sorted(path for path in include.iterdir() if path.is_dir())
        generated = [self.scratch / "idl", *(self.scratch / name for name in TYPE_SUPPORTS)]
        return [*generated, include, *packages, Path(sysconfig.get_path("include")), Path(np.get_include())]

    def _install(self, idls: list[str], hashes: list[str]) -> None:
        """Files for the ament index, and last the module, whose presence says that all is there."""
        source = self.scratch / "source"
        described = [source / name for name in DEFINITIONS]
        described += [self.out / idl.split(":")[1] for idl in idls] + [Path(path) for path in hashes]
        for path in described:
            target = self.share / path.parent.name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
        (self.share / "package.xml").write_text(PACKAGE_XML)
        listing = "\n".join(sorted(f"{path.parent.name}/{path.name}" for path in described))
        for kind, text in (("packages", ""), ("rosidl_interfaces", listing)):
            marker = self.prefix / "share/ament_index/resource_index" / kind / PACKAGE
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.write_text(text)
        staged = self.module.with_name(f".{PACKAGE}.partial")
        shutil.rmtree(staged, ignore_errors=True)
        shutil.copytree(self.scratch / "py" / PACKAGE, staged, ignore=shutil.ignore_patterns("*.c"))
        (staged / "__init__.py").touch()
        staged.rename(self.module)


def _call(command: list[str]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        first = next((line for line in done.stderr.splitlines() if "error" in line.lower()), "no message")
        raise BuildError(f"{PACKAGE} cannot be compiled: {first}")


def build() -> bool:
    """Build tf2_msgs into this environment; False when it is there already.

    Raises BuildError without a compiler, the Python headers or the rosidl wheels. A build that fails leaves no module.
    """
    if importlib.util.find_spec(PACKAGE) is not None:
        return False
    os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)
    for tool in ("cc", "c++"):
        if shutil.which(tool) is None:
            raise BuildError(f"{PACKAGE} needs the compiler {tool!r}: install gcc and g++ (Debian: build-essential)")
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        raise BuildError(f"{PACKAGE} needs the Python headers: install them (Debian: python3-dev)")
    with tempfile.TemporaryDirectory() as scratch:
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # the generators report every file
                _Build(Path(sys.prefix), Path(scratch)).run()
        except ImportError as error:
            raise BuildError(f"{PACKAGE} needs the ROS wheels ({error}): pip install 'hfnet_ros[ros]'") from error
    importlib.invalidate_caches()
    return True


def main() -> int:
    """The command; returns its exit status."""
    try:
        built = build()
    except HFNetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{PACKAGE}: {'built' if built else 'already there'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
