"""Spaces in Hydra's syntax become Optuna's distributions; what is no space is refused in one line."""

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from racing.config import choices, compose, plain
from racing.errors import InputError
from racing.tuning.space import example, overrides_of, parse_space, search_for_hydra


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("interval(0.9, 0.99)", FloatDistribution(0.9, 0.99)),
        ("tag(log, interval(1e-5, 1e-3))", FloatDistribution(1e-5, 1e-3, log=True)),
        ("int(interval(1, 9))", IntDistribution(1, 9)),
        ("tag(log, int(interval(16, 256)))", IntDistribution(16, 256, log=True)),
        ("range(1, 9)", IntDistribution(1, 8)),
        ("range(2, 9, 3)", IntDistribution(2, 8, step=3)),
        ("range(0.1, 0.5, 0.1)", FloatDistribution(0.1, 0.4, step=0.1)),
        ("choice(64, 128)", CategoricalDistribution(["64", "128"])),
        ("choice([64,64], [128,128])", CategoricalDistribution(["[64,64]", "[128,128]"])),
        ("tanh, relu", CategoricalDistribution(["tanh", "relu"])),
        ("choice(a, a)", CategoricalDistribution(["a"])),
    ],
)
def test_distributions(text, expected):
    assert parse_space({"algo": {"x": text}}) == {"algo.x": expected}
    assert parse_space({"algo.x": text}) == {"algo.x": expected}


@pytest.mark.parametrize(
    ("space", "complaint"),
    [
        (None, "tuning.space must be KEY: SPACE"),
        ({}, "tuning.space must be KEY: SPACE"),
        ({"algo.x": None}, "must have a key that is not null"),
        ({"algo.x": 3}, "tuning.space.algo.x=3 must be a space of values, such as choice(a, b)"),
        ({"algo.x": "3"}, "must be a space of values"),
        ({"algo.x": ""}, "must be a space of values"),
        ({"algo.x": "uniform(1, 2)"}, "Unknown function 'uniform'"),
        ({"algo.x": "choice()"}, "empty choice"),
        ({"algo.x": "glob(*)"}, "must be a space of values"),
        ({"algo.x": "interval(2, 1)"}, "must have its lower bound first"),
        ({"algo.x": "range(3, 3)"}, "must count upwards"),
        ({"algo.x": "range(9, 1, -1)"}, "must count upwards"),
        ({"algo.x": "tag(log, interval(0, 1))"}, "must be above 0 for a logarithmic scale"),
        ({"algo.x": "tag(log, range(1, 9, 2))"}, "cannot have steps"),
        ({"algo.x": "tag(log, choice(1, 2))"}, "has no scale"),
        ({"algo.x": "tag(ln, interval(1, 2))"}, "the only one is log"),
        ({"checkpoint.every": "range(1, 3)"}, "must be of a key that a result depends on"),
        ({"launcher": "choice(a, b)"}, "must be of a key that a result depends on"),
    ],
)
def test_what_is_no_space(space, complaint):
    with pytest.raises(InputError) as error:
        parse_space(space)
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


def test_settings_keep_every_digit_and_hydra_reads_them():
    settings = overrides_of({"algo.learning_rate": 1.2345678901234567e-05, "algo": "sac", "algo.net_arch": "[8,8]"})
    cfg = compose("train", settings)
    assert cfg.algo.learning_rate == 1.2345678901234567e-05
    assert cfg.algo.net_arch == [8, 8]
    assert "tau" in cfg.algo


def test_typed_spaces_are_quoted_and_may_be_new():
    arguments = ["algo.n_epochs=range(1, 3)", "algo.gamma='choice(1,2)'", "algo.ent_coef=null"]
    typed = [part for argument in arguments for part in search_for_hydra(f"tuning.space.{argument}")]
    assert typed[0] == '++tuning.space.algo.n_epochs="range(1, 3)"'
    assert typed[1] == "++tuning.space.algo.gamma='choice(1,2)'"
    assert search_for_hydra("tuning.n_trials=3") == ["tuning.n_trials=3"]
    cfg = compose("train", ["tuning=tpe", *typed])
    assert list(parse_space(plain(cfg)["tuning"]["space"])) == [
        "algo.learning_rate",
        "algo.gamma",
        "algo.gae_lambda",
        "algo.n_epochs",
    ]


def test_a_whole_space_replaces_the_one_in_conf():
    typed = search_for_hydra("tuning.space={algo.gamma: 'interval(0.9, 0.99)'}")
    sampler = search_for_hydra("tuning.sampler={_target_: optuna.samplers.QMCSampler}")
    tuning = plain(compose("train", ["tuning=tpe", *typed, *sampler]))["tuning"]
    assert parse_space(tuning["space"]) == {"algo.gamma": FloatDistribution(0.9, 0.99)}
    assert tuning["sampler"] == {"_target_": "optuna.samplers.QMCSampler"}


@pytest.mark.parametrize("name", choices("tuning"))
def test_the_spaces_in_conf_fit_the_default_experiment(name):
    space = parse_space(plain(compose("train", [f"tuning={name}"]))["tuning"]["space"])
    compose("train", overrides_of(example(space)))
