"""Signals: the first one ends after the chunk, and what came before comes back."""

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from so3krates._interrupts import deferred_interrupts

BOTH = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture(autouse=True)
def _handlers_come_back() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in BOTH}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(*numbers: int) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


def test_the_termination_signal_may_come_as_often_as_it_likes() -> None:
    with deferred_interrupts() as interrupts:
        send(signal.SIGTERM, signal.SIGTERM, signal.SIGTERM)
        assert interrupts.requested and interrupts.terminated


def test_a_second_ctrl_c_interrupts_at_once() -> None:
    with deferred_interrupts() as interrupts:
        send(signal.SIGINT)
        assert interrupts.requested and not interrupts.terminated
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
        send(signal.SIGTERM)
        assert not interrupts.terminated


def test_where_there_is_nothing_to_finish_the_first_signal_interrupts_and_no_later_one_the_cleaning_up() -> None:
    with deferred_interrupts(at_once=True) as interrupts:
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGTERM)
        send(signal.SIGTERM)
        assert interrupts.terminated


@pytest.mark.parametrize("number", BOTH)
def test_what_is_ignored_stays_ignored(number: int) -> None:
    signal.signal(number, signal.SIG_IGN)
    with deferred_interrupts() as interrupts:
        assert signal.getsignal(number) is signal.SIG_IGN
        send(number, number)
        assert not interrupts.requested
    assert signal.getsignal(number) is signal.SIG_IGN


def test_a_handler_that_was_not_set_from_python_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a program that embeds Python sets one: Python shows None in its place."""
    kept, real = signal.getsignal(signal.SIGTERM), signal.getsignal
    set_ones: list[int] = []

    def foreign(number: int) -> Any:
        return None if number == signal.SIGTERM else real(number)

    def setting(number: int, handler: Any) -> Any:
        set_ones.append(number)
        before = real_set(number, handler)
        return None if number == signal.SIGTERM else before

    real_set = signal.signal
    with monkeypatch.context() as patch:
        patch.setattr(signal, "getsignal", foreign)
        patch.setattr(signal, "signal", setting)
        with deferred_interrupts():
            assert real(signal.SIGTERM) is kept
    assert set_ones == [signal.SIGINT, signal.SIGINT] and real(signal.SIGTERM) is kept
