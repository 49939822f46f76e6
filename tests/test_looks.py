"""Every method has one look, and any two can be told apart, by people without and with colour blindness."""

from __future__ import annotations

import re
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from quickstudy.algorithms import ALGORITHMS, BASELINES
from quickstudy.looks import LOOKS, look_of, looks_of, variables

SIGHT = {
    "normal": np.eye(3),
    "protanopia": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]),
}
"""What becomes of linear light, without one kind of cone (Machado et al. 2009, severity 1)."""
TO_CONES = np.array([[0.4122215, 0.5363325, 0.0514460], [0.2119035, 0.6806995, 0.1073970], [0.0883025, 0.2817188, 0.6299787]])
TO_OKLAB = np.array(
    [[0.2104543, 0.7936178, -0.0040720], [1.9779985, -2.4285922, 0.4505937], [0.0259040, 0.7827718, -0.8086758]]
)
"""Ottosson 2020: distances in OKLab are about those that are seen; .02 is hardly one."""
PAPERS = {"light": "#ffffff", "dark": "#1d2226"}


def linear(color: str) -> NDArray[np.floating]:
    parts = np.array([int(color[start : start + 2], 16) for start in (1, 3, 5)]) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def seen(color: str, sight: str) -> NDArray[np.floating]:
    return TO_OKLAB @ np.cbrt(np.clip(TO_CONES @ np.clip(SIGHT[sight] @ linear(color), 0, 1), 0, None))


def contrast(color: str, paper: str) -> float:
    """As the Web Content Accessibility Guidelines define it; drawings need 3."""
    low, high = sorted(float(linear(each) @ [0.2126, 0.7152, 0.0722]) for each in (color, paper))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", PAPERS)
def test_colours_lie_apart_for_everybody_and_stand_out_from_the_paper(theme: str):
    colors = {getattr(look, theme) for look in LOOKS.values()}
    assert len(colors) == 18  # who knows the best answer has one colour, who acts by chance another
    assert min(contrast(color, PAPERS[theme]) for color in colors) >= 3
    for sight in SIGHT:
        distances = {
            pair: float(np.linalg.norm(seen(pair[0], sight) - seen(pair[1], sight))) for pair in combinations(colors, 2)
        }
        nearest = min(distances, key=distances.__getitem__)
        assert distances[nearest] >= 0.06, (sight, nearest)


def test_colour_is_never_all_that_tells_two_methods_apart():
    assert len({(look.symbol, look.dash) for look in LOOKS.values()}) >= len(LOOKS) - 1


def test_every_method_has_a_look_and_keeps_it_in_any_company():
    assert {*ALGORITHMS, *BASELINES} <= LOOKS.keys()
    for name in LOOKS:
        if name != "unadapted":
            others = [other for other in ("mine", "rl2", "maml") if other != name]
            assert looks_of([*others, name])[-1] == LOOKS[name]
    assert (
        look_of("rl2, memory wiped every episode") == LOOKS["unadapted"]
        and look_of("near-bayes-optimal") == LOOKS["bayes-optimal"]
    )


def test_who_has_no_look_takes_the_next_one_that_nobody_in_the_picture_has():
    assert [look.name for look in looks_of(["mine", "rl2", "yours", "rl2"])] == ["varibad", "rl2", "maml", "pearl"]
    many = looks_of([f"mine {number}" for number in range(9)])
    assert len(set(many)) == 9 and looks_of(["rl2"] * 30)[0].name == "rl2"


def test_pages_know_the_colours_by_their_names():
    told = dict(re.findall(r"--of-([\w-]+): light-dark\((#\w+), #\w+\);", variables()))
    assert told == {name: look.light for name, look in LOOKS.items()}
