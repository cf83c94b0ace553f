"""What LoadTester says of bad arguments."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_performance import (
    ConfigurationError,
    LoadTester,
    LoadTestResult,
    Request,
    Stage,
)


async def empty() -> None:
    pass


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_requests": 0}, "num_requests=0"),
        ({"concurrent_users": 0}, "concurrent_users=0"),
        ({"concurrent_users": 10**9}, "concurrent_users=1000000000"),
        ({"duration": -1}, "duration=-1"),
        ({"duration": float("nan")}, "duration=nan"),
        ({"duration": 10**9}, "duration=1000000000"),
        ({"rate": 0}, "rate=0"),
        ({"rate": 1e12}, "rate=1000000000000.0"),
        ({"timeout": 0}, "timeout=0"),
        ({"warmup": -1}, "warmup=-1"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": 2, "rate": 5}, "batch_size=2"),
        ({"stages": []}, "stages=\\[\\]"),
        ({"stages": [(0, 5)]}, "stages="),
        ({"stages": [Stage(1, users=1, rate=1)]}, "stages="),
        ({"stages": [Stage(1, users=1), Stage(1, rate=1)]}, "stages="),
        ({"stages": [(1, 5)], "warmup": 1}, "warmup=1"),
        ({"arrivals": "often"}, "arrivals='often'"),
        ({"thresholds": ["p42<1ms"]}, "thresholds='p42<1ms'"),
        ({"thresholds": ["p99"]}, "thresholds='p99'"),
        ({"thresholds": ["success_rate>1ms"]}, "thresholds='success_rate>1ms'"),
    ],
)
async def test_a_bad_argument_is_named_with_its_value(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        await LoadTester(empty).run_load_test(**arguments)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"target": "ftp://localhost/"}, ConfigurationError),
        ({"target": "http:///x"}, ConfigurationError),
        ({"target": "http://user:secret@localhost/"}, ConfigurationError),
        ({"target": "http://localhost:99999/"}, ConfigurationError),
        ({"target": 5}, TypeError),
        ({"target": empty, "scenario": [Request("GET", "/")]}, ConfigurationError),
        ({"target": "http://localhost/", "scenario": []}, ConfigurationError),
        ({"target": "http://localhost/", "scenario": ["/"]}, TypeError),
        ({"target": "http://localhost/", "scenario": [Request("GET", "x")]}, ConfigurationError),
        ({"target": "http://localhost/", "scenario": [Request("GET", "/{nobody}")]}, ConfigurationError),
        ({"target": "http://localhost/", "scenario": [Request("GET", "/", weight=0)]}, ConfigurationError),
        ({"target": "http://localhost/", "scenario": [Request("GET", "/", data=[])]}, ConfigurationError),
        (
            {"target": "http://localhost/", "scenario": [Request("GET", "/", data="/no/such.csv")]},
            ConfigurationError,
        ),
        (
            {"target": "http://localhost/", "scenario": [Request("GET", "/", expect_status=42)]},
            ConfigurationError,
        ),
        (
            {"target": "http://localhost/", "scenario": [Request("PUT", "/", body=b"", json=1)]},
            ConfigurationError,
        ),
        ({"target": "http://localhost/", "headers": {"A": "b\r\nC: d"}}, ConfigurationError),
        ({"target": empty, "order": "random"}, ConfigurationError),
        ({"target": empty, "seed": -1}, ConfigurationError),
        ({"target": empty, "threads": 0}, ConfigurationError),
        ({"target": empty, "allow_hosts": "example.org"}, TypeError),
    ],
)
def test_a_bad_tester_is_refused_when_it_is_made(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        LoadTester(**arguments)
    assert "secret" not in str(caught.value)


async def test_wrong_types_are_type_errors() -> None:
    for arguments in (
        {"num_requests": 1.5},
        {"concurrent_users": True},
        {"duration": "1"},
        {"thresholds": "p99<1"},
    ):
        with pytest.raises(TypeError):
            await LoadTester(empty).run_load_test(**arguments)  # type: ignore[arg-type]


def test_the_result_type_is_public() -> None:
    assert LoadTestResult.__module__.startswith("mcp_performance")
