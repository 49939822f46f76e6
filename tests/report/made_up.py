"""Contents of pages that no run measured."""

from __future__ import annotations

from typing import Any

import numpy as np

from quickstudy.looks import LOOKS, looks_of

HOSTILE = [
    "<script>window.pwned = 1</script>",
    "</script><script>window.pwned = 1</script>",
    "<!--<script>",
    "<img src=x onerror='window.pwned = 1'>",
    "<svg onload=window.pwned=1>",
    "\"><b onmouseover='window.pwned = 1'>",
    "' onfocus='window.pwned=1' autofocus='",
    "javascript:window.pwned=1",
    "{{7*7}} ${7*7} #{7*7} <%= 7*7 %>",
    "&lt;b&gt; &amp; &#60;",
    "</style><style>*{display:none}</style>",
    "</title><h1>",
    "<iframe srcdoc='<script>parent.pwned=1</script>'>",
    "<a href='https://example.org'>click</a>",
    "<meta http-equiv=refresh content='0;url=https://example.org'>",
    "<base href='https://example.org/'>",
    "<link rel=stylesheet href='https://example.org/x.css'>",
    "url(https://example.org/x.png)",
    "\u2028\u2029\u0000\u0007",
    "\u202egnp.exe",
    "\ud800",
    "__proto__",
    "constructor",
    "toString",
    "{tasks} {split}",
    "]]>",
    "<![CDATA[<script>window.pwned=1</script>]]>",
    "\\u003cscript\\u003ewindow.pwned=1\\u003c/script\\u003e",
    "%3Cscript%3Ewindow.pwned%3D1%3C/script%3E",
    "+ADw-script+AD4-window.pwned=1+ADw-/script+AD4-",
    "'; window.pwned = 1; //",
    '"; window.pwned = 1; //',
    "`; window.pwned = 1; //",
    "\\'; window.pwned = 1; //",
    "\n\r\t",
    "",
    " ",
    "a" * 5000,
    "很长的名字" * 200,
    "🎯" * 300,
    "../../../etc/passwd",
    "$&$1$`$'",
    "NaN",
    "null",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=window.pwned=1>",
    "<template><script>window.pwned=1</script></template>",
    "<object data='https://example.org'>",
    "<form action='https://example.org'><button>",
    "var(--x); } * { display: none",
    "@import 'https://example.org'",
]
"""Text that would do harm where it were taken for more than text."""


def curve(who: str, episodes: int, generator: np.random.Generator) -> dict[str, Any]:
    """A return by episode with its interval."""
    middles = generator.normal(size=episodes) * 10 ** generator.uniform(-3, 4)
    rows = [
        {"episode": index + 1, "seen": index, "iqm": value + 0.1}
        | {"mean": value, "mean_low": value - 1.5, "mean_high": value + 2.5}
        for index, value in enumerate(middles.tolist())
    ]
    return {"who": who, "interval_over": "tasks only", "rows": rows}


def task_map(axes: int, episodes: int, generator: np.random.Generator) -> dict[str, Any]:
    """Tasks with so many parameters, within and beyond bounds."""
    tasks = [
        {
            "split": split,
            "at": generator.uniform(low, high, size=axes).tolist(),
            "met": 1,
            "returns": generator.normal(size=episodes).tolist(),
        }
        for split, low, high in [("test", -1, 1)] * 25 + [("extrapolation", 1, 1.5)] * 10
    ]
    names = [{"name": f"goal {axis + 1}", "bounds": [-1, 1]} for axis in range(axes)]
    return {"axes": names, "plane": [0, 1], "left_out": 0, "tasks": tasks}


def world(episodes: int, generator: np.random.Generator) -> dict[str, Any]:
    """Two trials in a plane: a goal, which is hidden from the agent, and the agent, which is somewhere else at each moment."""
    shapes: list[list[Any]] = [["polygon", 0, "#ffffff", [-1, -1, 1, -1, 1, 1]], ["disc", 1, "#e5a50a", [0.5, 0.5], 0.1]]
    trials = []
    for _ in range(2):
        told = []
        for episode in range(episodes):
            trace = generator.uniform(-1, 1, size=(6 + episode % 2, 2)).round(3).tolist()
            shapes += [["disc", 0, "#0b6e99", place, 0.05] for place in trace]
            first = len(shapes) - len(trace)
            steps = list(range(len(trace)))
            ground, figures = [[0]] * len(trace), [[1, first + step] for step in steps]
            totals = generator.normal(size=len(trace)).round(3).tolist()
            told.append({"steps": steps, "totals": totals, "ground": ground, "figures": figures, "trace": trace})
        trials.append({"view": [-1, -1, 1, 1], "episodes": told})
    return {"every": 1, "shapes": shapes, "trials": trials}


