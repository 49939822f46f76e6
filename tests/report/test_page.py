"""The page in a real browser without a network: silent, inert, and what it draws is what it was given."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import drawn, opened, placed
from made_up import HOSTILE, contents

from quickstudy.report.page import data
from quickstudy.report.page import page as html

CASES = {
    "a usual run": {},
    "nothing trained": {"points": 0},
    "one episode": {"episodes": 1},
    "gaps": {"gaps": True},
    "five seeds": {"seeds": 5, "points": 80},
    "ten seeds, ten episodes, many metrics": {"seeds": 10, "episodes": 10, "points": 182, "metrics": 30},
    "one row": {"points": 1},
    "tasks of one parameter": {"axes": 1},
    "tasks of four parameters": {"axes": 4},
    "tasks that nothing tells apart": {"axes": 0},
    "a world that doesn't change": {"changes": False},
}
ADAPTATION, LEARNING = "#adaptation > .chart", "#learning > .chart"
MAP, EPISODES = "#taskmap .beside > div:first-child .chart", "#taskmap .beside > div:last-child .chart"
WORLD = "#world .scenes > div"
IN_A_HURRY = ("a usual run", "nothing trained", "ten seeds, ten episodes, many metrics", "tasks that nothing tells apart")
LUCKS = (0, 1, 8, 17)
"""Of one, two, nine and eight episodes, one, two and three seeds, with gaps and without."""


def written(folder: Path, shown: Any) -> Path:
    path = folder / "report.html"
    path.write_text(html(shown))
    return path


@pytest.fixture(scope="module")
def usual(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, list[str], Any]]:
    """The page of a usual run, opened once, with what went wrong on it and what it shows."""
    shown = contents()
    with opened(browser, written(tmp_path_factory.mktemp("usual"), shown)) as (page, wrong):
        yield page, wrong, shown


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=name, marks=() if name in IN_A_HURRY else pytest.mark.slow) for name, case in CASES.items()],
)
def test_it_asks_nobody_complains_of_nothing_and_fits_its_window(browser: Any, tmp_path: Path, case: dict[str, Any]):
    path = written(tmp_path, contents(**case))
    assert path.stat().st_size < 1.5e6
    with opened(browser, path, theme="dark" if case else "light") as (page, wrong):
        for width in (1440, 768, 375):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            page.click("#language")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert not wrong


@pytest.mark.parametrize("luck", [pytest.param(luck, marks=() if luck in LUCKS else pytest.mark.slow) for luck in range(20)])
def test_what_is_drawn_is_what_was_measured(browser: Any, tmp_path: Path, luck: int):
    shown = contents(luck, episodes=1 + luck % 10, seeds=1 + luck % 3, gaps=luck % 2 == 1)
    with opened(browser, written(tmp_path, shown)) as (page, _):
        for each in shown["adaptation"]["curves"]:
            points = [[row["episode"], row["mean"]] for row in each["rows"]]
            assert drawn(page, ADAPTATION, f"[aria-description={each['who']}] > *") == placed(page, ADAPTATION, points)
        banded = [each for each in shown["adaptation"]["curves"] if each["who"] != "bayes-optimal"]
        bands = [[row["episode"], row["mean_high"]] for each in banded for row in each["rows"]]
        ends = [placed(page, ADAPTATION, bands), drawn(page, ADAPTATION, ".area path")]
        if shown["adaptation"]["curves"][0]["rows"][1:]:
            assert all(any(point == end for point in ends[1]) for end in ends[0])
        line = shown["series"].get("iqm", shown["series"]["seeds"][0])
        pairs = list(zip(line["time/total_timesteps"], line["rollout/ep_rew_mean"], strict=True))
        assert drawn(page, LEARNING, "[aria-description=bold] path") == placed(
            page, LEARNING, [pair for pair in pairs if pair[1] is not None]
        )


def test_hostile_text_is_shown_and_does_nothing(browser: Any, tmp_path: Path):
    shown = contents(seeds=2)
    usual = counted(browser, written(tmp_path, shown))
    metrics = [f"train/loss {text}" for text in HOSTILE]
    shown["facts"] = {
        "config": {text or "nameless": {text: text} for text in HOSTILE},
        "command": "\n".join(HOSTILE),
        "system": {text: text for text in HOSTILE},
    }
    for line in [*shown["series"]["seeds"], shown["series"]["iqm"]]:
        line |= {name: line["rollout/ep_rew_mean"] for name in metrics}
    shown["series"]["metrics"] += metrics
    shown["steps"]["trials"][0]["task"] = {text: 1 for text in HOSTILE}
    shown["embedding"]["axes"] = ["".join(HOSTILE), HOSTILE[0]]
    # TOML has no half characters, names of folders may
    shown["title"] = "".join(HOSTILE).replace("\ud800", "")
    shown["run"] = shown["adaptation"]["algorithm"] = "".join(HOSTILE)
    path = written(tmp_path, shown)
    assert counted(browser, path) == usual
    with opened(browser, path, 375) as (page, wrong):
        cells = page.evaluate("[...document.querySelectorAll('#facts td')].map((cell) => cell.textContent)")
        assert set(cells) == {json.loads(data({"": text}))[""] for text in HOSTILE}
        assert page.evaluate("document.documentElement.scrollWidth") <= 375
    assert not wrong


def counted(browser: Any, path: Path) -> dict[str, int]:
    """How many elements of the kinds that do something a page has, and whether something was done."""
    with opened(browser, path) as (page, wrong):
        kinds = "script style img iframe object embed link meta base form a template"
        found = page.evaluate("(kinds) => kinds.split(' ').map((kind) => document.getElementsByTagName(kind).length)", kinds)
        svg_styles = page.evaluate("document.querySelectorAll('svg style').length")
        assert page.evaluate("window.pwned") is None
        assert not wrong
    counts = dict(zip(kinds.split(), found, strict=True))
    return counts | {"style": counts["style"] - svg_styles}


def test_a_seed_whose_return_fell_is_told(usual: tuple[Any, list[str], Any]):
    page, _, shown = usual
    [fall] = shown["falls"]
    told = page.evaluate("[...document.querySelectorAll('#learning p')].map((line) => line.textContent)")
    says = "the return fell from 2.5 (meta-iteration 12) to -1, both means over a tenth of training."
    assert f"Seed {fall['seed']}: {says}" in told


def test_the_keyboard_reaches_all_of_it(browser: Any, tmp_path: Path):
    shown = contents()
    stops = shown["adaptation"]["validation"]
    with opened(browser, written(tmp_path, shown)) as (page, wrong):
        reached = []
        for _ in range(30):
            page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.id || document.activeElement.tagName.toLowerCase()"))
            if reached.count("input") == 1 and reached[-1] == "input":
                page.keyboard.press("Home")
                assert drawn(page, ADAPTATION, "[aria-description=validation] > *") == validation(page, stops[0])
                page.keyboard.press("ArrowRight")
                assert drawn(page, ADAPTATION, "[aria-description=validation] > *") == validation(page, stops[1])
                assert f"{stops[1]['iteration']} meta-iterations" in page.inner_text("#adaptation output")
        assert reached[:3] == ["a", "language", "theme"]
        assert {"input", "summary", "select", "button"} <= set(reached)
        page.focus("#language")
        page.keyboard.press("Enter")
        assert page.inner_text("#adaptation-head") == "适应"
        assert page.evaluate("document.documentElement.lang") == "zh"
        before = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.focus("#theme")
        page.keyboard.press("Space")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    assert not wrong


def validation(page: Any, stop: Any) -> Any:
    return placed(page, ADAPTATION, [[index + 1, value] for index, value in enumerate(stop["returns"])])


def test_wall_time_is_another_axis_and_another_metric_another_line(usual: Any):
    page, wrong, shown = usual
    line = shown["series"]["seeds"][0]
    page.click("text=wall time")
    page.select_option("#learning select", "train/grad_norm")
    minutes = [seconds / 60 for seconds in line["time/time_elapsed"]]
    points = [list(pair) for pair in zip(minutes, line["train/grad_norm"], strict=True)]
    assert drawn(page, LEARNING, "[aria-description=bold] path") == placed(page, LEARNING, points)
    assert not wrong


@pytest.mark.parametrize("axes", (1, 2, pytest.param(3, marks=pytest.mark.slow)))
def test_a_click_on_a_task_shows_its_episodes(browser: Any, tmp_path: Path, axes: int):
    shown = contents(axes=axes)
    tasks = shown["map"]["tasks"]
    with opened(browser, written(tmp_path, shown)) as (page, wrong):
        tests = [task for task in tasks if task["split"] == "test"]
        points = [[task["at"][0], task["returns"][-1] if axes == 1 else task["at"][1]] for task in tests]
        assert drawn(page, MAP, "[aria-description=test] > *")[: len(tests)] == placed(page, MAP, points)
        picture = page.locator(MAP).first
        for index in (3, 11, 30):
            task = tasks[index]
            [where] = drawn_at(page, [task["at"][0], task["returns"][-1] if axes == 1 else task["at"][1]])
            picture.click(position={"x": where[0], "y": where[1]})
            assert page.input_value("#taskmap select") == str(index)
            episodes = [[number, value] for number, value in enumerate(task["returns"], 1)]
            assert drawn(page, EPISODES, "[aria-description=episodes] > *") == placed(page, EPISODES, episodes)
        page.select_option("#taskmap select", "7")
        assert f"{abs(tasks[7]['at'][0]):.3g}" in page.inner_text("#taskmap h3")
    assert not wrong


def drawn_at(page: Any, point: list[float]) -> Any:
    """Where a point lies in the first picture of the map, in pixels."""
    return page.evaluate(
        "([chart, [x, y]]) => [[document.querySelector(chart).plot.scale('x').apply(x),"
        " document.querySelector(chart).plot.scale('y').apply(y)]]",
        [MAP, point],
    )


def test_colours_and_cells_tell_the_return_and_the_gain(browser: Any, tmp_path: Path):
    shown = contents()
    tasks = [{"split": "test", "at": [x, y], "met": 2, "returns": [x - y, 10 * x + y]} for x in range(4) for y in range(4)]
    axes = [{"name": name, "bounds": [0, 3]} for name in ("row", "column")]
    shown["map"] |= {"tasks": tasks, "axes": axes, "plane": [1, 0]}
    with opened(browser, written(tmp_path, shown)) as (page, _):
        assert page.evaluate("(chart) => document.querySelector(chart).plot.dataset.axes", MAP) == "1 0"
        assert page.locator(f"{MAP} text", has_text="column").count() == 1
        for button, values in (
            ("last", [t["returns"][1] for t in tasks]),
            ("gain", [t["returns"][1] - t["returns"][0] for t in tasks]),
        ):
            page.click(f"#taskmap .choice button:nth-child({1 if button == 'last' else 3})")
            fills, expected = page.evaluate(
                """([chart, values]) => {
                    const { plot } = document.querySelector(chart);
                    const cells = [...plot.querySelectorAll("[aria-description=cells] rect")];
                    const expected = values.map((value) => plot.scale("color").apply(value));
                    return [cells.map((cell) => cell.getAttribute("fill")), expected];
                }""",
                [MAP, values],
            )
            assert fills == expected and len(set(fills)) > 4


def test_the_episodes_of_a_trial_move_in_lock_step(browser: Any, tmp_path: Path):
    shown = contents(episodes=3)
    with opened(browser, written(tmp_path, shown)) as (page, wrong):
        for task, moment in ((0, 6), (1, 2)):
            page.select_option("#world select >> nth=0", str(task))
            page.focus("#world input[type=range]")
            page.keyboard.press("Home")
            for _ in range(moment):
                page.keyboard.press("ArrowRight")
            trial = shown["world"]["trials"][task]["episodes"]
            traces = [episode["trace"][: moment + 1] for episode in trial]
            assert paths(page, f"{WORLD}:first-child") == [[[x, -y] for x, y in trace] for trace in traces]
            assert paths(page, f"{WORLD}:nth-child(2)") == [[[x, -y] for x, y in traces[0]]]
            assert paths(page, f"{WORLD}:nth-child(3)") == [[[x, -y] for x, y in traces[2]]]
            totals = [episode["totals"][min(moment, len(episode["totals"]) - 1)] for episode in trial]
            notes = page.locator("#world .scenes .note").all_inner_texts()
            assert [note.split()[-1].lstrip("\u2212") for note in notes] == [f"{abs(totals[0]):.2f}", f"{abs(totals[2]):.2f}"]
        page.select_option("#world .scenes select >> nth=0", index=1)
        assert paths(page, f"{WORLD}:nth-child(2)") == paths(page, f"{WORLD}:first-child")[1:2]
    assert not wrong


def paths(page: Any, place: str) -> list[list[list[float]]]:
    """The paths in a picture, in the world's units."""
    texts = page.evaluate(
        "(place) => [...document.querySelectorAll(place)].map((p) => p.getAttribute('points'))", f"{place} .path"
    )
    return [[[float(number) for number in pair.split(",")] for pair in text.split()] for text in texts]


