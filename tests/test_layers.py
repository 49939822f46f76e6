"""Imports point down, an extra's package has one owner, algorithms never import each other, the public door is what it says."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import quickstudy

SOURCE = Path(quickstudy.__file__).parent
FLOORS = {
    "answers": 1,
    "arguments": 1,
    "bounds": 0,
    "errors": 0,
    "footprint": 0,
    "index": 1,
    "names": 0,
    "printed": 0,
    "protocol": 0,
    "ops": 1,
    "scene": 1,
    "storage": 1,
    "insight": 1,
    "looks": 1,
    "tables": 1,
    "data": 2,
    "runtime": 2,
    "nets": 2,
    "tasks": 2,
    "work": 2,
    "families": 3,
    "parts": 3,
    "scores": 3,
    "algorithms": 4,
    "oracles": 5,
    "wrappers": 5,
    "evaluation": 6,
    "runs": 6,
    "display": 6,
    "profiling": 6,
    "check": 7,
    "libraries": 7,
    "plots": 7,
    "exporting": 7,
    "report": 7,
    "video": 7,
    "training": 7,
    "transferring": 8,
    "live": 8,
    "recipes": 8,
    "cli": 9,
    "__main__": 10,
}
DOORS = SOURCE / "__init__.py", SOURCE / "tasks" / "__init__.py"
OWNERS = {
    "av": ("av", "video/files.py"),
    "box2d": ("Box2D",),  # Gymnasium imports it, and pygame
    "matplotlib": ("matplotlib", "plots.py", "recipes/cartpole_comparison.py"),
    "metaworld": ("metaworld", "families/metaworld"),
    "minigrid": ("minigrid", "families/minigrid"),
    "mlflow-skinny": ("mlflow", "runs/writers.py"),
    "model2vec": ("model2vec", "tasks/sentences.py"),
    "mujoco": ("mujoco", "tasks/mujoco", "families/metaworld"),
    "onnx": ("onnx", "exporting/tracing.py"),
    "onnxruntime": ("onnxruntime", "runtime/agent.py", "exporting/tracing.py"),
    "onnxscript": ("onnxscript", "exporting/tracing.py"),
    "packaging": ("packaging",),  # Meta-World imports it
    "pandas": ("pandas", "tables.py"),
    "pillow": ("PIL", "video/raster.py"),
    "pygame-ce": ("pygame",),
    "ray": ("ray", "work/ray_actors.py"),
    "sumo-rl": ("sumo_rl",),
    "libsumo": ("libsumo",),
    "tokenizers": ("tokenizers", "tasks/sentences.py"),
    "wandb": ("wandb", "runs/writers.py"),
}
"""Each package of an extra: what it is imported as, and the files and folders that alone may import it, in functions too."""
MODULES = [path for path in sorted(SOURCE.rglob("*.py")) if path not in DOORS]


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """The modules of quickstudy that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("quickstudy"):
            names |= {f"{node.module}.{alias.name}" for alias in node.names} if node.module.count(".") == 0 else {node.module}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names if alias.name.startswith("quickstudy.")}
    return {name.removeprefix("quickstudy.") for name in names}


def imported_from_elsewhere(path: Path) -> set[str]:
    """The packages that a file imports, anywhere in it, by statement or by `import_module` of a text."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names.add(ast.unparse(node.args[0]).lstrip("f").strip("'\""))
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_imports_only_from_lower_floors_or_its_own_room(path: Path):
    for name in imported(path):
        other = name.split(".")[0]
        allowed = other == room(path) or FLOORS[other] < FLOORS[room(path)]
        assert allowed, f"{path.name} (floor {FLOORS[room(path)]}) imports {name} (floor {FLOORS[other]})"


def test_every_package_of_an_extra_has_its_owners():
    """The extra for developers aside: its packages are no part of quickstudy."""
    extras = tomllib.loads((SOURCE.parent.parent / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    packages = {re.split(r"[^\w.-]", line)[0] for extra, lines in extras.items() if extra != "dev" for line in lines}
    assert packages == OWNERS.keys()
    for _, *owners in OWNERS.values():
        assert all((SOURCE / owner).exists() for owner in owners)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_packages_of_extras_are_imported_by_their_owners_only(path: Path):
    found = imported_from_elsewhere(path)
    for package, *owners in OWNERS.values():
        owned = any(path.is_relative_to(SOURCE / owner) for owner in owners)
        assert owned or package not in found, f"{path.name} imports {package}, which is for {' and '.join(owners) or 'nobody'}"


def test_algorithms_never_import_each_other():
    for path in (SOURCE / "algorithms").rglob("*.py"):
        if path != SOURCE / "algorithms" / "__init__.py":
            assert not {name for name in imported(path) if name.startswith("algorithms")}, path


def test_the_public_door_opens_on_what_it_lists_and_nothing_else():
    for name in quickstudy.__all__:
        assert getattr(quickstudy, name) is not None
    assert sorted(dir(quickstudy)) == sorted(quickstudy.__all__)
    assert quickstudy.__version__[0].isdigit()
    with pytest.raises(AttributeError, match="no attribute 'Rl2'"):
        quickstudy.Rl2  # noqa: B018


def test_the_table_of_families_imports_none_of_them():
    script = (
        "import sys; before = set(sys.modules); import quickstudy.families; new = set(sys.modules) - before;"
        " sys.exit(bool(new & {'torch', 'numpy', 'gymnasium'} or [n for n in new if n.startswith('quickstudy.families.')]))"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True).returncode == 0


def test_every_public_thing_says_what_it_is():
    for path in MODULES:
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), path
        for node in tree.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path.name}: {node.name}"
