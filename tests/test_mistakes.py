"""The page of mistakes is what happens: each of its commands is run and gets the message that stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import gymnasium
import jaxtyping
import pytest

import quickstudy as qs
from quickstudy.cli import main
from quickstudy.protocol import counter

PAGE = (Path(__file__).parent.parent / "docs" / "mistakes.md").read_text()


def test_every_mistake_gets_its_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    for name, code in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.DOTALL):
        Path(name).write_text(code)
    transcripts = "\n".join(re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL))
    mistakes = re.findall(r"^\$ (.*?)\n(.*?)(?=^\$ |\Z)", transcripts, re.DOTALL | re.MULTILINE)
    assert len(mistakes) == 14
    for command, expected in mistakes:
        assert main(shlex.split(command)[1:]) in (1, 2), command
        output = capsys.readouterr()
        # the page leaves out what a command says that it is about to do
        error = "".join(line for line in output.err.splitlines(keepends=True) if not line.endswith(" ...\n"))
        said = (output.out + error).replace(f"{tmp_path}/", "").strip()
        pattern = ".*".join(re.escape(part.strip()) for part in expected.strip().split("..."))
        assert re.fullmatch(pattern, said, re.DOTALL), f"{command}\n{said}"


def test_every_mistake_in_python_gets_its_message():
    jaxtyping.config.update("jaxtyping_disable", True)  # or the tests' own checks of annotations come first
    [calls] = re.findall(r"```pycon\n(.*?)```", PAGE, re.DOTALL)
    mistakes = re.findall(r"^>>> (.*)\n(.*)$", calls, re.MULTILINE)
    assert len(mistakes) == calls.count(">>>") == 9
    names = {"qs": qs, "gymnasium": gymnasium, "tasks": qs.tasks.make("bandit"), "generator": counter(0, 0, "page")}
    for call, expected in mistakes:
        with pytest.raises(qs.UsageError) as caught:
            eval(call, names)
        assert str(caught.value) == expected
