"""What MLflow has of a run although its journal has lost it, as with a machine in a cloud."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from racing.runs.journal import metric_points, read_journal

if TYPE_CHECKING:
    from mlflow import MlflowClient


class Measured:
    """Points that MLflow has of a run and that stand nowhere before the cursor: when each was measured."""

    def __init__(self) -> None:
        """None."""
        self._times: dict[tuple[int, str], list[int]] = {}

    @classmethod
    def of(cls, client: MlflowClient, run_id: str, journal: Path, offset: int) -> Measured:
        """Ask MLflow. Only metrics of which it has a later step than stands before `offset` are looked at closely."""
        found, last = cls(), {point.key: point.step for point in client.get_run(run_id).data._metric_objs}
        if not last:
            return found
        known: Counter[tuple[int, str]] = Counter()
        for line in read_journal(journal):
            if line.end > offset:
                break
            known.update((step, name) for step, name, _ in metric_points(line))
        newest: dict[str, int] = {}
        for step, name in known:
            newest[name] = max(step, newest.get(name, step))
        for name in (name for name, step in last.items() if name not in newest or step > newest[name]):
            for point in client.get_metric_history(run_id, name):
                if known[point.step, name] > 0:
                    known[point.step, name] -= 1
                else:
                    found._times.setdefault((point.step, name), []).append(point.timestamp)
        return found

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._times)

    def take(self, step: int, name: str, time: int) -> bool:
        """Whether MLflow has a point already that was measured at another time [UTC ms]; it counts once.

        One of the same time is sent again: an agent's run may lack it.
        """
        times = self._times.get((step, name))
        if not times:
            return False
        if time in times:
            times.remove(time)
            return False
        times.pop()
        return True
