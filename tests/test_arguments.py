"""Wrong arguments in Python get one UsageError that names the right way, by one door that all public names go through."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, get_type_hints

import jaxtyping
import numpy as np
import pytest
import torch
import tyro

import quickstudy
from quickstudy.algorithms import ALGORITHMS
from quickstudy.arguments import fits
from quickstudy.families import FAMILIES
from quickstudy.oracles import ORACLES
from quickstudy.runs.config import Training
from quickstudy.wrappers.normalised import Normalisation

qs: Any = quickstudy
"""The library without its types, for calls that they forbid."""
LEARNERS = [qs.RL2, qs.VariBAD, qs.MAML, qs.PEARL, qs.MultiTask, qs.RecurrentSAC, qs.MultiTaskSAC]
OPTIONS: set[Any] = {entry.config for entry in ALGORITHMS.values()} | {entry.options for entry in ORACLES.values()}
OPTIONS |= {*(entry.options for entry in FAMILIES.values()), Training, Normalisation, qs.Uniform, qs.LogUniform, qs.Normal}
JUDGES = {"check_tasks", "Evaluation"}
"""What looks at ill-made tasks for a living, and a result that nobody makes by hand."""


def refused(call: Callable[[], Any]) -> str:
    """The one line with which a call is refused."""
    with pytest.raises(qs.UsageError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def wrong_for(kind: Any) -> list[Any]:
    """Values that are not of an annotated type."""
    return [value for value in ("many", 2.5, True, None, float("nan"), [3], object()) if not fits(value, kind)]


@pytest.mark.parametrize("options", sorted(OPTIONS, key=lambda each: f"{each.__module__}.{each.__name__}"))
def test_options_of_any_class_are_known_by_name_and_type(options: Any):
    hints = get_type_hints(options)
    by_name = {field.name: hints[field.name] for field in fields(options)}
    needed = [
        {"low": 1.0, "high": 2.0, "mean": 0.0, "std": 1.0}[name]
        for name, parameter in inspect.signature(options).parameters.items()
        if parameter.default is inspect.Parameter.empty
    ]
    made = options(*needed)
    for name, kind in by_name.items():
        for value in wrong_for(kind):
            says = refused(lambda name=name, value=value: options(**(vars(made) | {name: value})))
            assert f"{name} is " in says and "it must be " in says
        says = refused(lambda name=name: options(*needed, **{f"{name}_": 1}))
        assert f"no option '{name}_'; did you mean '{name}'?" in says
    assert pickle.loads(pickle.dumps(made)) == made == options(**vars(made))
    assert list(inspect.signature(options).parameters) == list(by_name)
    if not needed:
        assert tyro.cli(options, args=[]) == made


@pytest.mark.parametrize("learner", LEARNERS)
def test_what_a_learner_is_made_of(learner: Any):
    tasks, name = qs.tasks.make("cart-pole"), learner.__name__
    assert f"{name}: tasks is 'cart-pole', it must be a task distribution: quickstudy.tasks.make" in refused(
        lambda: learner("cart-pole")
    )
    assert "it has no " in refused(lambda: learner(qs.Random(tasks)))
    says = refused(lambda: learner(tasks, hidden_size=128))
    assert f"{name} has no argument 'hidden_size', its configuration has: {name}(tasks, {name}.Config(hidden_size=128))" in says
    assert "has no argument 'sede'; did you mean 'seed'?" in refused(lambda: learner(tasks, sede=1))
    assert f"write {name}.Config(hidden_size=1)" in refused(lambda: learner(tasks, {"hidden_size": 1}))
    other = qs.RL2 if learner is not qs.RL2 else qs.MAML
    assert f"config is a {other.__name__}.Config, it must be {name}.Config(...)" in refused(
        lambda: learner(tasks, other.Config())
    )
    assert "seed is 'x', it must be a whole number" in refused(lambda: learner(tasks, seed="x"))
    assert "device 'gpu' can't be used here" in refused(lambda: learner(tasks, device="gpu"))
    assert "missing a required argument: 'tasks'" in refused(learner)
    assert "by place" in refused(lambda: learner(tasks, None, 3))
    assert "Config has no option 'hidden_sizes'; did you mean 'hidden_size'?" in refused(lambda: learner.Config(hidden_sizes=3))
    assert "Config: hidden_size is '64', it must be a whole number" in refused(lambda: learner.Config(hidden_size="64"))
    assert list(inspect.signature(learner).parameters) == ["tasks", "config", "seed", "device", "net"]


def test_every_public_name_refuses_an_argument_that_it_does_not_have():
    """But for classes of errors, and what takes any name: parameters of an environment, options that are handed on."""
    for name in qs.__all__:
        thing = getattr(qs, name)
        if not callable(thing) or name in JUDGES or (isinstance(thing, type) and issubclass(thing, Exception)):
            continue
        kinds = {parameter.kind for parameter in inspect.signature(thing).parameters.values()}
        if name != "Choice" and inspect.Parameter.VAR_KEYWORD not in kinds:
            assert f"'{name.lower()}s'" in refused(lambda thing=thing, name=name: thing(**{f"{name.lower()}s": 1})), name


def test_what_looks_or_draws_refuses_what_it_cannot_use(tmp_path: Any):
    jaxtyping.config.update("jaxtyping_disable", True)  # a user meets what is checked here
    tasks = qs.tasks.make("grid-navigation")
    agent, path = qs.Random(tasks), tmp_path / "picture.png"
    scored = qs.evaluate(qs.Random(qs.tasks.make("bandit", pulls=2)), num_tasks=2)
    assert "task distribution" in refused(lambda: qs.check_tasks("cart-pole"))  # pyright: ignore[reportArgumentType]
    assert "seed -1" in refused(lambda: qs.check_tasks(tasks, seed=-1))
    assert "episodes is 0" in refused(lambda: qs.film(agent, episodes=0))
    assert "task is -1" in refused(lambda: qs.film(agent, task=-1))
    assert "fps (0.0)" in refused(lambda: qs.save_video(qs.film(agent, episodes=1), tmp_path / "x.gif", fps=0))
    assert "curves is empty" in refused(lambda: qs.plot_adaptation({}, path, "nothing"))
    assert "nobody said anything" in refused(lambda: qs.plot_adaptation({"random": scored}, path, "all", score="success"))
    told = replace(scored, success=torch.ones_like(scored.returns))
    qs.plot_adaptation({"random": scored, "told": told}, path, "silence is no success", score="success")
    assert path.exists()


def test_what_else_is_handed_over():
    tasks = qs.tasks.make("bandit")
    learner = qs.RL2(tasks)
    calls: dict[str, Callable[[], Any]] = {
        "train: learner is the class RL2, it must be a learner": lambda: qs.train(qs.RL2),
        "it has no config, iteration": lambda: qs.train(qs.Random(tasks)),
        "Training has no option 'iteration'; did you mean 'iterations'?": lambda: qs.train(learner, iteration=3),
        "train: iterations is '3', it must be a whole number": lambda: qs.train(learner, iterations="3"),
        "train: seed is the learner's": lambda: qs.train(learner, 1, seed=3),
        "did you mean 'workers'?; the rest stays": lambda: qs.resume("runs/none", worker=3),
        "Bandit: arms is 'x', it must be a whole number": lambda: qs.tasks.make("bandit", arms="x"),
        "bandit has no option 'arm'; did you mean 'arms'?": lambda: qs.tasks.make("bandit", arm=3),
        "make: name is 3, it must be a text": lambda: qs.tasks.make(3),
        "Normalised: learner is ": lambda: qs.Normalised(tasks, qs.Normalisation()),
        "normalisation is True, it must be Normalisation(...)": lambda: qs.Normalised(learner, True),
        "every is 'day', it must be one of 'episode', 'step'": lambda: qs.Forgetful(learner, every="day"),
        "Informed: tasks is 'x', it must be a task distribution": lambda: qs.Informed("x"),
        "oracle: tasks is 'x', it must be a task distribution": lambda: qs.oracle("psrl", "x"),
        "it must be EpsilonGreedyOptions(...)": lambda: qs.oracle("epsilon-greedy", tasks, {"epsilon": 0.1}),
        "load: run is 3, it must be a text or a Path": lambda: qs.load(3),
        "Session: seed is 'x', it must be a whole number": lambda: qs.Session(learner, seed="x"),
        "NativeTasks: dynamics is 'bandit'": lambda: qs.NativeTasks("bandit"),
    }
    for wanted, call in calls.items():
        assert wanted in refused(call)


def test_numbers_of_numpy_and_devices_of_torch_are_taken_for_what_they_are():
    config = qs.RL2.Config(trials=np.int64(8), gamma=1, learning_rate=np.float32(0.5))
    assert (type(config.trials), type(config.gamma), type(config.learning_rate)) == (int, float, float)
    learner = qs.RL2(qs.tasks.make("bandit"), config, seed=np.int32(3), device=torch.device("cpu"))
    assert (type(learner.seed), learner.device) == (int, "cpu")
