"""`racing doctor`: what is installed and usable here, and what to do about what is not."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from racing.commands.options import key_values
from racing.config import choices
from racing.processes import python, usable_cores
from racing.runs.paths import where
from racing.runs.provenance import cpu_model, direct_dependencies, version

HELP = """usage: racing doctor [paths.outputs=outputs]

Says what is installed and usable here, and what to do about what is not.
Exit code 1 if something required is missing."""
GIB = 1 << 30  # [bytes]
LEAST_DISK = 2 * GIB  # less free space than this does not hold a training's checkpoints


@dataclass(frozen=True)
class Finding:
    """One line: `ok`, or what is missing and its `remedy`; a required piece decides the exit code."""

    what: str
    ok: bool
    found: str
    remedy: str = ""
    required: bool = False


def main(argv: Sequence[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    if set(argv) & {"-h", "--help"}:
        print(HELP)
        return 0
    outputs = Path(key_values(argv, {"paths.outputs": "outputs"})["paths.outputs"])
    findings = list(software())
    if not _broken(findings):  # the rest needs the packages
        findings += [*hardware(), *launchers(), *places(outputs)]
    _print(findings)
    return 1 if _broken(findings) else 0


def software() -> Iterator[Finding]:
    """Python and the packages that racing asks for."""
    found = platform.python_version()
    supported = (3, 11) <= sys.version_info[:2] < (3, 14)
    yield Finding("python", supported, found, "install Python 3.11, 3.12 or 3.13", required=True)
    names = direct_dependencies()
    yield Finding("racing", bool(names), version("racing") or "not installed", "pip install -e .", required=True)
    for name in names:
        there = version(name)
        yield Finding(name, there is not None, there or "missing", f"pip install {name}", required=True)


def hardware() -> Iterator[Finding]:
    """Processor, memory, GPU."""
    import psutil

    yield Finding("processor", True, f"{cpu_model()}, {usable_cores()} cores usable")
    memory = psutil.virtual_memory()
    enough = memory.available > 2 * GIB
    found = f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB free"
    yield Finding("memory", enough, found, "close programs, or lower algo.n_envs")
    yield gpu()


def gpu() -> Finding:
    """The CUDA device that torch can use, asked in a process of its own: CUDA's start is slow and holds memory."""
    code = "import torch; print(torch.cuda.get_device_name(0) if torch.cuda.is_available() else '')"
    done = subprocess.run(python("-c", code), capture_output=True, text=True)
    name = done.stdout.strip()
    if name:
        return Finding("GPU", True, name)
    if shutil.which("nvidia-smi"):
        remedy = "torch here has no CUDA, or the driver is too old: see https://pytorch.org/get-started/locally"
        return Finding("GPU", False, "a driver, but torch cannot use it", remedy)
    return Finding("GPU", False, "none", "none needed: hardware=auto takes the CPU")


def launchers() -> Iterator[Finding]:
    """Where jobs could run: the choices of conf/launcher."""
    known = {"local": local_jobs, "slurm": slurm_jobs, "modal": modal_jobs, "aws_spot": aws_jobs}
    for name in choices("launcher"):
        yield known[name]() if name in known else Finding(f"launcher={name}", True, f"conf/launcher/{name}.yaml")


def local_jobs() -> Finding:
    """Jobs are processes."""
    return Finding("launcher=local", True, "this machine")


def slurm_jobs() -> Finding:
    """Jobs go to a cluster's queue."""
    sbatch = shutil.which("sbatch")
    remedy = "run racing on a login node of the cluster"
    return Finding("launcher=slurm", sbatch is not None, sbatch or "no sbatch", remedy)


def modal_jobs() -> Finding:
    """Jobs are Modal's containers."""
    if importlib.util.find_spec("modal") is None:
        return Finding("launcher=modal", False, "no package modal", "pip install modal, then: modal setup")
    token = "MODAL_TOKEN_ID" in os.environ or Path("~/.modal.toml").expanduser().exists()
    return Finding("launcher=modal", token, "token found" if token else "no token", "modal setup")


def aws_jobs() -> Finding:
    """Jobs are spot instances of AWS; whether the account has what they need, `racing cloud doctor` tells."""
    if importlib.util.find_spec("boto3") is None:
        return Finding("launcher=aws_spot", False, "no package boto3", "pip install 'racing[aws]'")
    names = ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE")
    files = ("~/.aws/credentials", "~/.aws/config")
    there = any(name in os.environ for name in names) or any(Path(file).expanduser().exists() for file in files)
    return Finding("launcher=aws_spot", there, "credentials found" if there else "no credentials", "aws configure")


def places(outputs: Path) -> Iterator[Finding]:
    """Folders that are written to, and the embedded MLflow store."""
    from racing.sim.kernels.kernel import cache_directory

    yield writable("outputs", outputs, "set paths.outputs=FOLDER")
    base = _nearest(outputs)
    free = shutil.disk_usage(base).free
    yield Finding(
        "disk", free > LEAST_DISK, f"{free / GIB:.1f} GiB free", f"free space on the disk of {base.resolve()}"
    )
    cache = Path(os.environ.get("NUMBA_CACHE_DIR") or cache_directory())
    yield writable(
        "compiled kernels", cache, "set RACING_CACHE=FOLDER; without it every start compiles again", required=False
    )
    yield store(outputs / "mlflow.db")


def writable(what: str, folder: Path, remedy: str, *, required: bool = True) -> Finding:
    """Whether files can be made in `folder`, or in what will become its parent."""
    try:
        with tempfile.TemporaryFile(dir=_nearest(folder)):
            pass
    except OSError as error:
        return Finding(what, False, f"{folder}: {error.strerror}", remedy, required)
    return Finding(what, True, str(folder.resolve()))


def store(database: Path) -> Finding:
    """State of the embedded MLflow store; reads it only."""
    if not database.exists():
        return Finding("MLflow store", True, "none yet; the first run makes it")
    try:
        with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            runs = connection.execute("SELECT COUNT(*) FROM runs").fetchone()[0]
    except sqlite3.Error as error:
        remedy = f"move {database} away, then: racing runs sync all{where(database.parent)}"
        return Finding("MLflow store", False, f"{database}: {error}", remedy, required=True)
    return Finding("MLflow store", True, f"{runs} runs in {database.resolve()}")


def _broken(findings: Sequence[Finding]) -> bool:
    return any(finding.required and not finding.ok for finding in findings)


def _nearest(folder: Path) -> Path:
    """`folder`, or the closest parent that exists."""
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())


def _print(findings: Sequence[Finding]) -> None:
    """One line each; by hand, since a broken installation may lack every package."""
    widths = [
        max(len(text) for text in column) + 2 for column in zip(*((f.what, f.found) for f in findings), strict=True)
    ]
    for one in findings:
        mark = "ok" if one.ok else ("MISSING" if one.required else "-")
        print(f"{mark:<9}{one.what:<{widths[0]}}{one.found:<{widths[1]}}{'' if one.ok else one.remedy}".rstrip())
