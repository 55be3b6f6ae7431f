"""What pyproject.toml asks for and what constraints.txt pins."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ASKED = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
PINS = [
    Requirement(line)
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
]


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("python", ["3.11.0", "3.14.0"])
def test_constraints_pin_one_allowed_version_of_every_requirement(asked, python):
    asked = Requirement(asked)
    (pin,) = (
        pin
        for pin in PINS
        if canonicalize_name(pin.name) == canonicalize_name(asked.name)
        and (pin.marker is None or pin.marker.evaluate({"python_full_version": python}))
    )
    (exact,) = pin.specifier
    assert exact.operator == "==" and asked.specifier.contains(exact.version)