def test_step_by_step_all_pictures_are_those_of_the_chosen_step(browser: Any, tmp_path: Path):
    shown = contents(episodes=3)
    with opened(browser, written(tmp_path, shown)) as (page, wrong):
        for task, step in ((0, 0), (1, 7), (1, 15)):
            page.select_option("#trial select", index=task)
            trial = shown["steps"]["trials"][task]
            page.focus("#trial input[type=range]")
            page.keyboard.press("Home")
            for _ in range(step):
                page.keyboard.press("ArrowRight")
            # episodes have 5, 6 and 5 steps
            episode, within = [(0, step), (1, step - 5), (2, step - 11)][(step >= 5) + (step >= 11)]
            told = page.inner_text("#trial output")
            assert told.startswith(f"step {step + 1} of 16: episode {episode + 1}, step {within + 1}, reward")
            trace = shown["world"]["trials"][task]["episodes"][episode]["trace"][: within + 1]
            assert paths(page, "#trial .scenes > div:first-child") == [[[x, -y] for x, y in trace]]
            for place, what in ((2, "decoded"), (3, "exact")):
                texts = page.locator(f"#trial .scenes > div:nth-child({place}) .paper text").all_text_contents()
                assert texts == [f"{rounded(chance)}%" for chance in trial[what][step] if chance >= 0.005]
            bars = page.evaluate(BARS)
            expected = placed(page, TIMELINE, [[index + 0.5, value] for index, value in enumerate(trial["causes"][step])])
            zero = placed(page, TIMELINE, [[0, 0]])[0].expected[1]
            for bar, cause, value in zip(bars, expected, trial["causes"][step], strict=True):
                assert bar[0] - 0.5 == pytest.approx(cause.expected[0], abs=2e-3)
                assert bar[1 if value > 0 else 2] == pytest.approx(cause.expected[1] + (0.5 if value > 0 else -0.5), abs=0.6)
                assert bar[2 if value > 0 else 1] == pytest.approx(zero, abs=0.6)
                assert bar[3] == ("var(--towards)" if value > 0 else "var(--against)")
            lines = [[[index + 1, value] for index, value in enumerate(mean)] for mean in trial["belief"]["mean"]]
            for number, line in enumerate(lines, 1):
                chart = f"#trial .small > div:nth-child({number}) .chart"
                assert drawn(page, chart, "[aria-description=mean] path") == placed(page, chart, line)
        page.locator(TIMELINE).click(position={"x": 60, "y": 90})
        assert page.inner_text("#trial output").startswith("step 1 of 16")
    assert not wrong


