"""Durations and sizes mean what the programs take them for, in whatever form they print them."""

from __future__ import annotations

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import units
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("60s", "1m"), ("7d", "1w"), ("14d", "2w"), ("720h", "30d"), ("1h30m", "90m"), ("90m", "1h30m0s"),
        ("365d", "1y"), ("1500ms", "1s500ms"), ("1.5h", "90m"), ("0", "0s"), ("1000us", "1ms"), ("1\u00b5s", "1us"),
        (".5s", "500ms"), ("1.s", "1s"),
    ],
)  # fmt: skip
def test_one_duration_in_two_forms(one: str, other: str) -> None:
    assert units.seconds(one) == units.seconds(other)


def test_durations_have_their_length() -> None:
    assert [units.seconds(text) for text in ("15s", "1m", "1h30m", "2d", "1w", "1y", "1ms")] == [
        15, 60, 5400, 172800, 604800, 31536000, 0.001,
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "5", "s", "1x", "-1s", "1 s", "1s ", "1h30", "\u0661s", "1e3s", "1m\n", "1,5h"])
def test_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        units.seconds(text)
    assert all(units.duration_fault(text, dialect) for dialect in units.DURATIONS)


@pytest.mark.parametrize(
    ("text", "dialects"),
    [
        ("1h30m", {"go", "days", "compose", "metrics"}),
        ("30d", {"days", "compose", "metrics"}),
        ("2w", {"compose", "metrics"}),
        ("1y", {"metrics"}),
        ("1.5h", {"go", "days"}),
        ("30m1h", {"go", "days", "compose"}),
        ("500us", {"go", "days", "compose"}),
        ("0", {"go", "days", "compose", "metrics"}),
    ],
)
def test_each_program_has_its_own_durations(text: str, dialects: set[str]) -> None:
    assert {name for name in units.DURATIONS if not units.duration_fault(text, name)} == dialects


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1024MB", "1GiB"), ("1g", "1024m"), ("5GB", "5GiB"), ("1.5g", "1536m"), ("1GiB512MiB", "1536MiB"),
        ("256KB", "262144"), ("1 GB", "1GB"), ("1e", "1024p"), ("100", "100B"),
    ],
)  # fmt: skip
def test_one_size_in_two_forms(one: str, other: str) -> None:
    assert units.size(one) == units.size(other)


def test_sizes_that_differ_do_not_meet() -> None:
    assert units.size("5GB") != units.size("15GiB")
    assert units.size("512m") == 512 * 1024**2


@pytest.mark.parametrize("text", ["", "GB", "-1g", "1x", "1g ", "\u0661g", "1,5g", "1e-3", "0x10", "1g\n"])
def test_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is no size"):
        units.size(text)
    assert all(units.size_fault(text, dialect) for dialect in units.SIZES)


@pytest.mark.parametrize(
    ("text", "dialects"),
    [
        ("512m", {"docker", "logs"}),
        ("512MB", {"docker", "metrics", "logs"}),
        ("1GiB", {"docker", "metrics"}),
        ("512", {"docker", "logs"}),
        ("1.5GB", {"docker", "metrics"}),
    ],
)
def test_each_program_has_its_own_sizes(text: str, dialects: set[str]) -> None:
    assert {name for name in units.SIZES if not units.size_fault(text, name)} == dialects


@pytest.mark.parametrize("text", ["293y", "15251w", "106752d", "2562048h", "9223372037s"])
def test_a_time_that_no_program_can_count(text: str) -> None:
    dialects = [name for name, (form, _example) in units.DURATIONS.items() if form.fullmatch(text)]
    assert dialects
    assert all("292 years" in units.duration_fault(text, name) for name in dialects)


@pytest.mark.parametrize("text", ["8193PB", "8192PB", "9999999999GB"])
def test_a_size_that_no_program_can_count(text: str) -> None:
    assert all("8 EiB" in units.size_fault(text, name) for name in units.SIZES)
    assert not any(units.size_fault("8191PB", name) for name in units.SIZES)


@given(st.integers(0, 292), st.sampled_from(["ms", "s", "m", "h", "d", "w", "y"]))
def test_what_a_dialect_takes_can_be_measured(number: int, unit: str) -> None:
    text = f"{number}{unit}"
    assert not units.duration_fault(text, "metrics")
    assert units.nanoseconds(text) == number * units.nanoseconds("1" + unit)
