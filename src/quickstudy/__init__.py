"""Meta-reinforcement learning: agents that meta-learn on a distribution of tasks and adapt to a new one in a few episodes."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from quickstudy.algorithms import PUBLIC as METHODS

if TYPE_CHECKING:
    from quickstudy import tasks as tasks
    from quickstudy.algorithms import *  # noqa: F403
    from quickstudy.check.gap import gap as gap
    from quickstudy.check.learner import check_learner as check_learner
    from quickstudy.check.tasks import check_tasks as check_tasks
    from quickstudy.data.session import Session as Session
    from quickstudy.errors import EnvironmentFault as EnvironmentFault
    from quickstudy.errors import NotFinite as NotFinite
    from quickstudy.errors import QuickstudyError as QuickstudyError
    from quickstudy.errors import UsageError as UsageError
    from quickstudy.evaluation import evaluate as evaluate
    from quickstudy.exporting.files import export as export
    from quickstudy.families.union import Union as Union
    from quickstudy.libraries.folder import library as library
    from quickstudy.libraries.library import Library as Library
    from quickstudy.libraries.library import Weighing as Weighing
    from quickstudy.oracles import oracle as oracle
    from quickstudy.plots import plot_adaptation as plot_adaptation
    from quickstudy.recipes.tuned import tuned as tuned
    from quickstudy.report.frame import frame as frame
    from quickstudy.report.notebook import show as show
    from quickstudy.runs import load as load
    from quickstudy.scores import Evaluation as Evaluation
    from quickstudy.tasks.encoded import Encoded as Encoded
    from quickstudy.tasks.gymnasium_tasks import GymnasiumTasks as GymnasiumTasks
    from quickstudy.tasks.informed import Informed as Informed
    from quickstudy.tasks.native import NativeTasks as NativeTasks
    from quickstudy.tasks.parameters import Choice as Choice
    from quickstudy.tasks.parameters import Dirichlet as Dirichlet
    from quickstudy.tasks.parameters import LogUniform as LogUniform
    from quickstudy.tasks.parameters import Normal as Normal
    from quickstudy.tasks.parameters import Uniform as Uniform
    from quickstudy.tasks.repeated import Repeated as Repeated
    from quickstudy.tasks.rows import Rows as Rows
    from quickstudy.tasks.shifted import Shifted as Shifted
    from quickstudy.tasks.without import Without as Without
    from quickstudy.training import resume as resume
    from quickstudy.training import train as train
    from quickstudy.transferring.sequence import transfer_sequence as transfer_sequence
    from quickstudy.transferring.start import FineTuning as FineTuning
    from quickstudy.transferring.transfer import transfer as transfer
    from quickstudy.video.files import save_video as save_video
    from quickstudy.video.film import film as film
    from quickstudy.wrappers.forgetful import Forgetful as Forgetful
    from quickstudy.wrappers.normalised import Normalisation as Normalisation
    from quickstudy.wrappers.normalised import Normalised as Normalised

PUBLIC = METHODS | {
    "tasks": "tasks",
    "gap": "check.gap",
    "Normalised": "wrappers.normalised",
    "Normalisation": "wrappers.normalised",
    "Forgetful": "wrappers.forgetful",
    "GymnasiumTasks": "tasks.gymnasium_tasks",
    "NativeTasks": "tasks.native",
    "Informed": "tasks.informed",
    "Encoded": "tasks.encoded",
    "Repeated": "tasks.repeated",
    "Rows": "tasks.rows",
    "Shifted": "tasks.shifted",
    "Without": "tasks.without",
    "Union": "families.union",
    "Dirichlet": "tasks.parameters",
    "Uniform": "tasks.parameters",
    "Normal": "tasks.parameters",
    "Choice": "tasks.parameters",
    "LogUniform": "tasks.parameters",
    "library": "libraries.folder",
    "Library": "libraries.library",
    "Weighing": "libraries.library",
    "Session": "data.session",
    "oracle": "oracles",
    "tuned": "recipes.tuned",
    "train": "training",
    "resume": "training",
    "transfer": "transferring.transfer",
    "transfer_sequence": "transferring.sequence",
    "FineTuning": "transferring.start",
    "evaluate": "evaluation",
    "Evaluation": "scores",
    "load": "runs",
    "export": "exporting.files",
    "show": "report.notebook",
    "frame": "report.frame",
    "check_tasks": "check.tasks",
    "check_learner": "check.learner",
    "plot_adaptation": "plots",
    "film": "video.film",
    "save_video": "video.files",
    "QuickstudyError": "errors",
    "UsageError": "errors",
    "EnvironmentFault": "errors",
    "NotFinite": "errors",
}
"""Each public name and the module it comes from, imported when first used: `quickstudy --help` must not wait for PyTorch."""

__all__ = list(PUBLIC)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("quickstudy")
    if name not in PUBLIC:
        raise AttributeError(f"module 'quickstudy' has no attribute '{name}'")
    module = import_module(f"quickstudy.{PUBLIC[name]}")
    return module if name == PUBLIC[name] else getattr(module, name)


def __dir__() -> list[str]:
    return __all__
