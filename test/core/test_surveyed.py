"""Single photos are localized where surveyors put their cameras."""

from __future__ import annotations

import pytest
from bench.surveyed import localized
from helpers import shared_data


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("name", "worst_m"), [("fountain-P11", 0.02), ("entry-P10", 0.08)])
def test_photos_that_no_map_knows_are_localized(name: str, worst_m: float) -> None:
    samples = localized(shared_data("data", "strecha", name), range(1))
    assert len(samples) == 4
    for sample in samples:
        assert sample.error is not None, sample.reason
        assert sample.error[0] < worst_m
        assert sample.error[1] < 0.5