TIMELINE = "#trial > .chart"
BARS = """[...document.querySelectorAll("#trial > .chart [aria-description=moved] rect")].map((bar) => {
    const [x, y, height] = ["x", "y", "height"].map((name) => Number(bar.getAttribute(name)));
    return [x, y, y + height, bar.getAttribute("fill")];
})"""


def rounded(chance: float) -> int:
    """A share as JavaScript rounds its percents: halves upwards."""
    return int(100 * chance + 0.5)


def test_tasks_lie_where_their_components_put_them_and_gradients_where_they_agree(usual: Any):
    page, wrong, shown = usual
    places = [task["place"] for task in shown["embedding"]["tasks"]]
    for axis in (1, 2):
        chart = f"#mind .beside > div:nth-child({axis}) .chart"
        assert drawn(page, chart, "[aria-description=embedding] > *") == placed(page, chart, places)
    chart = "#mind .beside > div:nth-child(3) .chart"
    assert drawn(page, chart, "[aria-description=pairs] > *") == placed(page, chart, shown["inner"]["pairs"])
    chart = "#mind .beside > div:nth-child(4) .chart"
    middles = [
        [step + way, statistics.median(losses)]
        for step, pair in enumerate(shown["inner"]["losses"], 1)
        for way, losses in zip((-0.3, 0.3), pair, strict=True)
    ]
    assert drawn(page, chart, "[aria-description=middles] > *") == placed(page, chart, middles)
    assert not wrong


