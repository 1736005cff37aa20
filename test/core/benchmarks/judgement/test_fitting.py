"""The calibration of the judgement: what separates right from wrong, and how sure it may be."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from hfnet_core.benchmarks.judgement.collection import Hypotheses, read_hypotheses
from hfnet_core.benchmarks.judgement.fitting import Prior, fit, held_out, reliability
from hfnet_core.benchmarks.judgement.report import calibrated, priors_of, table
from hfnet_core.errors import DatasetError
from hfnet_core.localization.confidence import DENSE, SPARSE, Calibration


def hypotheses(count: int = 400, seed: int = 0, source: str = "hall") -> Hypotheses:
    """Half of them right. The ratio tells most, the agreement something, the rest nothing."""
    rng = np.random.default_rng(seed)
    right = np.arange(count) % 2 == 0
    numbers = rng.normal(size=(count, len(DENSE)))
    numbers[:, DENSE.index("focal")] = 0.0
    numbers[:, DENSE.index("near")] = 0.0
    numbers[:, DENSE.index("ratio")] += 3.0 * right
    numbers[:, DENSE.index("agreement")] += 1.0 * right
    family = np.where(np.arange(count) % 4 < 2, "as it is", "blurred")
    error = np.where(right[:, None], 0.01, 5.0) * np.ones(2)
    return Hypotheses(numbers, right, np.arange(count) // 2, family, np.full(count, source), error)


def test_what_tells_right_from_wrong_is_found() -> None:
    calibration = fit(hypotheses(), DENSE)
    weights = calibration.weights
    assert weights["ratio"] > 2.0 * weights["agreement"] > 0.0
    assert all(weights[name] >= 0.0 for name in DENSE if name not in ("focal", "near"))
    assert weights["focal"] < 0.0  # by construction: no image here has a wrong focal length


def test_probabilities_told_are_about_those_that_hold() -> None:
    fresh, calibration = hypotheses(4000, seed=1), fit(hypotheses(4000), DENSE)
    sure = [(right, count) for told, right, count in reliability(fresh, calibration, DENSE) if told > 0.99]
    assert sure
    assert all(right > 0.97 and count > 100 for right, count in sure)


def test_right_poses_of_composites_do_not_teach_that_contradiction_is_harmless() -> None:
    plain, hidden = hypotheses(), hypotheses(seed=3)
    hidden.numbers[:, DENSE.index("agreement")] = -9.0
    rights = Hypotheses(**{name: column[hidden.right] for name, column in vars(hidden).items()})
    occluded = dataclasses.replace(rights, family=np.full(len(rights), "occluded"))
    assert fit(Hypotheses.joined([plain, occluded]), DENSE) == fit(plain, DENSE)
    assert fit(Hypotheses.joined([plain, rights]), DENSE) != fit(plain, DENSE)


def test_a_source_is_judged_by_the_others() -> None:
    found = Hypotheses.joined([hypotheses(source="hall"), hypotheses(seed=2, source="yard")])
    assert len(np.unique(found.image)) == 400  # images of two sources are not the same
    for held in held_out(found, SPARSE, 0.9):
        assert held.source in ("hall", "yard")
        assert held.accepted > 0.5
        assert held.wrong < 0.1 * held.wrong_asked
        assert 0 < held.answered <= held.reachable == 100
        assert held.misled_asked == 0
    assert "hall" in table(found, 0.999)


def test_images_with_a_wrong_calibration_count_by_themselves() -> None:
    found = Hypotheses.joined([hypotheses(source="hall"), hypotheses(seed=2, source="yard")])
    family = np.where(found.family == "blurred", "another focal length", found.family)
    plain, mixed = (held_out(one, SPARSE, 0.9)[0] for one in (found, dataclasses.replace(found, family=family)))
    assert (plain.wrong_asked, plain.misled_asked) == (200, 0)
    assert (mixed.wrong_asked, mixed.misled_asked) == (100, 100)
    assert mixed.reachable == plain.reachable


def test_too_few_are_refused() -> None:
    with pytest.raises(DatasetError, match="too few to calibrate"):
        fit(hypotheses(20), DENSE)


def test_a_judgement_file_keeps_what_it_knows_of_other_networks(tmp_path: Path) -> None:
    path = tmp_path / "judgement.json"
    path.write_text(json.dumps({"other": {"sparse": {"bias": 1.0, "weights": {}}}}))
    stored = json.loads(calibrated(hypotheses(), "mine", path))
    assert set(stored) == {"other", "mine", "generic"}
    assert stored["generic"]["sparse"]["bias"] < stored["mine"]["sparse"]["bias"]  # an unknown network is doubted
    path.write_text("[1")
    with pytest.raises(DatasetError, match=r"judgement\.json: is no judgement file"):
        calibrated(hypotheses(), "mine", path)


def test_a_former_calibration_has_its_share(tmp_path: Path) -> None:
    path = tmp_path / "judgement.json"
    former = {kind: {"bias": 4.0, "weights": {"inliers": 2.0, "rare": 8.0}} for kind in ("dense", "sparse")}
    path.write_text(json.dumps({"former": former}))
    alone = json.loads(calibrated(hypotheses(), "mine", path))["mine"]["dense"]
    priors = priors_of(path, "former", 0.25)
    mixed = json.loads(calibrated(hypotheses(), "mine", path, priors=priors))["mine"]["dense"]
    assert mixed["bias"] == pytest.approx(0.75 * alone["bias"] + 1.0, abs=1e-3)
    assert mixed["weights"]["inliers"] == pytest.approx(0.75 * alone["weights"].get("inliers", 0.0) + 0.5, abs=1e-3)
    assert mixed["weights"]["rare"] == pytest.approx(2.0)


def test_the_table_tells_of_the_calibration_that_is_written(tmp_path: Path) -> None:
    found = Hypotheses.joined([hypotheses(source="hall"), hypotheses(seed=2, source="yard")])
    doubting = Prior(Calibration(-30.0, {}), 0.9)
    assert all(held.accepted == 0.0 for held in held_out(found, DENSE, 0.9, doubting))
    assert all(held.accepted > 0.5 for held in held_out(found, DENSE, 0.9))
    told = table(found, 0.9, {"dense": doubting}).splitlines()
    assert told[1].split()[:3] == ["hall", "0.0", "%"]
    assert told[-1].split()[-1] == "800"  # all are told the same: next to nothing


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ({"known": {}}, r"judgement\.json: has no calibration of former; it has: known"),
        ({"former": {"dense": {"bias": "much"}}}, r"judgement\.json: the calibration of former is none"),
    ],
)
def test_a_former_calibration_that_is_none_is_refused(tmp_path: Path, stored: object, message: str) -> None:
    path = tmp_path / "judgement.json"
    with pytest.raises(DatasetError, match=r"judgement\.json: has no calibration of former; it has: none"):
        priors_of(path, "former", 0.25)
    path.write_text(json.dumps(stored))
    with pytest.raises(DatasetError, match=message):
        priors_of(path, "former", 0.25)


def test_a_former_calibration_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no sparse calibration"):
        calibrated(
            without_witness(hypotheses()), "mine", tmp_path / "a", priors={"dense": Prior(Calibration(0, {}), 0.5)}
        )


def without_witness(found: Hypotheses) -> Hypotheses:
    """As of features without dense descriptors."""
    numbers = found.numbers.copy()
    numbers[:, len(SPARSE) :] = 0.0
    return dataclasses.replace(found, numbers=numbers)


def test_features_without_dense_descriptors_are_judged_by_the_rest(tmp_path: Path) -> None:
    path, found = tmp_path / "judgement.json", without_witness(hypotheses())
    path.write_text(calibrated(hypotheses(), "network", path))
    stored = json.loads(calibrated(found, "orb", path))
    assert set(stored["orb"]) == {"sparse"}
    assert set(stored["network"]) == {"dense", "sparse"}
    assert "1.0000" in table(found, 0.9)


def test_what_holds_in_general_is_calibrated_on_several_kinds(tmp_path: Path) -> None:
    path, orb = tmp_path / "judgement.json", without_witness(hypotheses(seed=4, source="orb-hall"))
    path.write_text(calibrated(hypotheses(), "network", path))
    former = json.loads(path.read_text())["generic"]
    stored = json.loads(calibrated(orb, "orb", path, Hypotheses.joined([hypotheses(), orb])))
    assert stored["generic"]["dense"] == former["dense"]
    assert stored["generic"]["sparse"] != former["sparse"]
    both = fit(Hypotheses.joined([hypotheses(), orb]), SPARSE)
    assert stored["generic"]["sparse"]["weights"]["ratio"] == pytest.approx(both.weights["ratio"], abs=1e-4)
    assert stored["generic"]["sparse"]["bias"] < both.bias  # whoever is not known is doubted


def test_hypotheses_come_back_from_their_file(tmp_path: Path) -> None:
    found, path = hypotheses(), tmp_path / "hall.npz"
    found.save(path)
    read = read_hypotheses(path)
    for item in dataclasses.fields(found):
        assert np.array_equal(getattr(read, item.name), getattr(found, item.name))
    path.write_bytes(b"torn")
    with pytest.raises(DatasetError, match=r"hall\.npz: cannot be read as hypotheses"):
        read_hypotheses(path)


@pytest.mark.parametrize(
    "changed",
    [
        {"numbers": np.zeros((400, 3))},
        {"numbers": np.full((400, len(DENSE)), np.nan)},
        {"right": np.zeros(400)},
        {"right": np.zeros((400, 1), bool)},
        {"image": np.zeros(399, int)},
        {"family": np.zeros(400)},
    ],
)
def test_hypotheses_that_somebody_has_changed_are_refused(tmp_path: Path, changed: dict[str, np.ndarray]) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, **{**vars(hypotheses()), **changed})
    with pytest.raises(DatasetError, match="does not hold hypotheses"):
        read_hypotheses(path)


@pytest.mark.parametrize("content", ["[" * 5000, "[1]", '{"a": 1}', "\x00"])
def test_what_is_no_judgement_is_refused_in_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "judgement.json").write_text(content)
    with pytest.raises(DatasetError, match="is no judgement file"):
        calibrated(hypotheses(), "f" * 64, tmp_path / "judgement.json")


def test_a_source_of_which_the_others_are_too_few_is_not_held_out() -> None:
    found = Hypotheses.joined([hypotheses(source="hall"), hypotheses(20, seed=2, source="yard")])
    assert [held.source for held in held_out(found, DENSE, 0.9)] == ["yard"]
    assert "yard" in table(found, 0.9)
