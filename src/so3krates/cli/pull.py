"""`so3krates pull`: published weights."""

from typing import Annotated

from cyclopts import Parameter


def pull(name: str, /, *, overwrite: Annotated[bool, Parameter(negative=())] = False) -> None:
    """Download published weights, check and convert them; then NAME stands for the model file everywhere.

    Parameters
    ----------
    name
        Such as so3lr. The model file is kept in the cache folder: ~/.cache/so3krates, or what the environment variable
        SO3KRATES_CACHE names. Without a network, `so3krates convert so3lr DIR -o CACHE/so3lr.safetensors` puts it there
        from a copy of the published files in DIR.
    overwrite
        Fetch them again, for instance where the file in the cache is damaged.
    """
    from so3krates.io.weights import pull as fetch

    print(f"{fetch(name.lower(), overwrite=overwrite, tell=print)}: ready")
