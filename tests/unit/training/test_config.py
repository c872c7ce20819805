import pytest

from so3krates._errors import ConfigError
from so3krates.training.assemble import assemble
from so3krates.training.config import TrainConfig


def test_unknown_keys_are_refused_at_every_level() -> None:
    values = {
        "data": {"data": "a.npz", "n_train": 1, "n_valid": 1},
        "optimizer": {"schedule": {"kind": "anneal", "x": 1}},
    }
    with pytest.raises(ConfigError, match="unknown key 'optimizer.schedule.x'"):
        TrainConfig.parse(values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"budget": {"minutes": 1, "steps": 3}}, "exactly one of minutes, steps, epochs"),
        ({"budget": {}}, "exactly one of minutes, steps, epochs"),
        ({"data": {"train": "a.xyz"}}, "`train` needs `valid`"),
        ({"data": {"data": "a.npz"}}, "needs n_train and n_valid"),
        ({"data": {"data": "a.npz", "train": "b.xyz", "valid": "c.xyz"}}, "give either"),
        ({"data": {"data": "a.npz", "n_train": 1, "n_valid": 1, "valid": "b.npz"}}, "`valid` has no effect beside"),
        ({"data": {"train": "a.npz", "valid": "b.npz", "split": "blocks"}}, "`split` has no effect beside `train`"),
        (
            {"data": {"data": "a.npz", "n_train": 1, "n_valid": 1, "split": "blocks", "split_seed": 3}},
            "`split_seed` has no effect with split: blocks",
        ),
        ({"loss": {"energy": 0, "forces": 0}}, "all loss weights are zero"),
        ({"optimizer": {"weight_decay": 0.1}}, "needs name: adamw"),
        ({"model": {"features": 10, "heads": 4}}, "not divisible by heads 4"),
        ({"batch_size": 0}, "'batch_size'"),
    ],
)
def test_impossible_combinations_say_why(change: dict[str, object], message: str) -> None:
    values = {"data": {"data": "a.npz", "n_train": 1, "n_valid": 1}} | change
    with pytest.raises(ConfigError, match=message):
        TrainConfig.parse(values)


def test_options_override_the_file(tmp_path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("data: {train: a.xyz, valid: b.xyz}\nbudget: {steps: 10, early_stop: 3}\nseed: 4\n")
    options = {
        "budget": {"minutes": 2.0, "steps": None},
        "seed": None,
        "data": {"data": "c.npz", "n_train": 5, "n_valid": 2},
    }
    config = assemble(path, options)
    assert (config.budget.minutes, config.budget.steps, config.budget.early_stop) == (2.0, None, 3)
    assert (config.data.train, str(config.data.data), config.seed) == (None, "c.npz", 4)


def test_no_data_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no data"):
        assemble(None, {"budget": {"minutes": 1.0}})