def by_step(episodes: int, generator: np.random.Generator) -> dict[str, Any]:
    """Two trials of the same episodes as in `world`, each step with a belief, chances of cells and causes."""
    trials = []
    for task in range(2):
        lengths = [5 + episode % 2 for episode in range(episodes)]
        count = sum(lengths)
        chances = generator.dirichlet(np.ones(9), size=count).round(3).tolist()
        belief = {name: generator.uniform(0.1, 1, size=(2, count)).round(3).tolist() for name in ("mean", "std")}
        trials.append(
            {
                "task": {"goal row": task, "goal column": 0.5},
                "lengths": lengths,
                "moments": list(range(count)),
                "rewards": generator.normal(size=count).round(3).tolist(),
                "belief": belief,
                "exact": chances,
                "decoded": chances[::-1],
                "causes": [generator.normal(size=place + 1).round(3).tolist() for place in range(count)],
                "opens": 3 + task,
                "opens_for": "decoded",
            }
        )
    return {"size": 3, "entries": [2, 5], "trials": trials}


def mind(axes: int, generator: np.random.Generator) -> dict[str, Any]:
    """An embedding of 30 tasks, and what gradient steps did."""
    tasks = [{"at": generator.normal(size=axes).tolist(), "place": generator.normal(size=2).tolist()} for _ in range(30)]
    names = [f"goal {axis + 1}" for axis in range(axes)]
    pairs = generator.uniform(0, 1, size=(60, 2)).round(3).tolist()
    losses = generator.normal(size=(2, 2, 12)).round(3).tolist()
    return {
        "embedding": {"kind": "memory", "size": 64, "axes": names, "shares": [0.6, 0.3], "tasks": tasks},
        "inner": {"pairs": pairs, "losses": losses},
    }


def foreseen(episodes: int, changes: bool, generator: np.random.Generator) -> dict[str, Any]:
    """What a model foresaw in two trials of episodes of 12 and 13 steps, the world of which changes, or doesn't."""

    def bands(steps: list[int]) -> dict[str, Any]:
        low, middle, high = np.sort(generator.uniform(size=(3, len(steps))), axis=0).round(3).tolist()
        return {"steps": steps, "low": low, "middle": middle, "high": high}

    def path(steps: list[int]) -> dict[str, Any]:
        return {"steps": steps, "features": generator.normal(size=(2, len(steps))).round(3).tolist()}

    trials = []
    for task in range(2):
        lengths = [12 + episode % 2 for episode in range(episodes)]
        told = [
            {
                "length": length,
                "errors": {"steps": list(range(length)), "middle": generator.uniform(size=length).round(3).tolist()},
                "lived": path(list(range(length + 1))),
                "foreseen": [path([0, 1, 2, 3]), path([5, 6, 7, 8]), path([10, 11, 12])],
            }
            for length in lengths
        ]
        trials.append({"change": 4 + task if changes else None, "episodes": told})
    return {
        "ahead": 3,
        "tasks": 20,
        "features": 7,
        "names": ["<b>spin</b>"] if changes else [],
        "errors": [bands(list(range(13))) for _ in range(episodes)],
        "around": [bands(list(range(-3, 3))) for _ in range(episodes)] if changes else None,
        "story": {"before": 0.1, "at": 0.9, "later": 0.2, "from": 2, "to": 3} if changes else None,
        "trials": trials,
    }


