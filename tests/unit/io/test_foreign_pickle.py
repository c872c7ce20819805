"""Foreign pickles: arrays come through, and nothing that a pickle asks for is run."""

import collections
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from so3krates._errors import FileError
from so3krates.io.foreign_pickle import read_pickled_arrays


def written(path: Path, tree: object, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(tree, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_arrays_come_through(tmp_path: Path, protocol: int, rng: np.random.Generator) -> None:
    arrays = {
        "f4": rng.normal(size=(3, 4)).astype("f4"),
        "f8": rng.normal(size=5),
        "fortran": np.asfortranarray(rng.normal(size=(3, 2))),
        "big": rng.normal(size=3).astype(">f8"),
        "empty": np.zeros((0, 3)),
        "point": np.array(2.5),
        "int": np.arange(4),
        "scalar": np.float32(1.5),
    }
    tree = {"params": collections.OrderedDict(arrays), "list": [np.ones(2), (np.zeros(1),)]}
    read = read_pickled_arrays(written(tmp_path / "p.pkl", tree, protocol))
    assert read.keys() == {*(f"params/{name}" for name in arrays), "list/0", "list/1/0"}
    for name, array in arrays.items():
        got = read[f"params/{name}"]
        assert got.dtype == np.asarray(array).dtype.newbyteorder("=")
        assert np.array_equal(got, array)


class Malicious:
    def __init__(self, call: object, arguments: tuple[object, ...]) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call, self.arguments


def test_malicious_calls_are_refused_and_not_run(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    for call, arguments in (
        (os.system, (f"touch {victim}",)),
        (eval, (f"open({str(victim)!r}, 'w')",)),
        (exec, (f"open({str(victim)!r}, 'w')",)),
        (getattr, ("text", "upper")),
        (np.load, (str(victim),)),
        (np.fromfile, (str(victim),)),
    ):
        tree = {"params": {"a": np.zeros(2), "b": Malicious(call, arguments)}}
        with pytest.raises(FileError, match=r"is refused: it holds '.*', and only NumPy arrays"):
            read_pickled_arrays(written(tmp_path / "p.pkl", tree))
    assert not victim.exists()


@pytest.mark.parametrize(
    "tree",
    [
        {"a": np.array([{}, []], dtype=object)},
        {"a": np.array(["x"])},
        {"a": np.zeros(2, dtype=[("x", "f4")])},
        {"a": Malicious(np.ndarray, ((3,),))},
        {"a": Malicious(np.dtype, ("O",))},
        {"a": np.ma.masked_array([1.0])},
        {"a": "text"},
        {"a": 1.0},
        {"a": {1, 2}},
        "text",
    ],
)
def test_other_content_is_refused(tmp_path: Path, tree: object) -> None:
    with pytest.raises(FileError, match="refused|expected NumPy arrays|not a pickle of NumPy arrays"):
        read_pickled_arrays(written(tmp_path / "p.pkl", tree))


def test_endless_trees_are_refused(tmp_path: Path) -> None:
    tree: dict[str, object] = {}
    tree["self"] = tree
    with pytest.raises(FileError, match="nested without end"):
        read_pickled_arrays(written(tmp_path / "p.pkl", tree))


def test_truncated_and_other_files(tmp_path: Path, rng: np.random.Generator) -> None:
    path = written(tmp_path / "p.pkl", {"a": np.arange(50.0), "b": {"c": np.ones(3, "f4")}})
    data = path.read_bytes()
    for length in range(len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(FileError):
            read_pickled_arrays(path)
    path.write_bytes(rng.bytes(300))
    with pytest.raises(FileError):
        read_pickled_arrays(path)
    with pytest.raises(FileError, match="cannot be read"):
        read_pickled_arrays(tmp_path / "none.pkl")


def test_published_pickle_equals_its_npz(shared_dir: Path) -> None:
    read = read_pickled_arrays(shared_dir / "reference" / "so3lr" / "params.pkl")
    with np.load(shared_dir / "reference" / "so3lr_params.npz") as archive:
        assert read.keys() == set(archive.files)
        assert all(np.array_equal(read[name], archive[name]) for name in archive.files)
        assert all(read[name].dtype == archive[name].dtype for name in archive.files)
