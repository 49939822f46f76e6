"""What is printed is plain text."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

import quickstudy
from quickstudy.printed import printable, say, tell
from quickstudy.report.page import data

SOURCE = Path(quickstudy.__file__).parent


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("one\ntwo\r", r"one\ntwo\r"),
        ("a\u202eb", r"a\u202eb"),
        ("\ud800", r"\ud800"),
        ("药物 剂量\u3000é", "药物 剂量\u3000é"),
    ],
)
def test_what_would_move_the_cursor_is_shown(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_notes_are_one_line_and_answers_keep_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    say("a\nb\x07")
    tell("a\nb\x07")
    told, said = capsys.readouterr()
    assert (told, said) == ("a\nb\\x07\n", "a\\nb\\x07\n")


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_nothing_is_printed_past_it(path: Path) -> None:
    if path.name == "printed.py":
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in ("print", "sys.stdout.write", "sys.stderr.write", "traceback.print_exc"), path


def test_pages_show_what_would_turn_their_text() -> None:
    text = "a\u202eb\x1b\x9b \\u202e \\\u2066\u2066 é \u00a0\n</script>"
    written = data({"name\u200f": text})
    assert json.loads(written) == {"name\\u200f": "a\\u202eb\\u001b\\u009b \\u202e \\\\u2066\\u2066 é \u00a0\n</script>"}
    assert "<" not in written
