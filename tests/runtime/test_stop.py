"""Signals that ask a run to stop."""

import signal

import pytest

from sagan_jax.runtime import stop


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_becomes_a_request(name: str) -> None:
    number = getattr(signal, name)
    # Not what this process was started with: nohup ignores SIGHUP.
    before = signal.signal(number, signal.SIG_DFL)
    try:
        with stop.StopRequest() as request:
            assert not request.requested
            signal.raise_signal(number)
            assert request.requested
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    # As nohup does for SIGHUP: the run was meant to outlive its terminal.
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop.StopRequest() as request:
            signal.raise_signal(signal.SIGHUP)
            assert not request.requested
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            signal.raise_signal(signal.SIGTERM)
            assert request.requested
    finally:
        signal.signal(signal.SIGHUP, before)
