"""The command line as a user meets it: what it prints, and how it leaves."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import quickstudy as qs
from quickstudy.cli import main
from quickstudy.index import CALLED

TINY = ["--trials", "16", "--hidden-size", "8", "--iterations", "2", "--evaluate-every", "0"]
OWN = """
import quickstudy as qs
class Own(qs.RL2):
    name = "own"
tasks = qs.GymnasiumTasks("CartPole-v1", max_episode_steps=20, length=qs.Uniform(0.25, 1.0), force_mag=qs.Choice(-10.0, 10.0))
not_tasks = 3
"""


FAULTY = """
import gymnasium, numpy as np, quickstudy as qs
class Robot(gymnasium.Env):
    observation_space, action_space, gain = gymnasium.spaces.Box(-1, 1, (2,)), gymnasium.spaces.Discrete(2), 0.0
    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return np.zeros(2, np.float32), {}
    def step(self, action):
        self.steps += 1
        if self.steps == 3 and self.gain > 0.5: raise ZeroDivisionError('off')
        return np.zeros(2, np.float32), self.gain, False, False, {}
tasks = qs.GymnasiumTasks(Robot, max_episode_steps=10, gain=qs.Uniform(0.0, 1.0))
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> int:
    try:
        return main(arguments)
    except SystemExit as leave:  # argparse leaves by itself after --help
        return int(leave.code or 0)


def test_train_evaluate_and_again(capsys: pytest.CaptureFixture[str]):
    assert run("train", "rl2", "bandit", "--arms", "3", *TINY) == 0
    assert "quickstudy evaluate runs/rl2-bandit-seed0" in capsys.readouterr().err
    assert run("evaluate", "runs/rl2-bandit-seed0", "--num-tasks", "7", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["algorithm"], found["tasks"], found["num_tasks"], found["greedy"]) == ("rl2", "bandit", 7, False)
    assert run("evaluate", "runs/rl2-bandit-seed0", "--episodes", "3", "--greedy") == 0
    assert "most likely actions" in (out := capsys.readouterr().out) and "extrapolate" in out
    assert run("train", "rl2", "bandit", *TINY) == 0
    assert Path("runs/rl2-bandit-seed0-2").is_dir()
    assert run("resume", "runs/rl2-bandit-seed0") == 0
    assert "is finished" in capsys.readouterr().err


def test_options_win_over_the_file(capsys: pytest.CaptureFixture[str]):
    assert run("train", "rl2", "bandit", "--arms", "3", *TINY, "--run", "first") == 0
    assert run("train", "--config", "first/config.toml", "--arms", "4", "--seed", "5", "--run", "second") == 0
    second = Path("second/config.toml").read_text()
    assert "arms = 4" in second and "seed = 5" in second and "trials = 16" in second
    assert run("train", "multi-task", "bandit", "--config", "first/config.toml") == 2
    assert "is for rl2 on bandit" in capsys.readouterr().err


def test_adapting_and_then_being_frozen_is_an_option(capsys: pytest.CaptureFixture[str]):
    assert main(["evaluate", "random", "bandit", "--num-tasks", "5", "--adapt-episodes", "4", "--frozen-episodes", "2"]) == 0
    assert "adapted on 4 episodes, then frozen for 2: mean" in capsys.readouterr().out


