"""The writer: in order, beside the computation, and nothing after an error."""

import errno
import threading
from collections.abc import Callable

import pytest

from so3krates import md
from so3krates._errors import FileError
from so3krates.md.engine import engine
from so3krates.md.records.writer import WAITING, Writer
from so3krates.potential import Potential
from so3krates.system import System


def test_everything_is_committed_in_order_by_another_thread() -> None:
    seen: list[tuple[int, bool]] = []
    with Writer[int](lambda item: seen.append((item, threading.current_thread() is threading.main_thread()))) as writer:
        for item in range(50):
            writer.put(item)
    assert seen == [(item, False) for item in range(50)]


def test_it_does_not_wait_for_what_is_written_and_waits_when_too_much_does() -> None:
    go, entered, done = threading.Event(), threading.Event(), []

    def commit(item: int) -> None:
        entered.set()
        assert go.wait(20.0)
        done.append(item)

    with Writer[int](commit) as writer:
        for item in range(1 + WAITING):
            writer.put(item)
            assert entered.wait(20.0)
        assert done == []
        late = threading.Thread(target=writer.put, args=(99,))
        late.start()
        late.join(0.2)
        assert late.is_alive()
        go.set()
        late.join(20.0)
    assert done == [*range(1 + WAITING), 99]


def test_after_an_error_nothing_follows_and_the_run_hears_of_it() -> None:
    done: list[int] = []

    def commit(item: int) -> None:
        if item == 2:
            raise OSError(errno.ENOSPC, "No space left on device", "run.h5")
        done.append(item)

    with pytest.raises(FileError, match="'run.h5' cannot be written: No space left"):
        with Writer[int](commit) as writer:
            for item in range(100):
                writer.put(item)
    assert done == [0, 1]


def test_an_error_of_the_last_commit_is_not_lost() -> None:
    def commit(item: int) -> None:
        raise FileError(f"chunk {item} cannot be written")

    with pytest.raises(FileError, match="chunk 0"):
        with Writer[int](commit) as writer:
            writer.put(0)


def test_what_was_handed_over_is_written_even_if_the_run_fails() -> None:
    done: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        with Writer[int](done.append) as writer:
            writer.put(1)
            raise KeyboardInterrupt
    assert done == [1]


def test_it_can_be_waited_for() -> None:
    go, done = threading.Event(), []

    def commit(item: int) -> None:
        assert go.wait(20.0)
        if item == 1:
            raise FileError("no room")
        done.append(item)

    with pytest.raises(FileError, match="no room"):
        with Writer[int](commit) as writer:
            writer.put(0)
            threading.Timer(0.1, go.set).start()
            writer.wait()
            assert done == [0]
            writer.put(1)
            writer.wait()


def test_the_writer_of_a_run_gets_no_candidates_of_neighbours(
    cluster: System, argon: Callable[[str], Potential], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may be larger than all else, and would be kept alive as long as the chunk waits."""
    put, kept = Writer.put, []

    def seen(writer: Writer[engine.Chunk], chunk: engine.Chunk) -> None:
        kept.append(chunk.checkpoint.state.verlet)
        put(writer, chunk)

    monkeypatch.setattr(Writer, "put", seen)
    md.simulate(argon("float64"), cluster, md.NVE(), timestep_fs=2.0, steps=20, initial_temperature_K=20.0)
    assert kept and all(verlet is not None and verlet.candidates is None for verlet in kept)
