"""What is measured for docs/results.md: tasks, what is trained on them, and what stands beside it."""

from __future__ import annotations

from typing import Any, Literal

from works import Trained, Work, alone, from_scratch, not_fine_tuned, wiped

CHOSEN = "the best of five seeds by its last returns in training"
"""Which of its runs the paper on RL2 tells."""
BANDITS = (
    f"Bernoulli arms, each with a chance uniform on [0, 1]; published: Duan et al. 2016, table 1 (1,000 bandits, {CHOSEN}), and"
    " SNAIL, Mishra et al. 2018."
)
MDPS = (
    f"10 states, 5 actions, episodes of 10 steps; published: Duan et al. 2016, table 2 ({CHOSEN}), and SNAIL, Mishra et al."
    " 2018."
)
PLANS = (
    " replanning and RL3 are told more than RL2: that there are so many states and actions, which of them is seen, how long an"
    " episode lasts, that mean rewards are N(1, 1) and transitions Dirichlet(1). RL3 learns on top of that plan."
)


def bandit(arms: int, pulls: int, recipe: str, best: str, num_tasks: int = 10_000, seeds: int = 2, **others: Any) -> Work:
    """One row of table 1."""
    exact = ("bayes-optimal",) if best == "bayes-optimal" else ()
    strategies = (*exact, "gittins", "ucb1", "thompson-sampling", "greedy", "epsilon-greedy", "random", "optimal")
    options = {"arms": arms, "pulls": pulls}
    return Work(
        f"{arms} arms, {pulls} pulls. {BANDITS}",
        "bandit",
        options,
        num_tasks,
        strategies,
        {"RL2": Trained(recipe, seeds, wiped("step"))},
        best,
        **others,
    )


MDPS_TRIED = (
    "Why it is missed: the agent learns little about which state an action paid in, and slowly. The published run is"
    " first-order PPO with a cap on the KL, though the paper says TRPO, has a second network of 256 units for the value, and"
    " takes 250,000 steps an update: its curve goes to 1,250 M steps, 35 times ours. A public reproduction"
    " (github.com/lucaslingle/pytorch_rl2) tells the peak over its training, 157.3, and had 128 after 144 M steps with its"
    " first settings. Tried for ten episodes: an entropy bonus of 0.02 or gamma"
    " 0.99, nothing learnt for millions of steps; the observation before as a further input, and gates that begin by"
    " remembering (chrono initialisation), no gain; a memory of fast weights (delta rule, 4 heads of 16 x 16) behind the GRU:"
    " 11.3 an episode after 4.7 M steps, which takes the GRU alone 10 M, at half its speed. A value of its own and spread first"
    " weights (96 units, one seed, in training): 117 a trial after 7.4 M steps with minibatches of 64 trials, gamma 0.95 and"
    " lambda 0.9, where it stays, the entropy at 0.45; gamma 0.99 with lambda 0.3 and a rate of 1e-3 is quicker, 112 after"
    " 1.3 M, and stays at 114 to 2.8 M, the entropy at 0.33; a bonus of 0.01 with gamma 0.95 learns later (101.5 after 1.0 M)."
    " Small minibatches harm here (ablation.md)."
    " At 9,700 steps a second of a core, 36 M steps of it cost an hour."
)


def mdp(episodes: int, variant: str, **others: Any) -> Work:
    """One row of table 2."""
    samplers = (
        "replanning",
        "greedy",
        "optimistic-psrl",
        "optimistic-psrl --prior-mean 0",
        "psrl",
        "psrl --prior-mean 0",
        "random",
    )
    return Work(
        f"{episodes} episodes a trial. {MDPS} The published PSRL figures are met with a prior of mean 0 for the rewards, which"
        f" are N(1, 1) in truth.{PLANS}",
        "tabular-mdp",
        {"episodes_per_trial": episodes},
        1000,
        ("optimal", *samplers),
        {
            "RL2": Trained(f"tabular-mdp/rl2{variant}", 1, wiped("step")),
            "RL3": Trained(f"tabular-mdp/rl3{variant}", 3),
        },
        "optimal",
        tried=MDPS_TRIED,
        **others,
    )


