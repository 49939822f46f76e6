"""Writes the table of docs/gradients.md and draws its picture: bias, variance, cosine and cost of meta-gradient estimators.

    python benchmarks/gradients.py

A random MDP of few states, whose values are sums in closed form, Q_t = r + P V_{t+1}. The meta-gradient of the return after an
inner step is then known by automatic differentiation of that formula, and each estimator is the library's own inner step, on so
many episodes, again and again. Half a minute of a core.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from quickstudy.algorithms.gradient.maml import above_others, teaching
from quickstudy.nets.distributions import Categorical
from quickstudy.parts.gradient import Inner, Samples, Start, adapted, forward

ROOT = Path(__file__).parent.parent
PAGE, PICTURE = ROOT / "docs" / "gradients.md", ROOT / "docs" / "gradients.png"
BEGIN, END = "<!-- estimators, by benchmarks/gradients.py -->", "<!-- end of estimators -->"
STATES, ACTIONS, HORIZON, RATE = 5, 4, 5, 5.0
EPISODES = 4, 16, 64, 256
BATCHES = 200


class Table(nn.Module):
    """Logits of the actions in each state."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(STATES, ACTIONS))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs @ self.table


class World(NamedTuple):
    """A random MDP and the policy from which adapting begins."""

    moves: Tensor
    """Chances of the next state (state, action, state)."""
    pays: Tensor
    """Reward of (state, action)."""
    logits: Tensor

    @staticmethod
    def drawn(seed: int) -> World:
        generator = torch.Generator().manual_seed(seed)
        shares = torch.rand(STATES, ACTIONS, STATES, generator=generator, dtype=torch.float64).log().neg()
        pays = torch.randn(STATES, ACTIONS, generator=generator, dtype=torch.float64)
        return World(
            shares / shares.sum(-1, keepdim=True), pays, 0.5 * torch.randn(STATES, ACTIONS, generator=generator).double()
        )

    def to_go(self, logits: Tensor) -> list[Tensor]:
        """Returns that are left at each step, by state and action: r + P V, V = sum of pi Q, and nothing after the end."""
        policy, after = logits.softmax(-1), torch.zeros(STATES, dtype=torch.float64)
        found = []
        for _ in range(HORIZON):
            found.append(self.pays + self.moves @ after)
            after = (policy * found[-1]).sum(-1)
        return found[::-1]

    def value(self, logits: Tensor) -> Tensor:
        """The expected return from the first state."""
        return (logits.softmax(-1)[0] * self.to_go(logits)[0][0]).sum()

    def lived(self, logits: Tensor, batches: int, episodes: int, generator: torch.Generator) -> Samples:
        """Batches of episodes by a policy, (batch, episode, time), with returns to go less the values as advantages."""
        policy = logits.softmax(-1)
        state, states, actions = torch.zeros(batches, episodes, dtype=torch.long), [], []
        for _ in range(HORIZON):
            action = drawn_from(policy[state], generator)
            states.append(state)
            actions.append(action)
            state = drawn_from(self.moves[state, action], generator)
        seen, done = torch.stack(states, -1), torch.stack(actions, -1)
        returns = self.pays[seen, done].flip(-1).cumsum(-1).flip(-1)
        values = torch.stack([(policy * each).sum(-1) for each in self.to_go(logits)])
        advantage = returns - values[torch.arange(HORIZON), seen]
        inputs = nn.functional.one_hot(seen, STATES).double()
        parameters = inputs @ logits
        first = torch.zeros_like(seen, dtype=torch.bool)
        first[..., 0] = True
        log_prob = Categorical(ACTIONS).log_prob(parameters, done)
        return Samples(inputs, done, log_prob, parameters, advantage, first, torch.ones_like(first))


def drawn_from(chances: Tensor, generator: torch.Generator) -> Tensor:
    """A number by each row of chances."""
    share = torch.rand(*chances.shape[:-1], 1, generator=generator, dtype=torch.float64)
    return (share > chances.cumsum(-1)).sum(-1).clamp(max=chances.shape[-1] - 1)


class Estimator(NamedTuple):
    """A meta-gradient: what the inner loss weighs steps by, and what is left out or added."""

    ratio: Literal["path", "step", "none"]
    ratio_lambda: float = 1.0
    first_order: bool = False
    credited: bool = False

    @property
    def inner(self) -> Inner:
        net: Any = Table()
        shape = (None, net, Categorical(ACTIONS), self.ratio, self.first_order, 1.0, 1.0)
        return Inner(*shape, ratio_lambda=self.ratio_lambda)  # type: ignore[arg-type]


