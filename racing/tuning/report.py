"""What a search has found: its best trial, a table of all, and Optuna's pictures."""

from __future__ import annotations

import csv
import io
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from racing.files import atomic_path, write_atomic
from racing.runs.lock import FileLock
from racing.tuning.space import overrides_of
from racing.tuning.trials import REASON, RUN, WORKER

if TYPE_CHECKING:
    from racing.tuning.search import Search

SHOWN = 10  # trials on the terminal, the best ones
FIGURES = {  # file -> what draws it
    "history": "plot_optimization_history",
    "importances": "plot_param_importances",
    "parallel_coordinate": "plot_parallel_coordinate",
    "slice": "plot_slice",
}
DPI = 120
WIDTH = 160  # [characters] of the table where nobody knows how wide the terminal is, at least


def report(study: Study, search: Search) -> float | None:
    """Print what the study has found, and write its report into the search's folder; returns the best value.

    Any number of workers may do this at the same time: the files are those of the one that looked last.
    """
    lock = FileLock(search.folder / "report.lock")
    lock.acquire(wait=True)
    try:
        write_report(study, search.folder, search.trial_overrides)
        show(study, search.folder)
    finally:
        lock.release()
    best = best_trial(study)
    return None if best is None else float(best.value)


def best_trial(study: Study) -> FrozenTrial | None:
    """The complete trial with the greatest value, the first of equal ones; None without any."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return max(complete, key=lambda trial: trial.value, default=None)


def write_report(
    study: Study, folder: Path, overrides: Callable[[dict[str, Any]], list[str]] = overrides_of
) -> list[Path]:
    """Write trials.csv, best.yaml and the pictures that the trials suffice for; returns their paths.

    overrides: gives all overrides of a trial from its parameters.
    """
    written = [folder / "trials.csv"]
    write_atomic(written[0], trials_csv(study))
    best = best_trial(study)
    if best is not None:
        about = {"study": study.study_name, "trial": best.number, "value": best.value, "run": best.user_attrs.get(RUN)}
        text = yaml.safe_dump(about | {"overrides": overrides(best.params)}, sort_keys=False, width=1000)
        written.append(folder / "best.yaml")
        write_atomic(written[-1], text)
    return written + [path for name in FIGURES if (path := _draw(study, name, folder / f"{name}.png"))]


def trials_csv(study: Study) -> str:
    """A row for each trial; the parameters stand last."""
    trials = study.get_trials(deepcopy=False)
    keys = list(dict.fromkeys(key for trial in trials for key in trial.params))
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["trial", "state", "value", "worker", "last_step", "run", "reason", *keys])
    for t in trials:
        about = [t.number, t.state.name, t.value, t.user_attrs.get(WORKER), t.last_step]
        texts = [t.user_attrs.get(RUN, ""), t.user_attrs.get(REASON, "")]
        table.writerow([*about, *texts, *(t.params.get(key, "") for key in keys)])
    return out.getvalue()


def show(study: Study, folder: Path) -> None:
    """Print the best trials, how many there are of each kind, and how to train the best one again."""
    from rich.console import Console
    from rich.table import Table

    trials = study.get_trials(deepcopy=False)
    ranked = [t for t in trials if t.state == TrialState.COMPLETE] + [t for t in trials if t.state == TrialState.PRUNED]
    ranked.sort(key=lambda t: (t.state != TrialState.COMPLETE, -(t.value if t.value is not None else -1e9)))
    counts = Counter(trial.state.name.lower() for trial in trials)
    title = f"{study.study_name}: {', '.join(f'{number} {name}' for name, number in counts.items())}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    keys = list(dict.fromkeys(key for trial in trials for key in trial.params))
    for name in ("trial", "value", *(key.rpartition(".")[2] for key in keys)):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("run", no_wrap=True)
    for trial in ranked[:SHOWN]:
        value = "" if trial.value is None else f"{trial.value:.4f}"
        mark = " pruned" if trial.state == TrialState.PRUNED else ""
        cells = (f"{v:.4g}" if isinstance(v, float) else str(v) for v in (trial.params.get(key, "") for key in keys))
        table.add_row(str(trial.number), value + mark, *cells, str(trial.user_attrs.get(RUN, "")))
    console = Console()
    console.width = max(console.width, WIDTH)
    console.print(table, soft_wrap=True)
    print(f"report   {folder}")
    best = best_trial(study)
    if best is not None:
        nobody = best.value == 0  # of a score or a finish rate: such a trial is the first, not the best
        note = "; nobody has finished, none is better than another" if nobody else ""
        print(f"best     trial {best.number}, {best.value:.4f}: {' '.join(overrides_of(best.params))}{note}")


def _draw(study: Study, name: str, path: Path) -> Path | None:
    """One of Optuna's pictures; None where the trials do not suffice for it."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < 2 or (name == "importances" and len({trial.value for trial in complete}) < 2):
        return None
    import matplotlib.pyplot as plt
    from optuna.visualization import matplotlib as pictures

    plt.switch_backend("agg")
    measure = study.user_attrs.get("base", {}).get("search", {}).get("metric", "value")
    with warnings.catch_warnings(), plt.rc_context():  # Optuna changes the style of all pictures to come
        warnings.simplefilter("ignore")  # that the functions are experimental
        try:
            axes = getattr(pictures, FIGURES[name])(study, target_name=measure)
        except (ValueError, RuntimeError) as error:  # too few trials of a kind, found on the way
            print(f"no picture of {name}: {error}")
            return None
        figure = getattr(axes, "figure", None) or axes[0].figure
        _tidy(figure, name)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=DPI, bbox_inches="tight")
        plt.close("all")
    return path


def _tidy(figure: Any, name: str) -> None:
    """Room for labels; no grid lines across the lines of the trials."""
    panels = len(figure.axes) if name == "slice" else 1
    figure.set_size_inches(max(8.0, 3.0 * panels), 4.5)
    for axes in figure.axes:
        if name == "parallel_coordinate":
            axes.grid(False)
            axes.set_facecolor("#e5e5e5")  # the poorest trials are drawn nearly white
        elif name == "slice":
            axes.tick_params(axis="x", which="both", labelrotation=45)
