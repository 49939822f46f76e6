"""What every learner's networks can be told: each option's type and its help, once, for all configurations to name."""

from __future__ import annotations

from typing import Annotated, Literal, Protocol, runtime_checkable

from typing_extensions import Doc

from quickstudy.errors import require_at_least

Cell = Literal["gru", "lstm", "gru-norm"]

Encoder = Annotated[
    Literal["none", "layer"],
    Doc("What reads inputs before all else: nothing, or a layer of hidden_size units."),
]
HiddenSize = Annotated[int, Doc("Units of each layer and, where there is one, of the memory.")]
HiddenLayers = Annotated[int, Doc("Hidden layers of each head: of policy, value, critics.")]
Activation = Annotated[Literal["tanh", "relu", "elu", "gelu", "silu"], Doc("What follows a hidden layer.")]
LayerNorm = Annotated[bool, Doc("Normalise what a hidden layer gives before its activation (Ba et al. 2016).")]
Memory = Annotated[Cell, Doc("The kind of memory; gru-norm is a GRU whose gates are normalised (Ba et al. 2016).")]
Initialisation = Annotated[
    Literal["spread", "orthogonal"],
    Doc(
        "First weights of encoder and memory: so large that units and gates tell inputs apart from the start, or of gain 1,"
        " with which a memory's gates are nearly linear."
    ),
]
Noise = Annotated[
    Literal["independent", "state-dependent"],
    Doc(
        "Noise of continuous actions: drawn anew at each step, or a function of what the policy sees that is held for a while"
        " (gSDE: Raffin et al. 2021), for goals that no independent pushes reach."
    ),
]
NoiseSteps = Annotated[
    int, Doc("Steps after which state-dependent noise is drawn anew, besides where an episode begins; 0: only there.")
]
Vision = Annotated[
    Literal["auto", "grid", "nature", "impala"],
    Doc(
        "What reads images: two small convolutions for grids, those of Mnih et al. 2015 (36 pixels or more), or the residual"
        " ones of IMPALA; auto: nature from 36 pixels on, grid below."
    ),
]
Language = Annotated[Literal["gru", "mean"], Doc("What reads texts: a GRU over their words, or the mean of their words.")]
Film = Annotated[bool, Doc("What texts say scales and shifts the planes in which images are read (FiLM: Perez et al. 2018).")]

Adapting = Literal["auto", "all", "head", "context", "biases"]
Adapt = Annotated[
    Adapting,
    Doc(
        "What an inner step moves: all weights, the last layer alone (ANIL: Raghu et al. 2020), the biases alone, or a context"
        " that the network reads beside what is seen (CAVIA: Zintgraf et al. 2019). auto: all, but the head where images,"
        " sounds or texts are read, whose convolutions cost many times as much with weights of each task."
    ),
]
NumContext = Annotated[
    int, Doc("context: numbers that the network reads beside what is seen, 0 where a task begins; they alone adapt.")
]


@runtime_checkable
class Senses(Protocol):
    """A configuration that says how images, sounds and texts are read."""

    @property
    def vision(self) -> Literal["auto", "grid", "nature", "impala"]: ...
    @property
    def language(self) -> Literal["gru", "mean"]: ...
    @property
    def film(self) -> bool: ...
    @property
    def hidden_size(self) -> int: ...
    @property
    def activation(self) -> Literal["tanh", "relu", "elu", "gelu", "silu"]: ...


@runtime_checkable
class Sizes(Protocol):
    """A configuration that says how large a network is."""

    @property
    def hidden_size(self) -> int: ...
    @property
    def hidden_layers(self) -> int: ...
    @property
    def activation(self) -> Literal["tanh", "relu", "elu", "gelu", "silu"]: ...


@runtime_checkable
class Network(Sizes, Protocol):
    """A configuration that has these options, those of memories and of what is seen aside."""

    @property
    def encoder(self) -> Literal["none", "layer"]: ...
    @property
    def layer_norm(self) -> bool: ...


class Seeing(Senses, Network, Protocol):
    """A configuration of a network and of how it reads."""


@runtime_checkable
class Contextual(Protocol):
    """A configuration that says what adapts."""

    @property
    def adapt(self) -> Adapting: ...
    @property
    def num_context(self) -> int: ...


def context_numbers(config: Contextual) -> int:
    """How many numbers of a context a network reads: none, where it isn't the context that adapts."""
    return config.num_context if config.adapt == "context" else 0


def require_network(what: str, config: Network) -> None:
    """Raises UsageError where a network can't have the sizes that are asked for."""
    require_at_least(1, what, config, "hidden_size")
    require_at_least(0, what, config, "hidden_layers")
