"""The table of planted faults can't rot: each text stands where it is said to, and each test that is named is there."""

from __future__ import annotations

import ast
import sys
from collections import Counter
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def mutations() -> Any:
    """benchmarks/mutations.py."""
    spec = spec_from_file_location("benchmarks_mutations", ROOT / "benchmarks" / "mutations.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


FAULTS = mutations().faults()


def test_each_fault_changes_its_file_in_one_place_into_another_program():
    for fault in FAULTS:
        right = (ROOT / "src" / "quickstudy" / fault.file).read_text()
        wrong = fault.planted(right)  # ValueError where the text doesn't stand there once
        assert ast.dump(ast.parse(wrong)) != ast.dump(ast.parse(right)), fault.what


def test_each_test_that_is_named_is_a_quick_one_that_is_there():
    for fault in FAULTS:
        file, _, name = fault.test.partition("::")
        functions = {
            node.name: node for node in ast.parse((ROOT / "tests" / file).read_text()).body if isinstance(node, ast.FunctionDef)
        }
        assert name in functions, fault.test
        assert "pytest.mark.slow" not in map(ast.unparse, functions[name].decorator_list), fault.test


def test_no_fault_is_planted_twice_and_no_part_is_left_out():
    assert max(Counter((fault.file, fault.right, fault.wrong) for fault in FAULTS).values()) == 1
    assert len(FAULTS) >= 60
    assert {"ops", "data", "nets", "algorithms", "evaluation.py", "oracles"} <= {fault.file.split("/")[0] for fault in FAULTS}
