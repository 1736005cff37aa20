"""Our reader of MATLAB files against scipy's, on files that MATLAB and scipy wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from scipy.io import loadmat, savemat

from hfnet_core.errors import ModelError
from hfnet_core.training.teachers.matlab_file import MatlabObject, read_matlab

SAMPLES = Path(scipy.io.__file__).parent / "matlab" / "tests" / "data"  # written by MATLAB 6 to 7.4
NAMES = [f"{what}_{version}" for what in ("testdouble", "testmatrix", "testminus", "test3dmatrix", "testcell",
                                          "testcellnest", "testemptycell", "teststring", "testonechar", "teststruct",
                                          "teststructnest", "teststructarr", "testcomplex", "testsparse", "testobject")
         for version in ("6.5.1_GLNX86", "7.1_GLNX86", "7.4_GLNX86")]  # fmt: skip


def assert_same(ours: Any, theirs: Any) -> None:
    """theirs: as scipy gives it, unsqueezed."""
    if isinstance(ours, MatlabObject):
        assert np.iscomplexobj(theirs) or ours.kind in (3, 5, 16, 17)
    elif isinstance(ours, dict):
        assert theirs.size == 1
        assert set(ours) == set(theirs.dtype.names or ())
        for name, value in ours.items():
            assert_same(value, theirs.flat[0][name])
    elif isinstance(ours, list):
        values = theirs.ravel(order="F")
        assert len(ours) == len(values)
        for value, one in zip(ours, values, strict=True):
            assert_same(value, np.array([one], theirs.dtype) if theirs.dtype.names else one)
    elif isinstance(ours, str):
        assert ours == ("".join(theirs.ravel()) if theirs.size else "")
    else:
        assert ours.shape == theirs.shape or ours.size == theirs.size == 0
        np.testing.assert_array_equal(ours.ravel(), theirs.ravel())


@pytest.mark.parametrize("name", NAMES)
def test_files_written_by_matlab(name: str) -> None:
    path = SAMPLES / f"{name}.mat"
    if not path.is_file():
        pytest.skip(f"this scipy comes without {path}")
    theirs = {key: value for key, value in loadmat(path).items() if not key.startswith("__")}
    assert theirs
    for key, value in theirs.items():
        if name.startswith(("testsparse", "testobject")):
            with pytest.raises(ModelError, match="holds no variable"):
                read_matlab(path, key)
        else:
            assert_same(read_matlab(path, key), value)


@pytest.mark.parametrize("compressed", [False, True])
def test_files_written_by_scipy(tmp_path: Path, compressed: bool) -> None:
    rng = np.random.default_rng(0)
    cells = np.empty(3, dtype=object)
    cells[:] = [rng.normal(size=(3, 3, 2, 4)).astype(np.float32), "a text", {"inner": np.arange(5, dtype=np.int16)}]
    values = {"first": rng.normal(size=(4, 6)), "net": {"layers": cells, "name": "x", "flag": True}}
    savemat(tmp_path / "a.mat", values, do_compression=compressed)
    theirs = loadmat(tmp_path / "a.mat")
    for key in values:
        assert_same(read_matlab(tmp_path / "a.mat", key), theirs[key])


@pytest.mark.parametrize("compressed", [False, True])
def test_damage_is_refused(tmp_path: Path, compressed: bool) -> None:
    """Whatever byte is wrong: a value or one line, never another exception, a crash or a huge allocation."""
    path = tmp_path / "a.mat"
    cells = np.empty(2, dtype=object)
    cells[:] = [np.arange(12.0).reshape(3, 4), {"inner": "text", "other": np.arange(3)}]
    savemat(path, {"net": {"layers": cells}}, do_compression=compressed)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for place in range(0, len(whole), 2):
        for change in (0xFF, int(rng.integers(1, 256))):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ change]) + whole[place + 1 :])
            try:
                read_matlab(path, "net")
            except ModelError as error:
                assert str(error).startswith(f"{path}: ")
                assert "\n" not in str(error)
                refused += 1
    assert refused > 80
    for length in range(0, len(whole) - 8, 3):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelError):
            read_matlab(path, "net")


def test_other_versions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    path.write_bytes(b"MATLAB 7.3 MAT-file, Platform".ljust(124) + b"\x00\x02IM" + bytes(900))
    with pytest.raises(ModelError, match=r"version 7\.3; save it with the option '-v7'"):
        read_matlab(path, "net")
    savemat(path, {"net": 1.0}, format="4")
    with pytest.raises(ModelError, match="not a MATLAB file of version 5 to 7"):
        read_matlab(path, "net")
    path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(124) + b"\x01\x00MI" + bytes(900))  # big-endian
    with pytest.raises(ModelError, match="little-endian"):
        read_matlab(path, "net")
    with pytest.raises(ModelError, match=r"none\.mat: cannot be read"):
        read_matlab(tmp_path / "none.mat", "net")
