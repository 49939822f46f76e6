"""`quickstudy play`: what is shown is what the evaluator scores, and a task that is clicked is the task that is played."""

from __future__ import annotations

import json
import math
import re
import socket
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import torch
from levers import levers
from served import asked, cookie, looking, serving, until
from small import SMALL, TINY

import quickstudy as qs
from quickstudy.cli import main
from quickstudy.families import FAMILIES, make
from quickstudy.insight import KnowsTasks, Trial, innermost
from quickstudy.live.belief import with_end
from quickstudy.live.fields import fields_of, task_of, values_of
from quickstudy.live.play import FARTHEST, MOST_LUCK, PLAY, Player, moments_of, player
from quickstudy.live.server import Server
from quickstudy.protocol import counter
from quickstudy.report.page import page as html
from quickstudy.report.trials import live_trials
from quickstudy.scene import Aimed
from quickstudy.tasks.parameters import parameters_of
from quickstudy.wrappers.normalised import Normalisation, Normalised

GRID = {"size": 3, "max_episode_steps": 6, "episodes_per_trial": 3}


def varibad() -> Any:
    config = qs.VariBAD.Config(**SMALL["varibad"], reward_loss="bernoulli", reward_reads="arrival")
    return qs.VariBAD(make("grid-navigation", **GRID), config)


def searcher() -> Any:
    """An agent that adapts without having been trained."""
    return qs.oracle("posterior-sampling", make("grid-navigation"))


def maml() -> Any:
    return qs.MAML(make("point-navigation", max_episode_steps=5), qs.MAML.Config(**SMALL["maml"] | {"lanes": 3}))


def post(server: Server, given: dict[str, Any]) -> tuple[int, str]:
    url, body = urlsplit(server.url), json.dumps(given).encode()
    head = ["POST /trial HTTP/1.1", f"Host: {url.netloc}", f"Origin: http://{url.netloc}", f"Cookie: {cookie(server)}"]
    head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    status, answer = asked(server, "\r\n".join(head).encode() + b"\r\n\r\n" + body)
    return status, answer.split(b"\r\n\r\n", 1)[1].decode()


@pytest.mark.parametrize("agent", (varibad, maml, searcher))
def test_what_is_shown_is_what_the_evaluator_scores(agent: Any):
    made = agent()
    host = Player(made)
    for luck in (0, 7):
        told, *episodes = host.trial(host.drawn(luck), luck)
        scores = qs.evaluate(made, num_tasks=1, seed=luck)
        assert [episode["total"] for episode in episodes] == pytest.approx(scores.returns[0].tolist(), rel=1e-5)
        assert scores.success is not None
        assert [episode["success"] for episode in episodes] == pytest.approx(scores.success[0].tolist(), rel=1e-5)
        # and it is the same when the task is set by its numbers
        task, again = host.picked({**told["values"], "luck": luck})
        assert [part["total"] for part in list(host.trial(task, again))[1:]] == [episode["total"] for episode in episodes]


def test_beliefs_are_distributions_and_the_exact_one_knows_where_the_goal_was_met():
    made = varibad()
    host = Player(made)
    for goal in ((2.0, 0.0), (0.0, 2.0), (1.0, 2.0)):
        task, luck = host.picked({"x": goal[1], "y": goal[0], "luck": 3})
        met = False
        for episode in list(host.trial(task, luck))[1:]:
            belief = episode["belief"]
            assert len(belief["own"]) == len(belief["exact"]) == len(episode["moments"]) == 7
            for moment, (own, exact) in enumerate(zip(belief["own"], belief["exact"], strict=True)):
                assert sum(own) == pytest.approx(1, abs=0.02) and sum(exact) == pytest.approx(1, abs=0.02)
                met = met or episode["trace"][moment] == [goal[1], goal[0]]
                assert (exact[int(goal[0] * 3 + goal[1])] == 1) is met or exact.count(0) == 8
    assert Player(maml()).agent.lanes == 3
    assert all(part["belief"] is None for part in list(Player(maml()).trial(Player(maml()).drawn(0), 0))[1:])


def test_what_is_believed_after_an_episode_is_what_the_next_one_begins_with():
    for made in (varibad(), Normalised(varibad(), Normalisation(normalise_reward=True))):
        lived = live_trials(made, batch=1, num_tasks=1)
        [policy, *_], [first, second, *_] = lived.policies, lived.episodes
        agent, trial = innermost(made, Trial([policy, policy], [with_end(policy, first)]))
        assert isinstance(agent, KnowsTasks)
        longer, later = (agent.known(each).believed for each in (trial, Trial([policy, policy], [second])))
        assert longer is not None and later is not None
        assert longer.mean[0].shape[1] == first.valid.shape[2] + 1
        torch.testing.assert_close(longer.mean[0][:, -1], later.mean[0][:, 0])
        told = list(Player(made).trial(Player(made).drawn(0), 0))[1:]
        assert all("own" in episode["belief"] for episode in told)