@pytest.mark.parametrize("changes", [True, False])
def test_what_was_foreseen_lies_beside_what_came(browser: Any, tmp_path: Path, changes: bool):
    """Errors of all tasks, and of each task and episode that is chosen by the keyboard; steps are counted from 1."""
    shown = contents(episodes=2, changes=changes)
    found = shown["foreseen"]
    with opened(browser, written(tmp_path, shown)) as (page, wrong):
        names = ["<b>spin</b>" if changes else "Feature 1", "Feature 2"]
        assert all(name in page.inner_text("#foreseen") for name in names)
        bands = [(1, found["errors"], 1)] + ([(2, found["around"], 0)] if changes else [])
        for place, lines, first in bands:
            chart = f"#foreseen .beside:nth-of-type(1) > div:nth-child({place}) .chart"
            for episode, line in enumerate(lines):
                points = [[step + first, value] for step, value in zip(line["steps"], line["middle"], strict=True)]
                assert drawn(page, chart, f"[aria-description='middle {episode}'] path") == placed(page, chart, points)
        for task, number in ((0, 0), (1, 1)):
            page.select_option("#foreseen select >> nth=0", str(task))
            page.focus("#foreseen select >> nth=1")
            page.keyboard.press("ArrowDown" if number else "Home")
            trial = found["trials"][task]
            episode = trial["episodes"][number]
            chart = f"{FORESEEN} > div:nth-child(1) .chart"
            points = [[step + 1, value] for step, value in enumerate(episode["errors"]["middle"])]
            assert drawn(page, chart, "[aria-description=error] path") == placed(page, chart, points)
            for feature in range(2):
                chart = f"{FORESEEN} > div:nth-child({feature + 2}) .chart"
                for kind, paths in (("lived", [episode["lived"]]), ("foretold", episode["foreseen"])):
                    points = [pair for path in paths for pair in zip(path["steps"], path["features"][feature], strict=True)]
                    assert drawn(page, chart, f"[aria-description={kind}] path") == placed(page, chart, points)
                starts = [[path["steps"][0], path["features"][feature][0]] for path in episode["foreseen"]]
                assert drawn(page, chart, "[aria-description=starts] > *") == placed(page, chart, starts)
                assert page.locator(f"{chart} [aria-description=change]").count() == changes
        assert ("0.90 in the first ones after it" in page.inner_text("#foreseen")) == changes
    assert not wrong


