"""gecatsim's own figures, live: what tests/plugins/simulate/test_oracle.py holds the virtual scanner against is still what it says."""

from __future__ import annotations

import json

import pytest
from gecatsim_cylinders import RECORD, simulate


@pytest.mark.filterwarnings("ignore")  # its code, not ours
def test_the_record_is_what_gecatsim_says() -> None:
    pytest.importorskip("gecatsim", reason="pip install tqdm; pip install --no-deps gecatsim==1.5.4")
    found, recorded = simulate(), json.loads(RECORD.read_text())
    print(f"\n{json.dumps(found)}")
    for kind, within in (("hu_at_68_kev", 0.1), ("hu", 0.2)):
        assert found[kind] == pytest.approx(recorded[kind], abs=within)
    assert found["noise_hu"] == pytest.approx(recorded["noise_hu"], rel=0.04)