def test_a_click_is_the_task_whose_goal_is_there():
    for name, options, places in (
        ("grid-navigation", {}, [(3.3, 1.8), (4.0, 4.0), (-9.0, 9.0), (0.2, 0.1)]),
        ("point-navigation", {}, [(0.2, -0.3), (0.7, 0.1), (-5.0, 5.0)]),
        ("point-navigation", {"layout": "half-circle"}, [(0.6, 0.8), (-3.0, 4.0), (0.1, -0.2), (-0.1, -0.2)]),
    ):
        tasks = make(name, **options)
        dynamics: Any = tasks.dynamics
        assert isinstance(dynamics, Aimed)
        for place in places:
            found = {key: value[None] for key, value in dynamics.task_at(place).items()}
            anywhere = tasks.sample(2000, "train", counter(0, 0, "anywhere"))
            assert found.keys() == anywhere.keys()
            reached = distances(dynamics, found, place)
            # no task that is drawn has its goal nearer
            assert float(reached[0]) <= float(distances(dynamics, anywhere, place).min()) + 1e-6


def distances(dynamics: Any, tasks: dict[str, torch.Tensor], place: tuple[float, float]) -> torch.Tensor:
    """How far goals lie from a place, by where the pictures show them."""
    if hasattr(dynamics, "goal"):
        return (dynamics.goal(tasks) - torch.tensor(place)).norm(dim=-1)
    return (tasks["goal"].flip(-1) - torch.tensor(place)).norm(dim=-1)


@pytest.mark.parametrize("name", ["bandit", "tabular-mdp", "grid-navigation", "frozen-lake", "cart-pole", "pendulum"])
def test_the_fields_of_a_task_make_the_task(name: str):
    tasks = make(name)
    parameters = parameters_of(tasks)
    for luck in range(20):
        task = tasks.sample(1, "test", counter(luck, 0, "fields"))
        fields = fields_of(parameters, task)
        assert (name in ("tabular-mdp", "frozen-lake")) is (fields == [])
        if fields:
            again = task_of(fields, parameters, task, values_of(fields, parameters, task))
            assert again.keys() == task.keys()
            assert all(torch.equal(again[key], value) and again[key].dtype == value.dtype for key, value in task.items())


def test_every_family_that_can_be_drawn_tells_its_pictures():
    for name, entry in FAMILIES.items():
        if entry.options.__module__.split(".")[-1] in (
            "bandit",
            "cart_pole",
            "frozen_lake",
            "mountain_car",
            "pendulum",
            "tabular_mdp",
        ):
            short = {"bandit": {"pulls": 3}, "tabular-mdp": {"horizon": 3}}.get(name, {"max_episode_steps": 3})
            host = Player(qs.Random(make(name, **short)))
            told, *episodes = host.trial(host.drawn(0), 0)
            assert told["task"] and len(episodes) == host.life.episodes
            drawn = name not in ("bandit", "tabular-mdp")
            assert all((len(each["figures"]) == len(each["moments"])) is drawn for each in episodes)


def test_numbers_out_of_bounds_are_refused_in_a_line():
    with serving(player(searcher(), "run", "play")) as server:
        assert post(server, {"luck": 0})[0] == 200
        for given, says in (
            ({}, "luck must be"),
            ({"luck": -1}, "luck must be"),
            ({"luck": 0.5}, "luck must be"),
            ({"luck": MOST_LUCK + 1}, "luck must be"),
            ({"luck": 0, "goal": -1}, "goal = -1 is not between 0 and 20"),
            ({"luck": 0, "goal": 21}, "goal = 21 is not"),
            ({"luck": 0, "goal": 0.5}, "goal = 0.5 is not"),
            ({"luck": 0, "goal": 1, "more": 1}, "a task of this family is goal, nothing else"),
            ({"luck": 0, "x": 1}, "nothing else"),
            ({"luck": 0, "x": 1, "y": 1, "z": 1}, "nothing else"),
            ({"luck": 0, "x": 2 * FARTHEST, "y": 1}, "x and y must be between"),
            ({"luck": 0, "x": 1, "y": -2 * FARTHEST}, "x and y must be between"),
            ({"luck": 0, "x": 1, "y": math.nan}, "finite"),
            ({"luck": 0, "x": 1, "y": math.inf}, "finite"),
        ):
            status, answer = post(server, given)
            assert status == 400 and says in answer and answer.count("\n") == 1, given