def half_cheetah(hidden: Literal["direction", "velocity"], **others: Any) -> Work:
    """RL2, MAML and both baselines on half-cheetahs."""
    steps = {"max_episode_steps": 100} if hidden == "direction" else {}
    family, others_of = f"half-cheetah-{hidden}", {"RL2": wiped("step"), "MAML": from_scratch}
    return Work(
        family=family,
        options=steps,
        num_tasks=200,
        untrained=("random",),
        trained={
            name: Trained(f"{family}/{name.lower()}", 1, others_of.get(name, alone), extrapolates=hidden == "velocity")
            for name in ("RL2", "MAML", "task-informed", "multi-task")
        },
        best="task-informed",
        lanes=20,
        picture=f"half-cheetah-{hidden}: return on 200 held-out tasks",
        **others,
    )


def metaworld(benchmark: Literal["ML10", "ML45"], environments: str) -> Work:
    """RL2 on one of Meta-World's benchmarks of several environments, by its protocol."""
    family = f"metaworld-{benchmark.lower()}"
    return Work(
        f"Meta-World's {benchmark}: trained in {environments} environments, tested in five others, 20 of the 50 test goals in"
        " each. By its protocol: 10 episodes of 500 steps to adapt on, then 3 in which what was learnt is frozen, here the last"
        " ones. A row for the record: published runs have hundreds of times these steps.",
        family,
        {},
        100,
        ("random",),
        {"RL2": Trained(f"{family}/rl2", 1)},
        "RL2",
        success=True,
        frozen=3,
    )


GLUCOSE_RULES = (
    "basal-bolus --settings told",
    "basal-bolus",
    "basal-bolus --settings weight",
    "run-to-run",
    "pid",
    "random",
)

