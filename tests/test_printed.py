"""What is printed is plain text."""

from __future__ import annotations

import pytest

from quickstudy.printed import printable, say, tell


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