def test_whoever_leaves_in_the_middle_keeps_nobody_waiting():
    with serving(player(searcher(), "run", "play", episodes=12)) as server:
        url, body = urlsplit(server.url), b'{"luck": 0}'
        head = f"POST /trial HTTP/1.1\r\nHost: {url.netloc}\r\nOrigin: http://{url.netloc}\r\nCookie: {cookie(server)}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        for _ in range(2):
            with socket.create_connection((url.hostname, url.port)) as connection:
                connection.sendall(head.encode() + body)
                connection.recv(20)
        status, answer = post(server, {"luck": 1})
        assert status == 200 and len(answer.splitlines()) == 13


def test_long_episodes_are_thinned_out_to_their_ends():
    assert moments_of(5) == [0, 1, 2, 3, 4, 5]
    for steps in (300, 301, 1000, 12345):
        kept = moments_of(steps)
        assert kept[0] == 0 and kept[-1] == steps and len(kept) <= 301


def returns(page: Any) -> list[float]:
    """The returns that the page tells."""
    return [float(text) for text in re.findall(r"-?[\d.]+\d", page.inner_text("#told").replace("\u2212", "-"))]


def test_it_adapts_to_a_clicked_goal(browser: Any):
    agent = qs.oracle("bayes-optimal", make("grid-navigation", size=3, max_episode_steps=6, episodes_per_trial=4))
    host = Player(agent)
    first = []
    with (
        serving(player(agent, "run", "play")) as server,
        looking(browser, server, reduced_motion="reduce") as (page, wrong),
    ):
        until(page, "trial.over")
        for x, y in ((2, 2), (2, 0), (0, 2)):
            where = page.evaluate(
                """([x, y]) => {
                    const seen = document.querySelector("#picture-world svg").getBoundingClientRect();
                    const [left, low, right, high] = viewed();
                    const [across, down] = [(x - left) / (right - left), (high - y) / (high - low)];
                    return [seen.left + seen.width * across, seen.top + seen.height * down];
                }""",
                [x, y],
            )
            page.mouse.click(*where)
            until(page, "trial.over")
            task, luck = host.picked({"x": x, "y": y, "luck": 0})
            episodes = list(host.trial(task, luck))[1:]
            chosen = page.evaluate("document.querySelector('#fields select').selectedOptions[0].textContent")
            assert chosen == f"row {y}, column {x}"
            assert returns(page) == pytest.approx([episode["total"] for episode in episodes])
            # in the end it knows the goal, and walks there straight
            assert returns(page)[-1] == pytest.approx(1.1 * (6 - (x + y) + 1) - 0.6)
            first.append(returns(page)[0] < returns(page)[-1])
            chances = page.evaluate(
                "[...document.querySelectorAll('#picture-exact .cell')].map((c) => Number(c.dataset.chance))"
            )
            assert chances == [float(cell == 3 * y + x) for cell in range(9)]
            assert page.evaluate("document.querySelectorAll('#picture-world .path').length") == 4
    assert any(first)
    assert not wrong


def test_the_keyboard_picks_plays_and_scrubs(browser: Any):
    with serving(player(searcher(), "run", "play")) as server, looking(browser, server) as (page, wrong):
        reached = []
        until(page, "trial.over")
        for _ in range(8):
            page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.id || document.activeElement.tagName.toLowerCase()"))
        assert reached[:8] == ["a", "language", "theme", "select", "other", "again", "play", "moment"]
        page.focus("#fields select")
        page.keyboard.press("ArrowDown")
        until(page, "trial.over && trial.values.goal > 0 && trial.moment > 2")
        page.focus("#play")
        page.keyboard.press("Enter")
        assert page.inner_text("#play") == "Play"
        page.focus("#moment")
        page.keyboard.press("Home")
        assert page.inner_text("#pace").startswith("episode 1 of 4, step 0")
        page.keyboard.press("ArrowRight")
        assert page.inner_text("#pace").startswith("episode 1 of 4, step 1")
        page.keyboard.press("End")
        assert page.inner_text("#pace").startswith("episode 4 of 4, step 15 of 15")
        page.keyboard.press("Home")
        assert page.inner_text("#pace") == "episode 1 of 4, step 0 of 15, return so far 0.00"
        goal = page.evaluate("trial.values.goal")
        page.focus("#language")
        page.keyboard.press("Enter")
        assert page.input_value("#fields select") == str(goal)
        page.focus("#other")
        page.keyboard.press("Enter")
        until(page, "trial.luck === 1 && trial.over")
    assert not wrong


