"""Shared fixtures. Types and shapes are checked at run time here, and only here: users pay nothing for it."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter

import jax
import jaxtyping
import numpy as np
import pytest

# Before the first import of the package: every annotation in it becomes a check.
assert "so3krates" not in sys.modules, "so3krates was imported before the tests could switch on its shape checks"
sys.path.insert(0, str(Path(__file__).parent))
jaxtyping.install_import_hook("so3krates", "shape_checks.checked")

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")

ROOT = Path(__file__).resolve().parents[1]


def pytest_configure(config: pytest.Config) -> None:
    """Fast tests spend most of their time compiling: less optimised programs do the same, more slowly. Slow tests use
    what users use."""
    # A shell starts what runs in the background with Ctrl-C ignored, and what is ignored stays so in our runs too.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.getoption("markexpr") == "not slow":
        os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Random numbers that depend on the name of the test alone."""
    return np.random.default_rng([ord(letter) for letter in request.node.name])


@pytest.fixture
def getkey(rng: np.random.Generator) -> Callable[[], jax.Array]:
    """A new JAX key at each call."""
    return lambda: jax.random.key(int(rng.integers(2**31)))


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of shared data: `SHARED_DIR`, or `shared` beside the repository."""
    folder = Path(os.environ.get("SHARED_DIR", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder}; set SHARED_DIR to their folder")
    return folder


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Without the run-time checks of annotations: for tests of how the package itself refuses wrong arguments."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(autouse=True)
def _programs_are_forgotten() -> Iterator[None]:
    """A process with thousands of compiled programs dies, and most tests compile outside of what watches that."""
    begin = perf_counter()
    yield
    # Counting takes a while; what was done at once has compiled nothing.
    if perf_counter() - begin > 0.5:
        from so3krates._programs import forget_if_too_many

        forget_if_too_many()


@pytest.fixture(autouse=True)
def _settings_stay() -> Iterator[None]:
    """Nothing in the package may change a global JAX setting."""
    names = ("jax_enable_x64", "jax_numpy_dtype_promotion", "jax_default_matmul_precision")
    before = {name: getattr(jax.config, name) for name in names}
    yield
    after = {name: getattr(jax.config, name) for name in names}
    assert after == before, f"global JAX settings changed from {before} to {after}"
