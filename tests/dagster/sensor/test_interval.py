"""How often the sensor ticks."""

from __future__ import annotations

from typing import Any

import pytest
import scripted_messages as s

SENSOR = "tobiko_cloud_track_prod"


def test_the_sensors_interval_is_what_was_given_else_30_s(definitions: Any) -> None:
    manifest = s.manifest(s.node("a"))
    assert definitions(manifest).get_sensor_def(SENSOR).minimum_interval_seconds == 30
    sensor = definitions(manifest, sensor_interval_seconds=5).get_sensor_def(SENSOR)
    assert sensor.minimum_interval_seconds == 5


@pytest.mark.parametrize("interval", [0, -30, 2.5, "30", True, None])
def test_an_interval_that_is_none_is_refused(definitions: Any, interval: Any) -> None:
    with pytest.raises(Exception, match="is no number of seconds: give a whole number, 1 or more") as raised:
        definitions(s.manifest(s.node("a")), sensor_interval_seconds=interval)
    assert f"sensor_interval_seconds={interval!r}" in str(raised.value)