@pytest.mark.slow
def test_what_an_environment_of_ones_own_shows_is_seen(browser: Any):
    agent = qs.RL2(levers(), qs.RL2.Config(**TINY["rl2"], language="mean"))
    with serving(player(agent, "run", "play")) as server, looking(browser, server) as (page, wrong):
        until(page, "trial.over")
        page.focus("#moment")
        page.keyboard.press("Home")
        page.keyboard.press("ArrowRight")
        picture = "#pictures svg.paper"
        assert page.eval_on_selector(f"{picture} image", "image => getComputedStyle(image).imageRendering") == "pixelated"
        assert page.text_content(f"{picture} text") == "Pull the right lever!"
        until(page, "document.querySelector('#pictures svg.paper image').getBBox().width === 6")
        shot = pytest.importorskip("PIL.Image").open(BytesIO(page.locator(picture).screenshot())).convert("RGB")
        wide, high = shot.width / 6, shot.width / 6
        colors = [shot.getpixel((round((column + 0.5) * wide), round(1.5 * high))) for column in range(6)]
        # the dot, at its first step in the second column
        assert [color != (0, 0, 0) for color in colors] == [False, True, False, False, False, False]
    assert not [each for each in wrong if not each.startswith("request data:image/png")]


def test_what_has_not_been_played_is_kept_to_itself(browser: Any):
    with serving(player(searcher(), "run", "play")) as server, looking(browser, server) as (page, wrong):
        until(page, "trial.over")
        page.focus("#moment")
        page.keyboard.press("Home")
        page.evaluate("trial.played = 0; tell()")
        told = (
            "[document.getElementById('told').textContent, document.querySelectorAll('[aria-description=returns] > *').length]"
        )
        # how long an episode is isn't told before it has been played
        assert page.inner_text("#pace") == "episode 1 of 4, step 0, return so far 0.00"
        for episode in range(4):
            assert page.evaluate(told)[1] == episode and page.evaluate("trial.played") == episode
            assert len(returns(page)) == episode
            for _ in range(16 if episode else 15):
                page.keyboard.press("ArrowRight")
        assert page.evaluate(told)[1] == len(returns(page)) == 4
    assert not wrong


@pytest.mark.parametrize("agent, theme, language", [(varibad, "light", "en"), (maml, "dark", "zh")])
def test_it_fits_its_window_and_axe_finds_nothing_serious(browser: Any, agent: Any, theme: str, language: str):
    from axe_playwright_python.sync_playwright import Axe

    with (
        serving(player(agent(), "run", "play")) as server,
        looking(browser, server, theme=theme, language=language, reduced_motion="reduce") as (page, wrong),
    ):
        until(page, "trial.over")
        for width in (1440, 768, 375):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        found = Axe().run(page).response["violations"]
        assert not [(each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in ("serious", "critical")]
    assert not wrong


def test_sliders_set_what_has_no_place(browser: Any):
    with (
        serving(player(qs.Random(make("bandit", arms=3, pulls=4)), "run", "play")) as server,
        looking(browser, server, reduced_motion="reduce") as (page, wrong),
    ):
        until(page, "trial.over")
        page.focus("[data-field='means 2']")
        page.keyboard.press("End")
        until(page, "trial.over && trial.values['means 2'] === 1")
        page.focus("[data-field='means 2']")
        page.keyboard.press("Home")
        until(page, "trial.over && trial.values['means 2'] === 0")
    assert not wrong


def test_its_policy_is_as_strict_as_that_of_watch_but_for_its_own_images():
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html({"title": "", "a": 1}, PLAY))
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules.pop("connect-src") == "'self'" and rules.pop("img-src") == "data:"
    assert rules.pop("default-src") == rules.pop("base-uri") == rules.pop("form-action") == "'none'"
    assert all(source.startswith("'sha256-") for sources in rules.values() for source in sources.split())


def test_each_language_says_all_that_the_other_says(browser: Any, small_run: Path):
    from quickstudy.live.watch import watcher

    for server in (player(searcher(), "run", "play"), watcher(small_run)):
        with serving(server), looking(browser, server, reduced_motion="reduce") as (page, _):
            words = json.loads(page.evaluate("JSON.stringify(WORDS)"))
        assert words["en"].keys() == words["zh"].keys()
        for key, text in words["en"].items():
            assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", words["zh"][key])), key


def test_the_command_plays_a_run_and_says_in_a_line_what_it_cannot(
    small_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(Server, "serve", lambda server: server._server.server_close())
    assert main(["play", str(small_run), "--greedy"]) == 0
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{32}/  \(Ctrl-C ends it\)\n", capsys.readouterr().out)
    for arguments in (
        ["nowhere"],
        [str(small_run), "bandit"],
        ["randm", "bandit"],
        [str(small_run), "--opn"],
        [str(small_run), "--port", "70000"],
    ):
        assert main(["play", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.count("error: ") == 5 and "70000 is no port: 1 to 65535" in said