def test_seeds_are_runs_of_their_own_that_are_evaluated_together(capsys: pytest.CaptureFixture[str]):
    assert run("train", "rl2", "bandit", *TINY, "--seed", "10", "--seeds", "2") == 0
    assert "quickstudy evaluate runs/rl2-bandit-seeds10-11" in capsys.readouterr().err
    assert run("train", "rl2", "bandit", *TINY, "--seed", "11", "--seeds", "1", "--run", "alone") == 0
    folder = Path("runs/rl2-bandit-seeds10-11")
    assert {path.name for path in folder.iterdir()} == {
        "command.txt",
        "config.toml",
        "lock",
        "seeds.json",
        "seed-10",
        "seed-11",
    }
    for name in ("config.toml", "metrics.jsonl"):
        assert (folder / "seed-11" / name).read_text() == Path("alone", name).read_text()
    assert run("evaluate", str(folder), "--num-tasks", "7", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["seeds"], found["num_tasks"]) == ([10, 11], 7)
    assert run("evaluate", "alone", "--num-tasks", "7", "--json") == 0
    assert json.loads(capsys.readouterr().out)["episodes"][0]["mean"] == pytest.approx(found["mean_by_seed"][1])
    assert run("evaluate", str(folder), "--num-tasks", "7") == 0
    assert "rl2 on bandit, 2 seeds: 7 test tasks" in (out := capsys.readouterr().out) and "(seed 11)" in out
    assert run("resume", str(folder)) == 0
    assert "its 2 seeds have done their 2 meta-iterations" in capsys.readouterr().err
    assert run("train", "rl2", "bandit", *TINY, "--seeds", "2", "--run", str(folder)) == 2
    assert "exists already" in capsys.readouterr().err


def test_seeds_that_are_not_trained_to_the_end_are_named(capsys: pytest.CaptureFixture[str]):
    assert run("train", "rl2", "bandit", *TINY, "--seeds", "2", "--run", "two") == 0
    shutil.rmtree("two/seed-0/checkpoints/00000002")
    assert run("evaluate", "two", "--num-tasks", "3") == 0
    assert "seed 0 has done 0 of its 2 meta-iterations; go on with it: quickstudy resume two" in capsys.readouterr().err
    shutil.rmtree("two/seed-1")
    assert run("evaluate", "two") == 2
    assert "two/seed-1 has not begun; train it: quickstudy resume two" in capsys.readouterr().err
    assert run("resume", "two") == 0 and run("evaluate", "two", "--num-tasks", "3") == 0
    assert "warning" not in capsys.readouterr().err


def test_seeds_on_tasks_and_with_a_learner_of_ones_own(capsys: pytest.CaptureFixture[str]):
    Path("mine.py").write_text(OWN)
    own = ["--tasks", "mine.py:tasks", "--algorithm", "mine.py:Own"]
    assert run("train", "mine.py:Own", "mine.py:tasks", *TINY, "--seeds", "2", "--run", "own") == 0
    assert f"quickstudy evaluate own {' '.join(own)}" in capsys.readouterr().err
    shutil.rmtree("own/seed-1")
    assert run("resume", "own") == 2
    assert "pass --algorithm FILE.py:CLASS" in capsys.readouterr().err
    assert run("resume", "own", *own) == 0
    assert run("evaluate", "own", *own, "--num-tasks", "3") == 0
    assert "own on mine.py:tasks, 2 seeds" in capsys.readouterr().out


