"""`python -m quickstudy.cli.indexing` writes `index.json` anew, from the classes: `make index`."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

from quickstudy.algorithms import ALGORITHMS, BASELINES
from quickstudy.families import FAMILIES
from quickstudy.index import table_of
from quickstudy.libraries.library import Weighing
from quickstudy.oracles import ORACLES
from quickstudy.runs.config import Training
from quickstudy.storage import write_atomically
from quickstudy.tasks.parameters import splits_of
from quickstudy.transferring.start import FineTuning
from quickstudy.wrappers.normalised import Normalisation

PLACE = Path(__file__).parents[1] / "index.json"


def written() -> str:
    """The index as it must be."""
    sections = {
        "algorithms": {
            name: {
                "summary": entry.summary,
                "observations": entry.observations,
                "actions": entry.actions,
                "extra": entry.extra,
                "options": table_of(entry.config),
            }
            for name, entry in ALGORITHMS.items()
        },
        "baselines": {name: {"summary": entry.summary, "options": {}} for name, entry in BASELINES.items()},
        "oracles": {
            name: {"summary": entry.summary, "for": list(entry.make), "options": table_of(entry.options)}
            for name, entry in ORACLES.items()
        },
        "tasks": {name: tasks_entry(entry) for name, entry in FAMILIES.items()},
        "training": table_of(Training),
        "normalisation": table_of(Normalisation),
        "library": table_of(Weighing),
        "transfer": table_of(FineTuning),
    }
    return json.dumps(sections, indent=1, ensure_ascii=False) + "\n"


def tasks_entry(entry: Any) -> dict[str, Any]:
    """What is known of a family, as it is by default."""
    options = entry.options()
    return {
        "summary": first_sentence(entry.options),
        "about": inspect.getdoc(entry.options),
        "extra": entry.simulator.extra,
        "parameters": {name: str(parameter) for name, parameter in options.parameters.items()},
        "splits": getattr(options, "splits", None) or splits_of(options.parameters),
        "options": table_of(entry.options),
    }


def first_sentence(thing: Any) -> str:
    """The first sentence of a docstring."""
    return (thing.__doc__ or "").strip().split("\n")[0].split(". ")[0].rstrip(".")


if __name__ == "__main__":
    write_atomically(PLACE, written())