def contents(
    luck: int = 0,
    *,
    seeds: int = 1,
    episodes: int = 4,
    points: int = 30,
    gaps: bool = False,
    metrics: int = 6,
    axes: int = 2,
    changes: bool = True,
) -> Any:
    """All that a page shows, as `quickstudy.report.contents` gives it."""
    generator = np.random.default_rng(luck)
    names = ["rollout/ep_rew_mean", "time/fps", "train/grad_norm", *(f"train/loss_{index}" for index in range(metrics - 3))]
    steps = [(index + 1) * 1000 for index in range(points)]
    along = {
        "iteration": list(range(1, points + 1)),
        "time/total_timesteps": steps,
        "time/time_elapsed": [s / 50 for s in steps],
    }
    lines = [along | {name: generator.normal(size=points).round(5).tolist() for name in names} for _ in range(seeds)]
    if gaps:
        for line in lines:
            for name in names:
                line[name] = [None if index % 7 in (3, 5) else value for index, value in enumerate(line[name])]
    made: dict[str, Any] = {"rows": points, "rows_per_point": 1, "metrics": names}
    made["seeds"] = [line | {"seed": seed} for seed, line in enumerate(lines)]
    if seeds > 1 and points:
        made["iqm"] = lines[0]
    validation = [
        {
            "iteration": index + 1,
            "steps": steps[index],
            "statistic": "mean",
            "returns": generator.normal(size=episodes).tolist(),
        }
        for index in range(0, points, 5)
    ]
    return {
        "title": "rl2 on grid-navigation",
        "run": "grid",
        "seeds": list(range(seeds)),
        "done": points,
        "iterations": points,
        "lived": 1000 * points,
        "most_steps": None,
        "facts": {"config": {"algorithm": {"name": "rl2"}}, "command": "quickstudy train", "system": {"python": "3.11"}},
        "styles": {
            who: look.told
            for who, look in zip(
                ("learner", "unadapted", "random", "informed", "bayes-optimal"),
                (LOOKS[name] for name in ("rl2", "unadapted", "random", "task-informed", "bayes-optimal")),
                strict=True,
            )
        },
        "adaptation": {
            "algorithm": "rl2",
            "split": "test",
            "splits": "partitioned",
            "tasks": 100,
            "greedy": False,
            "lanes": 1,
            "trained_episodes": episodes,
            "adapts": True,
            "gain": {"mean": 1.5, "mean_low": 0.5, "mean_high": 2.5, "says": "up"} if episodes > 1 else None,
            "budgets": {"fewest": {"run": 1, "steps": 1000}, "most": {"run": 0, "steps": 3000}, "times": 3},
            "curves": [
                curve(who, episodes, generator) for who in ("learner", "unadapted", "random", "informed", "bayes-optimal")
            ],
            "validation": validation,
        },
        "map": task_map(axes, episodes, generator),
        "world": world(episodes, generator),
        "steps": by_step(episodes, generator),
        "foreseen": foreseen(episodes, changes, np.random.default_rng(luck)),
        **mind(axes, generator),
        "series": made,
        "falls": [{"seed": seeds - 1, "iteration": 12, "best": 2.5, "last": -1}] if points else [],
        "made": "2026-11-25 21:00 UTC",
        "version": "0.1.0",
    }


def comparison(luck: int = 0, *, runs: int = 3, episodes: int = 4, learnt: int = 8) -> Any:
    """All that the page of a comparison shows, as `quickstudy.report.comparison` gives it."""
    generator = np.random.default_rng(luck)
    told = []
    looks = looks_of(["rl2"] * runs)
    for number in range(runs):
        middle = float(generator.normal())
        lines = {
            what: [[1000 * (step + 1), value] for step, value in enumerate(generator.normal(size=learnt).tolist())]
            for what in ("validation", "training")
        }
        told.append(
            {"run": f"runs/{number}", "algorithm": "rl2", "seeds": list(range(number + 1)), "lanes": 1}
            | {"mean": middle, "mean_low": middle - 0.5, "mean_high": middle + 0.7, "iqm": middle + 0.1}
            | {"interval_over": "seeds and tasks" if number else "tasks only", "validation_iqm": number == 1}
            | {"rows": curve("learner", episodes, generator)["rows"], "look": looks[number].told}
            | lines
        )
    shares = np.sort(generator.uniform(size=(runs, 21)), axis=1)[:, ::-1]
    return {
        "title": f"{runs} runs on grid-navigation",
        "tasks": 100,
        "split": "test",
        "splits": "partitioned",
        "greedy": False,
        "episodes": episodes,
        "runs": told,
        "budgets": {"fewest": {"run": 1, "steps": 1000}, "most": {"run": 0, "steps": 3000}, "times": 3},
        "improvement": [
            {"x": x, "y": y, "probability": chance, "low": chance - 0.1, "high": chance + 0.1}
            for x in range(runs)
            for y in range(x + 1, runs)
            for chance in [float(generator.uniform(0.1, 0.9))]
        ],
        "profile": {
            "taus": np.linspace(-3, 5, 21).tolist(),
            "runs": [
                {"share": row.tolist(), "low": (row * 0.9).tolist(), "high": (row * 0.9 + 0.1).tolist()} for row in shares
            ],
        },
        "made": "2026-11-26 01:00 UTC",
        "version": "0.1.0",
    }
