"""load: a potential from a model file or by the name of published weights."""

from pathlib import Path

from so3krates.io import model_file, weights
from so3krates.potential import Potential


def load(
    source: str | Path,
    dtype: object = "float32",
    *,
    long_range_cutoff: float | None = None,
    isolated: bool | None = None,
    full_range: bool = False,
    exact: bool | None = None,
    tolerance: float | None = None,
) -> Potential:
    """Read a potential.

    Args:
        source: a model file, or the name of published weights such as "so3lr", in capitals or not, which are
            downloaded into a cache folder (`SO3KRATES_CACHE`) once. A file of that name comes first.
        dtype: precision of its arithmetic, "float32" or "float64".
        long_range_cutoff: Å, for a model with long-range terms. If not given, that which the model was trained or saved
            with, if any, else 12 Å for periodic structures and none (1000 Å) for molecules.
        isolated: whether long-range terms take structures as isolated although they have a cell; if not given, where
            the cell is empty and so large that it only stands for vacuum.
        full_range: sum electrostatics over all periodic images instead of cutting it off, for neutral structures that
            are periodic along all axes; see `Potential.full_range`.
        exact: whether to evaluate the network's functions of distance as they are. If not, they are read from tables,
            and the compiled kernel is used where there is one, which is several times faster. If not given, exact in
            double precision, which is for verification, and tables in single precision.
        tolerance: eV/Å; by how much tables may change forces, 1e-4 if not given. If it is, tables are used in either
            precision.

    Raises:
        FileError: for a file that is missing, truncated, changed in any byte, of another kind or of an unknown version,
            or whose parameters do not fit its architecture; for weights that cannot be fetched.
        InputError: for options of long-range terms that make no sense, or that the model does not have, or a tolerance
            that is not positive.
    """
    return model_file.load(
        weights.resolved(source),
        dtype,
        long_range_cutoff=long_range_cutoff,
        isolated=isolated,
        full_range=full_range,
        exact=exact,
        tolerance=tolerance,
    )