ESTIMATORS = {
    "path (DiCE)": Estimator("path"),
    "lambda 0.5 (Loaded DiCE)": Estimator("path", 0.5),
    "step (ProMP)": Estimator("step"),
    "log pi (first MAML codes)": Estimator("none"),
    "log pi and credit (E-MAML)": Estimator("none", credited=True),
    "first order (FOMAML)": Estimator("step", first_order=True),
}


def truth(world: World) -> Tensor:
    """Of J(theta + alpha grad J(theta) / T): the inner loss is a mean over steps."""
    leaf = world.logits.clone().requires_grad_()
    [slope] = torch.autograd.grad(world.value(leaf), leaf, create_graph=True)
    return torch.autograd.grad(world.value(leaf + RATE * slope / HORIZON), leaf)[0]


def estimates(world: World, estimator: Estimator, episodes: int, batches: int, seed: int) -> Tensor:
    """So many independent meta-gradients (batch, state, action), each from `episodes` episodes before adapting.

    After it, the value in closed form stands for episodes, so that what is seen is what adapting does to the estimate.
    """
    inner, generator = estimator.inner, torch.Generator().manual_seed(seed)
    before = world.lived(world.logits, batches, episodes, generator)
    # a set of first weights for each batch, so that one backward pass gives the gradient of each
    table = world.logits.expand(batches, -1, -1).clone().requires_grad_()
    start = Start({"table": table}, {"table": torch.tensor(RATE, dtype=torch.float64)})
    after = adapted(inner, start, before, 0).weights["table"]
    returns = torch.func.vmap(world.value)(after)
    gain = returns.sum()
    if estimator.credited:
        now = forward(inner.net, start.weights, before.inputs, 0)
        credit = above_others(returns.detach())  # the other batches stand for other tasks
        gain = gain + teaching(inner.distribution, [now], [before], [credit])
    return torch.autograd.grad(gain, table)[0]


def measured(world: World, estimator: Estimator, episodes: int, batches: int) -> dict[str, float]:
    """Bias and its standard error as shares of the true gradient, variance as a share of its square, cosine, seconds."""
    begun = time.process_time()
    found = estimates(world, estimator, episodes, batches, episodes).flatten(1)
    seconds = time.process_time() - begun
    exact = truth(world).flatten()
    spread = found.var(0).sum()
    return {
        "bias": float((found.mean(0) - exact).norm() / exact.norm()),
        "error": float((spread / batches).sqrt() / exact.norm()),
        "variance": float(spread / exact.square().sum()),
        "cosine": float(torch.cosine_similarity(found, exact[None]).mean()),
        "ms": 1000 * seconds / batches,
    }


def row(*cells: str) -> str:
    """A line of a table."""
    return "| " + " | ".join(cells) + " |"


def table(found: dict[str, list[dict[str, float]]]) -> str:
    """A row for each estimator: bias at each number of episodes, and the rest at the last."""
    lines = [
        row("estimator", *(f"bias, {count} episodes" for count in EPISODES), "variance", "cosine", "ms"),
        row(*["---"] * 8),
    ]
    for name, each in found.items():
        biases = [f"{one['bias']:.3f} (se {one['error']:.3f})" for one in each]
        last = each[-1]
        lines.append(row(name, *biases, f"{last['variance']:.3f}", f"{last['cosine']:.3f}", f"{last['ms']:.2f}"))
    return "\n".join(lines)


def draw(found: dict[str, list[dict[str, float]]], file: Path) -> None:
    """Bias, variance, cosine and cost against the number of episodes, a line for each estimator."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 4, figsize=(15, 3.6), layout="constrained")
    titles = {"bias": "bias", "variance": "variance", "cosine": "cosine of one estimate", "ms": "milliseconds of one estimate"}
    for axis, (key, title) in zip(axes, titles.items(), strict=True):
        for (name, each), mark in zip(found.items(), "osd^vP", strict=True):
            error = [one["error"] for one in each] if key == "bias" else None
            axis.errorbar(EPISODES, [one[key] for one in each], error, label=name, marker=mark, markersize=4, capsize=2)
        axis.set(title=title, xlabel="episodes", xscale="log", yscale="linear" if key == "cosine" else "log")
    axes[0].legend(fontsize=7)
    figure.savefig(file, dpi=110)


def main() -> None:
    """Measures, writes the page's table, draws its picture, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--batches", type=int, default=BATCHES, help="independent estimates of each")
    batches = parser.parse_args().batches
    torch.set_num_threads(1)
    world = World.drawn(0)
    for estimator in ESTIMATORS.values():  # the first call of each kind is slower
        estimates(world, estimator, 4, 2, 0)
    found = {name: [measured(world, estimator, count, batches) for count in EPISODES] for name, estimator in ESTIMATORS.items()}
    told = table(found)
    print(told)
    draw(found, PICTURE)
    before, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{told}\n\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
