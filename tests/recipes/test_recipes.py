"""Recipes: what their files say, which one is taken, and what it does on the command line and in Python."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import quickstudy as qs
from quickstudy.algorithms import algorithm
from quickstudy.cli import main
from quickstudy.families import family
from quickstudy.recipes import FOLDER, apart, closest, read_recipe, recipe, recipes
from quickstudy.recipes.tuned import built, configuration
from quickstudy.runs.config import read_config

TRAINING = "[training]\niterations = 150\n"
SPARSE = {"layout": "half-circle", "payoff": "sparse"}


@pytest.mark.parametrize("name", recipes())
def test_a_recipe_says_what_differs_from_the_defaults_and_no_more(name: str):
    found = recipe(name)
    config = configuration(found, seed=3)  # every key and type is checked
    assert config.training.seed == 3 and found.why.endswith(".")
    variant = name.removeprefix(f"{found.tasks}/{found.algorithm}")
    assert variant == "" or variant.startswith("-")
    for given, plain in ((found.settings, algorithm(found.algorithm).config()), (found.options, family(found.tasks)())):
        assert [key for key, value in given.items() if value == getattr(plain, key)] == []


def test_all_recipes_are_in_the_package():
    table = tomllib.loads((FOLDER.parents[2] / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    packed = {path for pattern in table["quickstudy"] for path in FOLDER.parent.glob(pattern)}
    assert (
        {FOLDER / f"{name}.toml" for name in recipes()} == set(FOLDER.rglob("*.toml")) & packed == set(FOLDER.rglob("*.toml"))
    )


@pytest.mark.parametrize(
    ("was", "now", "says"),
    [
        ("why =", "wyh =", "has no key 'wyh'; did you mean 'why'?"),
        ("[tasks]", "[task]", "has no key 'task'; did you mean 'tasks'?"),
        ("trials =", "trails =", "[algorithm] has no key 'trails'; did you mean 'trials'?"),
        ("trials = 512", 'trials = "many"', "[algorithm] trials = 'many' must be a whole number"),
        ('name = "rl2"', 'name = "os.system"', "unknown algorithm 'os.system'"),
        ('name = "rl2"', 'own = "evil.py:Learner"', "needs sections [algorithm] and [tasks], each with name"),
        ('name = "grid-navigation"', 'name = "grid-navigation"\nsise = 5', "[tasks] has no key 'sise'; did you mean 'size'?"),
        (TRAINING, f'{TRAINING}workers = "ray://somewhere"\n', "with iterations (and repeat) and nothing else"),
        (TRAINING, "", "with iterations (and repeat) and nothing else"),
        (TRAINING, f"{TRAINING}[result]\nmean = 1.0\n", "needs in [result] before, by_episode, "),
        (TRAINING, f"{TRAINING}[[normalisation]]\n", "needs a section [normalisation]"),
        ('source = "', 'source = 1 # "', "needs a text source"),
        ("trials = 512", "trials = ", "is not TOML"),
    ],
)
def test_what_a_recipe_may_not_say_is_refused_in_a_line(was: str, now: str, says: str, tmp_path: Path):
    text = (FOLDER / "grid-navigation" / "rl2-short.toml").read_text()
    path = tmp_path / "rl2.toml"
    path.write_text(text.replace(was, now, 1))
    with pytest.raises(qs.UsageError) as refused:
        configuration(read_recipe(path))
    assert says in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("names", "asked", "taken"),
    [
        (("rl2", "bandit"), {}, "bandit/rl2"),
        (("rl2", "bandit"), {"pulls": 100}, "bandit/rl2-5x100"),
        (("rl2", "bandit"), {"arms": 20}, "bandit/rl2-10x10"),
        (("rl2", "bandit"), {"arms": 10, "pulls": 60}, "bandit/rl2-10x100"),
        (("rl2", "grid-navigation"), {"size": 7}, "grid-navigation/rl2"),
        (("maml", "half-cheetah-velocity"), {}, "half-cheetah-velocity/maml"),
        (("rl2", "point-navigation"), {}, "point-navigation/rl2"),
        (("rl2", "point-navigation"), SPARSE, "point-navigation/rl2-sparse"),
        (("varibad", "point-navigation"), {}, "point-navigation/varibad-sparse"),
    ],
)
def test_the_recipe_for_these_tasks_is_taken_or_the_closest(names: tuple[str, str], asked: dict, taken: str):
    assert closest(*names, asked, vars(family(names[1])())).name == taken


def test_numbers_are_apart_by_their_ratio_and_other_values_by_all_or_nothing():
    assert [apart(5, 10), apart(10, 5.0), apart(0.0, 3), apart(-1, 1), apart(2, 2.0)] == [0.5, 0.5, 1.0, 1.0, 0.0]
    assert [apart("dense", "sparse"), apart(True, False), apart(True, 2), apart("", "")] == [1.0, 1.0, 1.0, 0.0]


def test_tuned_settings_are_said_and_kept_and_options_win(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    run, small = tmp_path / "run", ["--trials", "8", "--minibatches", "2", "--iterations", "1", "--threads", "1"]
    assert main(["train", "rl2", "bandit", "--tuned", "--arms", "9", *small, "--run", str(run)]) == 0
    line = capsys.readouterr().err.splitlines()[1]
    result = recipe("bandit/rl2-10x10").result
    assert line == (
        "recipes/bandit/rl2-10x10.toml, the closest to these tasks: --value shared --initialisation orthogonal --trials 1024"
        " --learning-rate 0.003 --gamma 1.0 --ent-coef 0.01 --anneal-iterations 400 --arms 10 --iterations 400;"
        f" here --trials 8 --minibatches 2 --arms 9 --iterations 1; as it stands it reached {result}"
    )
    config = read_config(run / "config.toml")
    assert vars(config.task_options)["arms"] == 9 and config.training.iterations == 1
    settings = vars(configuration(recipe("bandit/rl2-10x10")).algorithm_options) | {"trials": 8, "minibatches": 2}
    assert vars(config.algorithm_options) == settings


def test_the_recipe_that_is_named_is_taken_with_its_tasks_and_normalisation(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    run = tmp_path / "run"
    short = ["--trials", "2", "--minibatches", "1", "--max-episode-steps", "3", "--iterations", "1", "--threads", "1"]
    named = ["--tuned", "half-cheetah-velocity/rl2-200k", *short]
    assert main(["train", "rl2", "half-cheetah-velocity", *named, "--run", str(run)]) == 0
    assert (
        capsys.readouterr()
        .err.splitlines()[1]
        .startswith("recipes/half-cheetah-velocity/rl2-200k.toml, the closest to these tasks: ")
    )
    assert read_config(run / "config.toml").normalisation.normalise_observation


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("rl2 grid-navigation --tuned --config a.toml", "train takes --tuned or --config, not both"),
        ("maml grid-navigation --tuned", "there are some for grid-navigation with rl2, varibad and for maml on cart-pole, "),
        ("promp mountain-car --tuned", "there is no recipe for promp on mountain-car; see: quickstudy list recipes"),
        ("rl22 cart-pole --tuned", "unknown algorithm 'rl22'; did you mean 'rl2'?"),
        ("rl2 cart-pol --tuned", "unknown tasks 'cart-pol'; did you mean 'cart-pole'?"),
        ("rl2 cart-pole --tuned cart-pole/rl3", "unknown recipe 'cart-pole/rl3'; did you mean 'cart-pole/rl2'?"),
        ("rl2 bandit --tuned cart-pole/maml", "type: quickstudy train maml cart-pole --tuned cart-pole/maml"),
        ("rl2 OWN:tasks --tuned", "there is no recipe for rl2 on "),
    ],
)
def test_where_there_is_no_recipe_a_line_says_which_there_are(
    words: str, says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.toml").write_text(configuration(recipe("grid-navigation/rl2")).write())
    (tmp_path / "own.py").write_text("import quickstudy as qs\ntasks = qs.tasks.make('bandit')\n")
    before = sorted(tmp_path.iterdir())
    assert main(["train", *words.replace("OWN", "own.py").split()]) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1
    assert [path for path in sorted(tmp_path.iterdir()) if path.name != "__pycache__"] == before


def test_recipes_are_listed_in_a_line_each_without_waiting_for_pytorch():
    script = "import sys; from quickstudy.cli import main; main(['list', 'recipes']); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    head, *lines = done.stdout.splitlines()
    assert done.returncode == 0 and head.split()[:2] == ["tasks/algorithm", "steps"]
    assert [line.split()[0] for line in lines] == list(recipes())
    [line] = [line for line in lines if "point-navigation/pearl " in line]
    assert "not measured" in line and line.endswith("--max-episode-steps 20 --episodes-per-trial 4")


def test_the_list_as_json_has_all_of_a_recipe(capsys: pytest.CaptureFixture[str]):
    assert main(["list", "recipes", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["recipes"]["cart-pole/rl2"]
    assert told["settings"]["credit"] == "episode" and told["iterations"] == 80 and told["result"]["random"] > 0
    assert told["why"].startswith("RL2 on cart-poles")


def test_tuned_learners_in_python(capsys: pytest.CaptureFixture[str]):
    learner, iterations = qs.tuned("rl2", "cart-pole", seed=5)
    config = configuration(recipe("cart-pole/rl2"), seed=5)
    assert (learner.config, learner.seed, iterations) == (config.algorithm_options, 5, 80) and capsys.readouterr().err == ""
    wider, _ = qs.tuned("rl2", "bandit", arms=20)
    assert wider.tasks.dynamics.arms == 20 and wider.config.trials == 1024
    assert "no recipe is for these tasks; bandit/rl2-10x10 is the closest" in capsys.readouterr().err
    normalised = built("half-cheetah-velocity/rl2").learner
    assert isinstance(normalised, qs.Normalised) and normalised.normalisation.normalise_observation
    for call, says in (
        (lambda: qs.tuned("rl2", "bandit", arm=20), "has no key 'arm'; did you mean 'arms'?"),
        (lambda: qs.tuned("maml", "bandit"), "there is no recipe for maml on bandit"),
        (lambda: qs.tuned("rl22", "bandit"), "unknown algorithm 'rl22'"),
        (lambda: built("bandit/rl3"), "unknown recipe 'bandit/rl3'"),
    ):
        with pytest.raises(qs.UsageError, match=says.replace("?", r"\?")):
            call()
