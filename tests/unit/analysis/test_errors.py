"""Error statistics against hand-made numbers."""

import numpy as np
import pytest

from so3krates._errors import InputError
from so3krates.analysis.errors import error_statistics, errors_by_element


def test_against_hand_made_numbers() -> None:
    found = error_statistics(np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 2.0, 0.0, 4.0]))
    assert found.count == 4
    assert found.mae == pytest.approx(1.0)
    assert found.rmse == pytest.approx(np.sqrt(2.5))
    assert found.largest == 3.0
    assert found.bias == pytest.approx(-0.5)


def test_missing_labels_are_left_out() -> None:
    found = error_statistics(np.array([np.nan, 1.0]), np.array([100.0, 3.0]))
    assert (found.count, found.mae) == (1, 2.0)


def test_predictions_that_are_not_numbers_are_not_hidden() -> None:
    assert np.isnan(error_statistics(np.array([1.0, 1.0]), np.array([np.nan, 1.0])).mae)


def test_elements_are_kept_apart() -> None:
    reference = np.zeros((3, 3))
    predicted = np.array([[1.0, 1.0, 1.0], [0.0, 0.0, 3.0], [-1.0, 1.0, -1.0]])
    found = errors_by_element(reference, predicted, np.array([1, 6, 1]))
    assert list(found) == [1, 6]
    assert (found[1].mae, found[1].count) == (1.0, 6)
    assert found[6].rmse == pytest.approx(np.sqrt(3.0))


def test_elements_without_labels_are_left_out() -> None:
    reference = np.array([[0.0, 0.0, 0.0], [np.nan] * 3])
    assert list(errors_by_element(reference, np.ones((2, 3)), np.array([1, 6]))) == [1]


@pytest.mark.parametrize(
    ("reference", "predicted", "words"),
    [(np.zeros(3), np.zeros(2), r"\(3,\).*\(2,\)"), (np.full(2, np.nan), np.zeros(2), "none of the 2")],
    ids=["shapes", "no label"],
)
def test_refusals(reference: np.ndarray, predicted: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=words):
        error_statistics(reference, predicted)
