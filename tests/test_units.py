from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tako.units import (
    MAX_BYTES,
    MAX_DURATION_S,
    format_bytes,
    format_duration,
    parse_cpu,
    parse_duration,
    parse_quantity,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("0s", 0.0),
        ("30s", 30.0),
        ("1.5h", 5400.0),
        ("1h30m", 5400.0),
        (".5s", 0.5),
        ("1.s", 1.0),
        ("250ms", 0.25),
        ("10us", 0.00001),
        ("1h1m1s1ms", 3661.001),
    ],
)
def test_a_duration_is_read_as_go_writes_it(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is not a duration"),
        ("30", "has no unit; expected a duration such as 30s or 30m"),
        ("1.5", "has no unit"),
        ("-5s", "is negative"),
        ("1d", "is not a duration"),
        ("1y", "is not a duration"),
        ("1h junk 2m", "is not a duration"),
        ("1 h", "is not a duration"),
        ("1h\n", "is not a duration"),
        ("NaN", "is not a duration"),
        ("inf", "is not a duration"),
        ("infs", "is not a duration"),
        ("1.2.3s", "is not a duration"),
        ("٣s", "is not a duration"),
        ("9999999999h", "is too long"),
        ("9" * 90 + "h", "is too long"),
        ("9" * 5000 + "h", "is not a duration"),
    ],
)
def test_what_is_no_duration_is_refused_with_what_was_expected(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=r"duration|at most") as caught:
        parse_duration(text)
    assert told in str(caught.value)
    assert len(str(caught.value)) < 300


@given(st.integers(0, 2_000_000), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_every_duration_is_the_sum_of_its_parts(hours: int, minutes: int, seconds: int, millis: int) -> None:
    expected = hours * 3600 + minutes * 60 + seconds + millis / 1000
    assert parse_duration(f"{hours}h{minutes}m{seconds}s{millis}ms") == pytest.approx(expected)


@given(st.text(max_size=20))
def test_any_text_is_a_duration_in_range_or_a_value_error(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except ValueError:
        return
    assert 0 <= seconds <= MAX_DURATION_S


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ms"),
        (0.34, "340ms"),
        (0.9996, "1.0s"),
        (1.2, "1.2s"),
        (59.94, "59.9s"),
        (59.97, "1m00s"),
        (123, "2m03s"),
        (3599.4, "59m59s"),
        (3599.7, "1h00m"),
        (3720, "1h02m"),
        (180_000, "50h00m"),
        (-1.2, "-1.2s"),
    ],
)
def test_a_duration_is_short_for_people(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.floats(0, 1e6))
def test_a_formatted_duration_is_near_to_what_it_says(seconds: float) -> None:
    text = format_duration(seconds)
    unit = 0.0006 if text.endswith("ms") else 0.06 if "." in text else 0.6 if "s" in text else 31
    assert math.isclose(parse_duration(text), seconds, abs_tol=unit)


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (2048, 2048),
        ("4096", 4096),
        ("0", 0),
        ("1k", 1000),
        ("1Ki", 1024),
        ("512Mi", 512 * 1024**2),
        ("2G", 2 * 10**9),
        ("1.5Gi", 3 * 2**29),
        ("1T", 10**12),
        ("1Pi", 2**50),
        ("7Ei", 7 * 2**60),
        ("1E", 10**18),
        ("1e3", 1000),
        ("1E3", 1000),
        ("12e-1", 2),
        ("100m", 1),
        (".5k", 500),
        ("5.", 5),
    ],
)
def test_a_quantity_is_read_as_kubernetes_writes_it(value: str | int, size: int) -> None:
    assert parse_quantity(value) == size


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("", "is not a size"),
        ("12 Mi", "is not a size"),
        ("1mb", "is not a size"),
        ("Mi", "is not a size"),
        ("1_000", "is not a size"),
        ("nan", "is not a size"),
        ("inf", "is not a size"),
        ("-1Mi", "is negative"),
        (-1, "is negative"),
        ("5K", "did you mean 5Ki (1024) or 5k (1000)?"),
        ("8Ei", "is out of range"),
        ("1e99", "is out of range"),
        ("1e999999999", "is out of range"),
        (2**63, "is out of range"),
        ("9" * 5000, "is not a size"),
        (True, "a boolean is not a size"),
    ],
)
def test_what_is_no_quantity_is_refused_with_what_was_expected(value: str | int, told: str) -> None:
    with pytest.raises(ValueError, match=r"size|range|suffix") as caught:
        parse_quantity(value)
    assert told in str(caught.value)
    assert len(str(caught.value)) < 200


@given(st.integers(0, 2**40), st.sampled_from(["", "Ki", "Mi", "k", "M"]))
def test_a_whole_quantity_is_exact(count: int, suffix: str) -> None:
    factor = {"": 1, "Ki": 1024, "Mi": 1024**2, "k": 1000, "M": 10**6}[suffix]
    assert parse_quantity(f"{count}{suffix}") == count * factor


@given(st.text(alphabet="0123456789.eE+-KMGimknu ", max_size=12))
def test_any_text_is_a_quantity_in_range_or_a_value_error(text: str) -> None:
    try:
        size = parse_quantity(text)
    except ValueError:
        return
    assert 0 <= size <= MAX_BYTES


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (2 * 1024**3, "2.0 GiB"),
        (2**60, "1.0 EiB"),
        (-2048, "-2.0 KiB"),
    ],
)
def test_bytes_are_short_for_people(count: int, text: str) -> None:
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("value", "cores"), [("500m", 0.5), ("1.5", 1.5), (2, 2.0), (0.25, 0.25), ("1m", 0.001)]
)
def test_cpus_are_read_as_kubernetes_writes_them(value: str | float, cores: float) -> None:
    assert parse_cpu(value) == cores


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("0", "is too little"),
        ("0.5m", "is too little"),
        ("-1", "is not a number of CPUs"),
        ("1k", "is not a number of CPUs"),
        ("two", "is not a number of CPUs"),
        (math.nan, "is not a number of CPUs"),
        (math.inf, "is not a number of CPUs"),
        ("9" * 400, "is not a number of CPUs"),
        (True, "a boolean is not a number of CPUs"),
    ],
)
def test_what_is_no_number_of_cpus_is_refused(value: str | float, told: str) -> None:
    with pytest.raises(ValueError, match="CPU") as caught:
        parse_cpu(value)
    assert told in str(caught.value)
