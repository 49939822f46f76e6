"""`quickstudy doctor`: what there is on this machine, asked of the packages' metadata; nothing of them is imported."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import sys

from quickstudy.cli.options import name_next
from quickstudy.cli.words import Parser
from quickstudy.printed import tell

PACKAGES = ("quickstudy", "torch", "numpy", "gymnasium")


def doctor(arguments: list[str]) -> int:
    """`quickstudy doctor`."""
    parser = Parser(prog="quickstudy doctor", description="Shows what quickstudy finds on this machine.")
    parser.add_argument("--devices", action="store_true", help="import PyTorch, and name the devices that it can use")
    given = parser.parse_args(arguments)
    tell(f"python {sys.version.split()[0]} on {platform.platform()}")
    for name in PACKAGES:
        tell(f"{name} {importlib.metadata.version(name)}")
    tell(f"devices: {devices() if given.devices else devices_unasked()}")
    tell(f"cores: {os.cpu_count()}")
    for line in importlib.metadata.requires("quickstudy") or ():
        match = re.match(r"([\w.-]+).*extra == ['\"](\w+)['\"]", line)
        if match and match[1] != "quickstudy":
            tell(f"extra {match[2]}: {match[1]} {state_of(match[1], match[2])}")
    name_next("list")
    return 0


def devices() -> str:
    """The devices that PyTorch can use."""
    import torch

    names = [f"cuda:{number} ({torch.cuda.get_device_name(number)})" for number in range(torch.cuda.device_count())]
    return ", ".join(["cpu", *names])


def devices_unasked() -> str:
    """What can be said of devices without PyTorch, which takes seconds to import."""
    if importlib.metadata.version("torch").endswith("+cpu"):
        return "cpu (this PyTorch is built for no other)"
    return "cpu; which others PyTorch can use: quickstudy doctor --devices"


def state_of(package: str, extra: str) -> str:
    """The version of an extra's package, or how to install it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return f"missing; install it: pip install 'quickstudy[{extra}]'"
