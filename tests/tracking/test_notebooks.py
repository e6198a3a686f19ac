"""notebooks/: executed whole as a user's kernel does, with small budgets; kept in git without what they showed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from racing.runs.directory import all_runs
from tests.conftest import REPOSITORY

FOLDER = REPOSITORY / "notebooks"
BUDGETS: dict[str, dict[str, Any]] = {  # parameters in place of the notebook's own
    "racing": {"SETTINGS": ["debug=fast", "hardware=cpu"], "EPISODES": 2, "DRIVE": 2.0},
    "lateral": {
        "SETTINGS": [
            *("debug=fast", "hardware=cpu", "algo.total_timesteps=8192", "algo.n_envs=64", "eval.episodes=2"),
            *("env.route_count=4", "env.holdout_routes=2", "eval.start_fraction=0", "eval.every_steps=4096"),
        ],
        "EPISODES": 2,
        "MPC": "{samples:2,horizon:2,iterations:1}",
    },
}


def test_all_of_them_are_here():
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(BUDGETS)


@pytest.mark.parametrize("name", list(BUDGETS))
def test_it_is_kept_without_what_it_showed(name: str):
    cells = json.loads((FOLDER / f"{name}.ipynb").read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(code) > 5
    assert {cell["execution_count"] for cell in code} == {None}
    assert [cell["outputs"] for cell in code if cell["outputs"]] == []


def executed(name: str, outputs: Path) -> Any:
    """The notebook after all of its cells ran, in a kernel of its own, with what they showed."""
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    (place,) = [k for k, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", [])]
    known = {line.partition(" = ")[0] for line in notebook.cells[place].source.splitlines()}
    values = {"OUTPUTS": str(outputs), **BUDGETS[name]}
    assert set(values) <= known
    text = "\n".join(f"{key} = {value!r}" for key, value in values.items())
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(text))
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(FOLDER)}})
    path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "launchers")])
    client.execute(
        env={**os.environ, "PYTHONPATH": path, "JUPYTER_PLATFORM_DIRS": "1", "IPYTHONDIR": str(outputs / "ipython")}
    )
    return notebook


def shown(notebook: Any, kind: str) -> list[list[str]]:
    """What each code cell showed of a kind such as image/png."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [[out.data[kind] for out in cell.outputs if kind in out.get("data", {})] for cell in cells]


@pytest.mark.slow
@pytest.mark.parametrize("name", list(BUDGETS))
def test_it_runs_whole(name: str, tmp_path: Path):
    notebook = executed(name, tmp_path)
    runs = all_runs(tmp_path)
    assert len(runs) == 2
    assert all(run.finished for run in runs)
    pictures = [len(found) for found in shown(notebook, "image/png")]
    assert pictures[5:] == [1, 2, 1, 0, 1, 1]  # trained, evaluated, trained, tables, compared, driven
    texts = "\n".join(text for found in shown(notebook, "text/plain") for text in found)
    assert {"racing": "algo.teacher", "lateral": "env.action"}[name] in texts  # in which the runs differ
    assert all(run.name in texts for run in runs)
    told = [out for cell in notebook.cells if cell.cell_type == "code" for out in cell.outputs if "text" in out]
    assert {out.name for out in told} == {"stdout"}  # no warnings
    assert not any("\x1b" in out.text for out in told)