def test_compare_sets_runs_beside_each_other_on_the_same_tasks(capsys: pytest.CaptureFixture[str]):
    assert run("train", "rl2", "bandit", *TINY, "--seeds", "2", "--run", "two") == 0
    assert run("train", "multi-task", "bandit", "--n-envs", "16", "--iterations", "1", "--run", "other") == 0
    assert run("compare", "two", "--num-tasks", "9", "other", "--picture", "pictures/profiles.png", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert Path("pictures/profiles.png").read_bytes().startswith(b"\x89PNG")
    assert (found["tasks"], found["split"], found["num_tasks"], found["episodes"]) == ("bandit", "test", 9, 1)
    two, other = found["runs"]
    assert (two["seeds"], two["timesteps"], other["algorithm"]) == ([0, 1], [320, 320], "multi-task")
    assert two["mean_low"] < two["mean"] == two["iqm"] < two["mean_high"]
    assert (two["interval_over"], other["interval_over"]) == ("seeds and tasks", "tasks only")
    forth, back = found["improvement"]
    assert (forth["x"], forth["y"], back["x"]) == ("two", "other", "other")
    assert forth["probability"] + back["probability"] == pytest.approx(1) and forth["low"] == pytest.approx(1 - back["high"])
    assert len(found["profile"]) == 12 and {each["share"] for each in found["profile"][-1]["runs"]} == {0}
    assert run("evaluate", "two", "--num-tasks", "9", "--json") == 0
    [episode] = json.loads(capsys.readouterr().out)["episodes"]
    assert {name: episode[name] for name in ("mean", "mean_low", "mean_high", "iqm")} == pytest.approx(
        {name: two[name] for name in ("mean", "mean_low", "mean_high", "iqm")}
    )
    assert run("compare", "two", "other", "two/seed-1", "--num-tasks", "5", "--greedy", "--episodes", "2") == 0
    text = capsys.readouterr().out
    assert "bandit: 5 test tasks, most likely actions" in text and "P(X > Y)" in text and "extrapolate" in text
    assert "of one seed, so that its intervals say nothing of others: other, two/seed-1" in text


def test_compare_tells_a_run_from_itself_by_any_spelling(capsys: pytest.CaptureFixture[str], small_run: Path):
    Path("m").symlink_to(small_run)
    Path("n").mkdir()
    for again in ("m", "m/", "./m", "n/../m", str(Path("m").absolute()), str(small_run)):
        assert run("compare", "m", again) == 2
        assert f"m and {again} are the same run" in capsys.readouterr().err
    assert run("compare", "m") == 2
    assert "compare takes two or more runs" in capsys.readouterr().err


def test_runs_with_one_lane_and_with_twenty_meet_the_same_tasks(monkeypatch: pytest.MonkeyPatch):
    assert run("train", "rl2", "bandit", *TINY, "--run", "one") == 0
    options = ["--meta-batch-size", "2", "--lanes", "20", "--hidden-size", "8", "--iterations", "1", "--evaluate-every", "0"]
    assert run("train", "maml", "bandit", *options, "--run", "twenty") == 0
    sample, drawn = qs.NativeTasks.sample, []

    def recorded(self: qs.NativeTasks, *arguments: Any) -> Any:
        drawn.append(sample(self, *arguments)["means"])
        return {"means": drawn[-1]}

    monkeypatch.setattr(qs.NativeTasks, "sample", recorded)
    assert run("compare", "one", "twenty", "--num-tasks", "60") == 0
    # each batch is drawn twice: to be lived on, and to be told of
    assert torch.equal(torch.cat(drawn[:4]), torch.cat(drawn[4:])) and [len(each) for each in drawn] == [51, 51, 9, 9] * 2


def test_compare_takes_runs_on_the_same_tasks_and_the_class_of_each(capsys: pytest.CaptureFixture[str]):
    Path("mine.py").write_text(OWN + "class Other(Own): pass\nharder = tasks\n")
    for name, algorithm, tasks in (("a", "Own", "tasks"), ("b", "Other", "tasks"), ("c", "Own", "harder")):
        assert run("train", f"mine.py:{algorithm}", f"mine.py:{tasks}", *TINY, "--run", name) == 0
    assert run("train", "rl2", "bandit", *TINY, "--run", "bandit") == 0
    assert run("train", "rl2", "bandit", "--arms", "4", *TINY, "--run", "arms") == 0
    own = ["--num-tasks", "3", "--tasks", "mine.py:tasks", "--algorithm", "mine.py:Own"]
    capsys.readouterr()
    assert run("compare", "a", "b", *own, "--algorithm", "mine.py:Other") == 0
    assert "mine.py:tasks: 3 test tasks" in capsys.readouterr().out
    assert run("compare", "a", "b", *own) == 2
    assert "your own (mine.py:Other)" in capsys.readouterr().err
    for one, other, message in (
        ("a", "c", "a was trained on mine.py:tasks, c on mine.py:harder"),
        ("a", "bandit", "a was trained on mine.py:tasks, bandit on bandit --arms 5"),
        ("bandit", "arms", "bandit was trained on bandit --arms 5 --pulls 10 --payoff bernoulli"),
    ):
        assert run("compare", one, other, *own) == 2
        assert message in (error := capsys.readouterr().err) and "compare runs on the same tasks" in error


def test_tasks_of_ones_own_from_a_file(capsys: pytest.CaptureFixture[str]):
    Path("mine.py").write_text(OWN)
    assert run("train", "rl2", "mine.py:tasks", *TINY, "--run", "own") == 0
    assert "quickstudy evaluate own --tasks mine.py:tasks" in capsys.readouterr().err
    assert run("evaluate", "own") == 2
    assert "pass --tasks FILE.py:OBJECT" in capsys.readouterr().err
    assert run("resume", "own") == 2
    assert run("evaluate", "own", "--tasks", "mine.py:tasks", "--num-tasks", "3") == 0
    assert "rl2 on mine.py:tasks" in capsys.readouterr().out
    assert run("resume", "own", "--tasks", "mine.py:tasks") == 0
    assert run("evaluate", "random", "mine.py:tasks", "--num-tasks", "3") == 0


def test_a_stored_configuration_of_ones_own_tasks_runs_again_when_they_are_named():
    Path("mine.py").write_text(OWN)
    assert run("train", "rl2", "mine.py:tasks", *TINY, "--run", "own") == 0
    assert run("train", "rl2", "mine.py:tasks", "--config", "own/config.toml", "--run", "again") == 0
    assert Path("own/config.toml").read_text() == Path("again/config.toml").read_text()


def test_a_stored_run_is_never_imported(capsys: pytest.CaptureFixture[str]):
    Path("mine.py").write_text(OWN + "\nfrom pathlib import Path\nPath('imported').touch()\n")
    assert run("train", "rl2", "mine.py:tasks", *TINY, "--run", "own") == 0
    Path("imported").unlink()
    assert run("evaluate", "own") == 2 and run("resume", "own") == 2
    assert run("train", "--config", "own/config.toml", "--run", "again") == 2
    assert not Path("imported").exists()


def test_a_learner_of_ones_own_from_a_file(capsys: pytest.CaptureFixture[str]):
    Path("mine.py").write_text(OWN)
    assert run("train", "mine.py:Own", "bandit", *TINY, "--run", "own") == 0
    assert "quickstudy evaluate own --algorithm mine.py:Own" in capsys.readouterr().err
    assert 'own = "mine.py:Own"' in Path("own/config.toml").read_text()
    assert run("evaluate", "own") == 2
    assert "pass --algorithm FILE.py:CLASS" in capsys.readouterr().err
    assert run("evaluate", "own", "--algorithm", "mine.py:Own", "--num-tasks", "4") == 0
    assert "own on bandit: 4 test tasks" in capsys.readouterr().out
    assert run("resume", "own", "--algorithm", "mine.py:Own") == 0
    assert run("train", "--config", "own/config.toml", "--run", "again") == 2
    assert run("train", "mine.py:Own", "bandit", "--config", "own/config.toml", "--seed", "3", "--run", "again") == 0
    assert run("train", "mine.py:Own", "mine.py:tasks", *TINY, "--run", "both") == 0
    assert "--tasks mine.py:tasks --algorithm mine.py:Own" in capsys.readouterr().err


def test_normalisers_are_options_and_go_into_the_run(capsys: pytest.CaptureFixture[str]):
    options = ["--max-episode-steps", "5", *TINY, "--normalise-observation", "--normalise-reward"]
    assert run("train", "rl2", "point-navigation", *options, "--run", "first") == 0
    assert "normalise_observation = true" in Path("first/config.toml").read_text()
    assert run("evaluate", "first", "--num-tasks", "3", "--split", "extrapolation") == 0
    assert "left by up to a quarter" in capsys.readouterr().out
    assert run("train", "rl2", "bandit", *TINY, "--normalise-observation") == 2
    assert "nothing to normalise" in capsys.readouterr().err


def test_check_finds_what_is_wrong_and_leaves_with_one(capsys: pytest.CaptureFixture[str]):
    assert run("check", "grid-navigation", "--size", "9", "--seed", "2") == 0
    assert "15 passed, 0 failed" in capsys.readouterr().out
    Path("mine.py").write_text(OWN)
    assert run("check", "rl2", "--trials", "8", "--hidden-size", "8", "--n-epochs", "1", "--json") == 0
    assert '"passed": true' in capsys.readouterr().out.splitlines()[-1]
    Path("faulty.py").write_text(FAULTY)
    assert run("check", "faulty.py:tasks", "--seed", "3") == 1
    found = re.search(
        r"FAIL +steps .*live it again: quickstudy (check faulty.py:tasks --task \d+ --seed 3)", capsys.readouterr().out
    )
    assert found
    assert run(*found[1].split()) == 1
    output = capsys.readouterr()
    assert "step 1: action" in output.out and "error: again: step raised ZeroDivisionError: off" in output.err
    assert "Traceback" in output.err and "faulty.py" in output.err  # the user's own code, where it failed
    assert run("check", "mine.py:tasks", "--task", "2") == 0
    assert "steps without a fault" in capsys.readouterr().out


def test_a_fault_in_training_is_kept_and_lived_again(capsys: pytest.CaptureFixture[str]):
    Path("faulty.py").write_text(FAULTY)
    assert run("train", "rl2", "faulty.py:tasks", *TINY, "--run", "run") == 1
    error = capsys.readouterr().err
    assert "resume with: quickstudy resume run --tasks faulty.py:tasks" in error
    assert re.search(r"task \d+ \(gain=.*\), lane 0, step 2 .*ZeroDivisionError: off .*seed 0, iteration 0, train tasks", error)
    assert "live it again: quickstudy check faulty.py:tasks --replay run/fault.json" in error
    assert run("check", "faulty.py:tasks", "--replay", "run/fault.json") == 1
    output = capsys.readouterr()
    assert "step 1: action" in output.out and "error: again: step raised ZeroDivisionError: off" in output.err
    Path("mended.py").write_text(FAULTY.replace("raise ZeroDivisionError('off')", "pass"))
    assert run("check", "mended.py:tasks", "--replay", "run/fault.json") == 0
    assert "3 steps without a fault this time" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ("trian rl2 bandit", 2, "unknown command 'trian'; did you mean 'train'"),
        ("train rl22 bandit", 2, "unknown algorithm 'rl22'; did you mean 'rl2'"),
        ("train rl2 bandits", 2, "unknown tasks 'bandits'; did you mean 'bandit'"),
        ("train rl2", 2, "takes two names"),
        ("train rl2 bandit --trails 3", 2, "--trials"),
        ("train rl2 bandit --trials many", 2, "--trials"),
        ("train rl2 bandit --arms 1", 2, "arms is 1, it must be at least 2"),
        ("train rl2 bandit --device tpu", 2, "device 'tpu' can't be used here"),
        ("train rl2 bandit --config none.toml", 2, "none.toml: No such file"),
        ("train rl2 none.py:tasks", 2, "none.py: no such file"),
        ("train rl2 mine.py:task", 2, "mine.py has no 'task'; did you mean 'tasks'"),
        ("train rl2 mine.py:not_tasks", 2, "is a int, no task distribution"),
        ("train rl2 mine.py", 2, "say which object of mine.py: mine.py:tasks"),
        ("train rl2 broken.py:tasks", 2, "raised NameError"),
        ("train rl2 bandit --run mine.py/run", 2, "mine.py/run can't be made"),
        ("train rl2 bandit --seeds 0", 2, "--seeds '0' must be at least 1"),
        ("resume nowhere", 2, "nowhere is no run"),
        ("evaluate nowhere", 2, "nowhere is no run"),
        ("evaluate randm bandit", 2, "unknown baseline 'randm'; did you mean 'random'"),
        ("evaluate random bandit --splt test", 2, "--splt"),
        ("evaluate nowhere --episodes 0", 2, "--episodes"),
        ("compare nowhere elsewhere", 2, "nowhere is no run"),
        ("compare nowhere", 2, "compare takes two or more runs"),
        ("compare nowhere nowhere", 2, "nowhere and nowhere are the same run"),
        ("compare nowhere elsewhere --greedily", 2, "compare has no option '--greedily'; did you mean '--greedy'"),
        ("list task", 2, "there is no 'task'; did you mean 'tasks'?"),
        ("train mine.py:tasks bandit", 2, "mine.py:tasks is no learner"),
        ("train mine.py:Own mine.py:Own", 2, "no task distribution"),
        ("train rl2 bandit --normalise-observation", 2, "there is nothing to normalise"),
        ("check bandits", 2, "unknown tasks or algorithm 'bandits'; did you mean 'bandit'"),
        ("check mine.py:not_tasks", 2, "neither a task distribution nor a learner"),
        ("check mine.py:tasks --arms 3", 2, "check has no option '--arms'"),
        ("check bandit --arms 1", 2, "arms is 1"),
        ("check bandit --task 99", 2, "tasks 0 to 15"),
        ("check mine.py:tasks --replay none.json", 2, "none.json can't be read"),
        ("check mine.py:tasks --replay mine.py", 2, "mine.py is no JSON"),
        ("check rl2 --task 3", 2, "rl2 is a learner"),
        ("evaluate random bandit --split extrapolation", 2, "no extrapolation split"),
        ("evaluate random bandit --split tset", 2, "--split"),
    ],
)
def test_a_mistake_gets_a_clear_message_and_no_traceback(
    arguments: str, status: int, message: str, capsys: pytest.CaptureFixture[str]
):
    Path("mine.py").write_text(OWN)
    Path("broken.py").write_text("tasks = nothing")
    assert run(*arguments.split()) == status
    output = capsys.readouterr()
    assert message in output.err + output.out and "Traceback" not in output.err
    assert not Path("runs").exists()


