"""A share that is documented as 0 to 1 is held to that."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.landfall.vps.plugins.plugin_utils import shapes

from tests import rolekit

SHARES = [
    (name, option)
    for role in rolekit.role_names()
    for name, option in rolekit.options(role).items()
    if option["type"] == "float" and (name.endswith(("_ratio", "_ratio_critical")) or "0 to 1" in option["description"])
]
RATE = "celery_alert_retry_ratio"  # retries per task, which may be above 1


@pytest.mark.parametrize(("name", "option"), SHARES, ids=[name for name, _option in SHARES])
def test_a_share_is_between_0_and_1(name: str, option: dict[str, Any]) -> None:
    for value in (5, -3, 50, 1.01, "5", float("nan")):
        found = [fault.text for fault in shapes.faults(name, option, value)]
        told = f"{name}: is {value}; write a share from 0 to 1, such as 0.05 for 5 %"
        assert found == ([] if name == RATE else [told])
    assert not [fault for value in (0, 0.05, 1, "0.5") for fault in shapes.faults(name, option, value)]
