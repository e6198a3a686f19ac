"""Of a training of several agents, MLflow has a run for each of them, below that of the training.

The training's run has everything, as its journal does; an agent's run has the agent's metrics under the names that they
have where there is one learner, so that MLflow's pages compare agents as they compare runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from racing.runs.metrics import AGENTS
from racing.runs.status import RunStatus

if TYPE_CHECKING:
    from mlflow import MlflowClient

AGENT_TAG = "racing.agent"
TRAINING_TAG = "racing.agent_of"  # id of the training's journal; without JOURNAL_TAG it is no run of its own
PARENT_TAG = "mlflow.parentRunId"


class AgentRuns:
    """The runs of a training's agents, each found or made when its first metric arrives. All methods ask MLflow."""

    def __init__(self, client: MlflowClient, experiment_id: str, run_id: str, journal_id: str) -> None:
        """run_id: of the training."""
        self._client, self._experiment_id, self._run_id, self._journal_id = client, experiment_id, run_id, journal_id
        self._made: dict[str, str] | None = None

    def run_ids(self) -> dict[str, str]:
        """Ids of the agents' runs that there are, by agent."""
        if self._made is None:
            chosen = f"tags.`{TRAINING_TAG}` = '{self._journal_id}'"
            found = self._client.search_runs([self._experiment_id], chosen, max_results=1000)
            self._made = {run.data.tags[AGENT_TAG]: run.info.run_id for run in found}
        return self._made

    def run_id(self, agent: str, ts: int) -> str:
        """Id of an agent's run. ts: when it began, if it is not there yet [UTC ms]."""
        made = self.run_ids()
        if agent not in made:
            tags = {AGENT_TAG: agent, TRAINING_TAG: self._journal_id, PARENT_TAG: self._run_id}
            run = self._client.create_run(self._experiment_id, ts, tags=tags, run_name=f"agent={agent}")
            made[agent] = run.info.run_id
        return made[agent]

    def set_status(self, status: RunStatus, ts: int | None = None) -> None:
        """Give all of them the training's status. ts: when it ended [UTC ms]."""
        for run_id in self.run_ids().values():
            if status == RunStatus.RUNNING:
                self._client.update_run(run_id, status=status)
            else:
                self._client.set_terminated(run_id, status, ts)


def by_agent(metrics: Iterable[tuple[Any, Any]]) -> dict[str, list[tuple[Any, Any]]]:
    """Of (line, metric), those of agents, by agent, under their plain names."""
    from mlflow.entities import Metric

    found: dict[str, list[tuple[Any, Any]]] = {}
    for line, metric in metrics:
        agent, _, name = metric.key.removeprefix(AGENTS).partition("/")
        if metric.key.startswith(AGENTS) and name:
            plain = Metric(name, metric.value, metric.timestamp, metric.step)
            found.setdefault(agent, []).append((line, plain))
    return found