WORKS: dict[str, Work] = {
    "bandit-5x10": bandit(
        5,
        10,
        "bandit/rl2",
        "bayes-optimal",
        published={
            "RL2": 6.7,
            "gittins": 6.6,
            "ucb1": 6.7,
            "thompson-sampling": 5.7,
            "greedy": 6.6,
            "random": 5.0,
            "SNAIL": 6.6,
        },
        reach={"RL2": 6.59},
    ),
    "bandit-10x10": bandit(
        10,
        10,
        "bandit/rl2-10x10",
        "bayes-optimal",
        published={
            "RL2": 6.7,
            "gittins": 6.6,
            "ucb1": 6.7,
            "thompson-sampling": 5.5,
            "greedy": 6.6,
            "random": 5.0,
            "SNAIL": 6.7,
        },
        reach={"RL2": 6.58},
    ),
    "bandit-5x100": bandit(
        5,
        100,
        "bandit/rl2-5x100",
        "gittins",
        published={
            "RL2": 78.7,
            "gittins": 78.3,
            "ucb1": 78.0,
            "thompson-sampling": 74.7,
            "greedy": 74.8,
            "random": 49.9,
            "SNAIL": 79.1,
        },
        reach={"RL2": 78.4},
        tried="Before, with a value that shared the policy's memory: 77.9 after 51 M steps, seven times as many.",
    ),
    "bandit-10x100": bandit(
        10,
        100,
        "bandit/rl2-10x100",
        "gittins",
        published={
            "RL2": 83.5,
            "gittins": 82.8,
            "ucb1": 82.4,
            "thompson-sampling": 76.7,
            "greedy": 77.1,
            "random": 49.9,
            "SNAIL": 83.5,
        },
        reach={"RL2": 82.0},
        tried="On the way: with a value that shared the policy's memory, first weights of gain 1 and minibatches of 341 trials "
        "it had 76.8 after 51 M steps and gained no more after 30 M; now it has that after 1.2 M. The published run is "
        "first-order PPO with a cap on the KL, though the paper says TRPO, has a second network of 256 units for the value, "
        "and takes 250,000 steps an update: its curve goes to 150 M steps.",
    ),
    "bandit-5x500": bandit(
        5, 500, "bandit/rl2-5x500", "gittins", num_tasks=1000, seeds=1, published={"RL2": 401.6, "gittins": 405.8}
    ),
    "bandit-10x500": bandit(
        10, 500, "bandit/rl2-10x500", "gittins", num_tasks=1000, seeds=1, published={"RL2": 432.5, "gittins": 437.8}
    ),
    "tabular-mdp-10": mdp(
        10,
        "",
        published={
            "RL2": 156.2,
            "optimistic-psrl --prior-mean 0": 144.1,
            "psrl --prior-mean 0": 138.1,
            "random": 100.1,
            "SNAIL": 159.1,
            "UCRL2": 146.6,
            "BEB": 150.2,
        },
        reach={"RL2": 135.0, "RL3": 157.5},
    ),
    "tabular-mdp-25": mdp(
        25,
        "-25-episodes",
        published={
            "RL2": 445.7,
            "optimistic-psrl --prior-mean 0": 425.2,
            "psrl --prior-mean 0": 408.8,
            "random": 250.2,
            "SNAIL": 447.2,
            "UCRL2": 424.1,
            "BEB": 427.8,
        },
        reach={"RL2": 442.0, "RL3": 445.7},
    ),
    "grid-navigation": Work(
        "5x5 cells, the goal hidden, 4 episodes of 15 steps a trial. VariBAD (Zintgraf et al. 2020) is fully optimal in 4 of 20"
        " seeds, its RL2 in none.",
        "grid-navigation",
        {},
        1000,
        ("bayes-optimal", "posterior-sampling", "random", "optimal"),
        {"RL2": Trained("grid-navigation/rl2", 3, wiped("episode")), "VariBAD": Trained("grid-navigation/varibad", 3)},
        "bayes-optimal",
        reach={"RL2": 36.8, "VariBAD": 36.8},
        picture="A goal hidden anew in each trial: return on 1,000 held-out trials",
    ),
    "frozen-lake": Work(
        "5x5 tiles, holes hidden, 15 episodes of at most 34 steps a trial (512 steps in AMAGO's MetaFrozenLake, which doesn't"
        " limit an episode); the return of an episode is its success. AMAGO's figure: .25, .40, .57, .68, .74 in episodes 1 to"
        " 5 and .90 in episode 13, after 5.7 M steps; RL2 was to reach .80 there.",
        "frozen-lake",
        {},
        1000,
        ("random",),
        {
            "RL2": Trained("frozen-lake/rl2", 2, wiped("episode")),
            "RL2-5.7M": Trained("frozen-lake/rl2-short", 1),
            "recurrent-SAC": Trained("frozen-lake/recurrent-sac", 1),
        },
        "RL2",
        tried="RL2-5.7M has 6.36 M steps in the end, since its episodes grow longer as it learns; in training, on lakes that"
        " are drawn anew, episode 13 had succeeded in .897 (the mean of 13 meta-iterations) between 5.5 and 5.7 M steps.",
        picture="Holes hidden anew in each trial: success on 1,000 held-out lakes",
    ),
    "point-navigation": Work(
        "Goals in a square of side 1, dense reward, 4 episodes of 100 steps; MAML and from-scratch live 20 lanes at once.",
        "point-navigation",
        {"episodes_per_trial": 4},
        400,
        ("random",),
        {
            "RL2": Trained("point-navigation/rl2", 2, wiped("episode"), extrapolates=True),
            "MAML": Trained("point-navigation/maml", 2, from_scratch, extrapolates=True),
            "task-informed": Trained("point-navigation/task-informed", 2, extrapolates=True),
            "multi-task": Trained("point-navigation/multi-task", 2, extrapolates=True),
            "multi-task-SAC": Trained("point-navigation/multi-task-sac", 1, not_fine_tuned, extrapolates=True),
        },
        "task-informed",
        picture="point-navigation: return on 400 held-out goals",
        lanes=20,
    ),
    "point-navigation-ends": Work(
        "The same goals, where an episode ends within 0.01 of the goal on both axes, as in the code of MAML's paper (Finn et"
        " al. 2017). Its table 4, after 0 to 3 steps of 40 episodes each: -40.41, -11.68, -3.33, -3.23; here a step has 20.",
        "point-navigation",
        {"ends_at_goal": True, "episodes_per_trial": 4},
        400,
        ("random",),
        {"MAML": Trained("point-navigation/maml-ends", 1, from_scratch)},
        "MAML",
        lanes=20,
    ),
    "cart-pole": Work(
        "A trial is 2 episodes of at most 500 steps; pole, gravity and force vary, and the buttons may be swapped.",
        "cart-pole",
        {},
        500,
        ("random",),
        {
            "RL2": Trained("cart-pole/rl2", 2, wiped("step"), extrapolates=True),
            "task-informed": Trained("cart-pole/task-informed", 2, extrapolates=True),
            "multi-task": Trained("cart-pole/multi-task", 2, extrapolates=True),
        },
        "task-informed",
        picture="cart-pole: return on 500 held-out carts",
    ),
    "cart-pole-maml": Work(
        "Episodes of at most 200 steps, before and after one inner step on 20 lanes.",
        "cart-pole",
        {"max_episode_steps": 200},
        400,
        ("random",),
        {"MAML": Trained("cart-pole/maml", 2, from_scratch, extrapolates=True)},
        "MAML",
        lanes=20,
    ),
    "half-cheetah-direction": half_cheetah(
        "direction",
        says="Forward or backward, hidden; a trial is 2 episodes of 100 steps, MAML lives 20 lanes at once. Both directions are"
        " met in training. RLlib's MAML reached +262 after its inner step, after 211 M steps.",
        by="direction",
    ),
    "half-cheetah-velocity": half_cheetah(
        "velocity",
        says="A speed up to 3 m/s, hidden; a trial is 2 episodes of 200 steps, MAML lives 20 lanes at once.",
    ),
    "half-cheetah-velocity-200k": Work(
        "The same, after 200,000 environment steps: what a replay is worth.",
        "half-cheetah-velocity",
        {},
        200,
        ("random",),
        {
            "PEARL": Trained("half-cheetah-velocity/pearl", 1),
            "RL2": Trained("half-cheetah-velocity/rl2-200k", 1),
            "MAML": Trained("half-cheetah-velocity/maml-200k", 1),
        },
        "PEARL",
        lanes=20,
        picture="half-cheetah-velocity after 200,000 steps: return on 200 held-out tasks",
    ),
    "sparse-navigation": Work(
        "Goals on a half-circle that pay only within 0.2, in trials of 6 episodes of 20 steps, after 600,000 environment steps."
        " PEARL's critics are trained on the dense reward, as in the paper; what it sees, and what all are scored by, is the"
        " sparse one. VariBAD has HyperX's bonuses. MAML takes an inner step after 20 lanes of an episode.",
        "point-navigation",
        {"layout": "half-circle", "payoff": "sparse", "max_episode_steps": 20, "episodes_per_trial": 6},
        400,
        ("random",),
        {
            "PEARL": Trained("point-navigation/pearl-sparse", 1),
            "RL2": Trained("point-navigation/rl2-sparse", 1),
            "VariBAD": Trained("point-navigation/varibad-sparse", 1),
            "MAML": Trained("point-navigation/maml-sparse", 1),
        },
        "PEARL",
        lanes=20,
        picture="Sparse point navigation: return on 400 held-out goals",
    ),
    "traffic-signal": Work(
        "Lights of a crossing whose demand, saturation flow and dead detectors are hidden: 4 half hours a trial, -1 for an hour"
        " that a vehicle waits. webster, actuated and max-pressure have settings that score best on training tasks; told ones"
        " know demand, saturation flow and which detectors are dead. Rules decide every 5 seconds, learners every 15. Delay per"
        " vehicle in seconds, throughput in vehicles an hour.",
        "traffic-signal",
        {},
        500,
        ("random", *(f"{rule}{told}" for rule in ("webster", "actuated", "max-pressure") for told in ("", " --settings told"))),
        {
            "RL2": Trained("traffic-signal/rl2", 3, wiped("episode"), extrapolates=True),
            "VariBAD": Trained("traffic-signal/varibad", 1),
            "task-informed": Trained("traffic-signal/task-informed", 1),
        },
        "max-pressure --settings told",
        picture="A crossing with half its detectors dead: return of half an hour on 500 held-out tasks",
    ),
    "glucose": Work(
        "Insulin for a patient whose body is hidden: 5 days a trial, on six of the thirty virtual patients that were not met in"
        " training. basal-bolus, run-to-run and pid have the settings that score best on training patients; told ones are the"
        " patient's own. Times are in percent of the day.",
        "glucose",
        {},
        300,
        GLUCOSE_RULES,
        {
            "RL2": Trained("glucose/rl2", 3, wiped("episode")),
            "VariBAD": Trained("glucose/varibad", 1),
            "task-informed": Trained("glucose/task-informed", 1),
        },
        "basal-bolus --settings told",
        picture="Insulin for an unknown patient: return of a day on 300 held-out trials",
    ),
    "glucose-adults": Work(
        "The same, trained on seven adults; extrapolation is adolescents and children.",
        "glucose",
        {"train_on": "adults"},
        300,
        GLUCOSE_RULES,
        {"RL2": Trained("glucose/rl2-adults", 1, extrapolates=True)},
        "basal-bolus --settings told",
    ),
    "metaworld-reach": Work(
        "Meta-World's ML1, reach-v3: a place to reach, hidden; 50 goals in training, 50 others here, five times each. A trial"
        " is 3 episodes of 60 steps (500 in the benchmark).",
        "metaworld-ml1",
        {"max_episode_steps": 60, "episodes_per_trial": 3},
        250,
        ("random",),
        {"RL2": Trained("metaworld-ml1/rl2", 1, wiped("step"))},
        "RL2",
        success=True,
        picture="Meta-World ML1, reach: return on its 50 test goals, five times each",
    ),
    "metaworld-reach-100": Work(
        "The same with episodes of 100 steps, in which an arm gets there.",
        "metaworld-ml1",
        {"max_episode_steps": 100, "episodes_per_trial": 3},
        250,
        ("random",),
        {"RL2": Trained("metaworld-ml1/rl2-100-steps", 1, wiped("episode"))},
        "RL2",
        success=True,
        picture="Meta-World ML1, reach, 100 steps: return on its 50 test goals, five times each",
    ),
    "poker": Work(
        "Kuhn's game, 50 hands against an opponent who makes no plain mistakes. Returns are chips, the luck of the cards"
        " among them: docs/domains/poker.md has what each hand is worth exactly.",
        "poker",
        {},
        500,
        ("random", "equilibrium", "best-response", "best-response --settings told", "bayes-best-response"),
        {
            "RL2": Trained("poker/rl2", 3, wiped("episode")),
            "VariBAD": Trained("poker/varibad", 1),
            "task-informed": Trained("poker/task-informed", 1),
        },
        "best-response --settings told",
    ),
    "poker-styles": Work(
        "The same against styles of six numbers; loose and aggressive opponents are met in extrapolation alone.",
        "poker",
        {"opponents": "styles"},
        500,
        ("random", "equilibrium", "best-response", "best-response --settings told", "bayes-best-response"),
        {"RL2": Trained("poker/rl2-styles", 1, wiped("episode"), extrapolates=True)},
        "best-response --settings told",
    ),
    "metaworld-ml10": metaworld("ML10", "ten"),
    "metaworld-ml45": metaworld("ML45", "forty-five"),
}
"""Every table of the page, by name."""
