"""`so3krates pull`: published weights."""

from typing import Annotated

from cyclopts import Parameter


def pull(name: str, /, *, overwrite: Annotated[bool, Parameter(negative=())] = False) -> None:
    """Download published weights, check and convert them; then NAME stands for the model file everywhere.

    They are kept in a cache folder, which the environment variable SO3KRATES_CACHE may name.

    Parameters
    ----------
    name
        Such as so3lr.
    overwrite
        Fetch them again.
    """
    from so3krates.io.weights import pull as fetch

    print(f"{fetch(name, overwrite=overwrite, tell=print)}: ready")
