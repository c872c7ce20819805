"""`so3krates evaluate`: a model against labelled data."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from so3krates.cli._reading import Reading
from so3krates.cli._running import Running


def evaluate(
    model: Path,
    data: str,
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("evaluation"),
    predictions: Path | None = None,
    batch_size: int = 32,
    dtype: Literal["float32", "float64"] = "float32",
    running: Running | None = None,
    reading: Reading | None = None,
) -> None:
    """Compare a model with labelled data.

    Prints tables of errors and writes metrics.json, report.html and parity plots (PNG and SVG) into a folder.

    Parameters
    ----------
    model
        Model file, or the name of published weights.
    data
        Labelled structures: FILE, FILE@SPLIT or FILE@START:STOP.
    output
        Folder to write to; made if missing.
    predictions
        Also write the structures with what the model predicts for them (.extxyz): energy and its components, forces,
        stress, charges, dipole, Hirshfeld ratios. The data then need no labels.
    batch_size
        Structures evaluated together.
    dtype
        Precision of the arithmetic.
    """
    from so3krates.analysis.evaluate import evaluate as run
    from so3krates.cli._outputs import check_output
    from so3krates.cli._reference import counting
    from so3krates.io.predictions import predicted_frames
    from so3krates.viz.evaluation import print_evaluation, write_evaluation

    if predictions is not None:
        check_output(predictions, "predictions", (".extxyz", ".xyz"), [model, data])
    potential = (running or Running()).load(model, dtype)
    dataset = (reading or Reading()).open(data)
    with counting("evaluating") as bar, predicted_frames(predictions) as keep:
        result = run(
            potential, dataset, batch_size=batch_size, progress=lambda done, total: bar(done, total, ""), keep=keep
        )
    if not result.statistics:
        for remark in result.remarks:
            print(remark)
        print(f"{data} holds no labels that the model predicts, so nothing is compared; written: {predictions}")
        return
    written = write_evaluation(result, output, model=str(model), data=data)
    written += [] if predictions is None else [predictions]
    print_evaluation(result, title=f"{model} on {data}, {len(result):,} frames", written=written)