FORESEEN = "#foreseen .controls ~ .beside"


def test_a_method_of_which_nothing_is_known_has_its_trials_and_no_more(browser: Any, tmp_path: Path):
    shown = contents() | {"embedding": None, "inner": None, "world": None, "foreseen": None}
    for trial in shown["steps"]["trials"]:
        for name in ("belief", "exact", "decoded", "causes"):
            del trial[name]
    with opened(browser, written(tmp_path, shown)) as (page, wrong):
        assert page.locator("#mind, #foreseen").count() == 0 and page.locator("#trial .scenes svg").count() == 0
        assert "quickstudy video" in page.inner_text("#world")
        assert page.locator("#trial [aria-description=moved] rect").count() == len(shown["steps"]["trials"][0]["rewards"])
    assert not wrong


def test_the_goal_can_be_hidden_and_the_trial_played(browser: Any, tmp_path: Path):
    with opened(browser, written(tmp_path, contents(episodes=2))) as (page, wrong):
        count = "document.querySelectorAll('#world [fill*=\"#e5a50a\"]').length"
        assert page.evaluate(count) == 3
        page.click("#world .choice button:nth-child(2)")
        assert page.evaluate(count) == 0
        assert "step 6 of 6" in page.inner_text("#world output")
        page.click("#world .controls > button")
        page.locator("#world output", has_text="step 2 of 6").wait_for()
        page.click("#world .controls > button")
        stopped = page.inner_text("#world output")
        page.wait_for_timeout(500)
        assert page.inner_text("#world output") == stopped
    assert not wrong


@pytest.mark.parametrize(
    "theme, language",
    [
        ("light", "en"),
        ("dark", "zh"),
        pytest.param("light", "zh", marks=pytest.mark.slow),
        pytest.param("dark", "en", marks=pytest.mark.slow),
    ],
)
def test_axe_finds_nothing_serious(browser: Any, tmp_path: Path, theme: str, language: str):
    from axe_playwright_python.sync_playwright import Axe

    with opened(browser, written(tmp_path, contents(seeds=2)), theme=theme, language=language) as (page, _):
        page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        found = Axe().run(page).response["violations"]
    assert not [(each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in ("serious", "critical")]


def test_it_prints_in_light_colours_without_its_buttons(browser: Any, tmp_path: Path):
    with opened(browser, written(tmp_path, contents()), theme="dark") as (page, _):
        page.emulate_media(media="print")
        assert not page.is_visible("#theme")
        assert page.evaluate("getComputedStyle(document.getElementById('adaptation')).backgroundColor") == "rgb(255, 255, 255)"


def test_its_policy_allows_its_own_scripts_and_nothing_else():
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html(contents()))
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert all(source.startswith("'sha256-") for name in ("script-src", "style-src") for source in rules[name].split())


def test_numbers_that_json_has_not_are_refused():
    shown = contents()
    shown["done"] = float("nan")
    with pytest.raises(ValueError):
        html(shown)


def test_each_language_says_all_that_the_other_says(usual: Any):
    words = json.loads(usual[0].evaluate("JSON.stringify(WORDS)"))
    assert words["en"].keys() == words["zh"].keys()
    for key, text in words["en"].items():
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", words["zh"][key])), key
