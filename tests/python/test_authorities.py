"""Whom HTTPS trusts: as was asked for, else the system's authorities wherever it has them."""

import ssl

import pytest

from mcp_performance._base import _authorities


@pytest.mark.parametrize("in_wheel", [False, True])
@pytest.mark.parametrize(
    ("verify", "tls", "file"),
    [("mine.pem", True, "mine.pem"), (False, True, ""), (True, False, "")],
)
def test_what_was_asked_for_counts(monkeypatch, in_wheel, verify, tls, file):
    monkeypatch.setattr(_authorities, "_IN_WHEEL", in_wheel)
    assert _authorities.authorities(verify, tls=tls) == file


def test_a_wheel_trusts_what_the_interpreter_trusts(monkeypatch, tmp_path):
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("")
    monkeypatch.setenv(ssl.get_default_verify_paths().openssl_cafile_env, str(bundle))
    monkeypatch.setattr(_authorities, "_IN_WHEEL", False)
    assert _authorities.authorities(True) == ""
    monkeypatch.setattr(_authorities, "_IN_WHEEL", True)
    assert _authorities.authorities(True) == str(bundle)