def test_a_full_or_read_only_disk_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "runs/x/checkpoints")

    monkeypatch.setattr("quickstudy.runs.folder.save_checkpoint", full)
    assert run("train", "rl2", "bandit", *TINY) == 1
    assert "error: runs/rl2-bandit-seed0: No space left on device" in capsys.readouterr().err


def test_list_names_everything_with_bounds(capsys: pytest.CaptureFixture[str]):
    assert run("list") == 0
    lines = capsys.readouterr().out.splitlines()
    for name in ("grid-navigation", "task-informed", "random", "gittins"):
        assert len([line for line in lines if line.startswith(f"  {name} ")]) == 1
    assert run("list", "cart-pole") == 0
    assert re.search(r"length +\[0.25, 1\]", text := capsys.readouterr().out) and "--max-episode-steps INT" in text
    assert run("list", "rl2") == 0
    assert "--memory {gru,lstm,gru-norm}" in (text := capsys.readouterr().out) and "Cells along" not in text
    assert run("list", "gittins") == 0
    assert "--gamma FLOAT|None" in (text := capsys.readouterr().out) and "for: bandit" in text
    assert run("list", "random") == 0 and "quickstudy evaluate random bandit" in capsys.readouterr().out
    assert run("list", "tasks", "--json") == 0
    listing = json.loads(capsys.readouterr().out)
    assert listing["tasks"]["cart-pole"]["parameters"]["direction"] == "one of -1.0, 1.0" and "algorithms" not in listing
    assert run("list", "--json") == 0
    listing = json.loads(capsys.readouterr().out)
    assert listing["algorithms"]["rl2"]["options"]["trials"]["default"] == 256 and set(listing) == {*CALLED, "recipes"}
    assert run("list", "rl2", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"algorithms": {"rl2": listing["algorithms"]["rl2"]}}


def test_doctor_and_help(capsys: pytest.CaptureFixture[str]):
    assert run("doctor") == 0
    text = capsys.readouterr().out
    assert "torch 2." in text and "devices: cpu" in text and "extra plot: matplotlib" in text
    assert run("doctor", "--devices") == 0 and "devices: cpu" in capsys.readouterr().out
    for arguments in ([], ["--help"], ["train"], ["train", "--help"], ["--version"]):
        assert run(*arguments) == 0
    assert "quickstudy train rl2 grid-navigation --help" in capsys.readouterr().out
    assert run("train", "rl2", "grid-navigation", "--help") == 0
    text = capsys.readouterr().out
    assert "--learning-rate" in text and "Cells along each side" in text and "--checkpoint-every" in text
