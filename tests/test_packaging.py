"""The declared dependencies are those that the code imports, and the lock holds them all, by version alone."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions

from tests.conftest import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
LOCK = (REPOSITORY / "requirements.lock").read_text().splitlines()
OPTIONAL = {"boto3"}  # looked for by `racing doctor`, never needed
EXTRAS = {"tensorboard", "wandb"}  # each the name of its only package; imported where it is turned on
COMMANDS = {"mypy", "pytest-xdist", "ruff", "types-pyyaml"}  # run, not imported


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(requirements: list[str]) -> set[str]:
    return {canonical(re.match(r"[A-Za-z0-9_.-]+", requirement)[0]) for requirement in requirements}


def imported(folder: str) -> set[str]:
    """Distributions that the modules below `folder` import anywhere, also inside functions."""
    found = set()
    for path in (REPOSITORY / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module.partition(".")[0])
    found -= {*sys.stdlib_module_names, "racing", "racing_launchers", "hydra_plugins", "tests", *OPTIONAL}
    owners = packages_distributions()
    return {distribution(name, [canonical(owner) for owner in owners.get(name, [])]) for name in found}


def distribution(module: str, owners: list[str]) -> str:
    """The declared one of the distributions that bring `module`, else the first, else the module's own name."""
    known = declared([*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]])
    return next((owner for owner in owners if owner in known), owners[0] if owners else module)


def test_the_package_imports_what_it_declares_and_nothing_else():
    found = imported("racing") | imported("launchers")
    assert found == declared(PROJECT["dependencies"]) - {"cmaes"} | EXTRAS  # cmaes: Optuna's sampler imports it
    for name in EXTRAS:
        assert declared(PROJECT["optional-dependencies"][name]) == {name}


def test_tests_import_only_what_is_declared():
    dev, own = (declared(names) for names in (PROJECT["optional-dependencies"]["dev"], PROJECT["dependencies"]))
    assert imported("tests") - own == dev - own - COMMANDS  # dev may ask for more of what racing itself needs


def test_the_lock_holds_versions_and_nothing_else():
    assert LOCK[0].startswith("#")
    pins = LOCK[1:]
    assert [line for line in pins if not re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][A-Za-z0-9.]*", line)] == []
    names = [canonical(line.partition("==")[0]) for line in pins]
    assert len(set(names)) == len(names)
    assert declared([*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]) <= set(names)
    assert "torch==2.13.0" in pins
    assert [name for name in names if re.match(r"nvidia-|cuda-|triton", name)] == []
