"""Policies that drive laps: the evaluator of all environments with tracks and vehicles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from racing.config import build
from racing.envs.race import has_others
from racing.errors import require
from racing.evaluation.evaluate import Policy, evaluate, evaluation_task
from racing.evaluation.evaluator import Evaluator
from racing.evaluation.files import VIDEO, facts_of, write_files
from racing.evaluation.race.driving import policy_entrant
from racing.evaluation.race.suites import Place, among_others
from racing.evaluation.replay.replay import REPLAY
from racing.evaluation.result import Evaluation, flat_metrics
from racing.evaluation.seeds import CONFIRMING_SEEDS
from racing.runs.metrics import VALIDATION
from racing.runs.provenance import track_sha256
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle
from racing.tracks.optimal_lap.lap import limits
from racing.tracks.reference_lap import reference_lap

NEAR_LIMIT = 1.05  # limit_ratio
MILESTONES = ("first_lap", "all_finished", "near_limit")


class LapEvaluator(Evaluator):
    """Drives laps from random starts.

    vehicle: the car. eval_tracks: those that policies are evaluated on: held out of training, else all. references:
    reference lap [s] of each of them. limits: least lap time [s] of each, None where it is not known.

    Milestones: a lap of a car while training; on the validation starts, all finished, and all finished at NEAR_LIMIT or
    less.
    """

    validation = VALIDATION
    milestones = MILESTONES
    shown: ClassVar[dict[str, str]] = {
        "laps.csv": "laps",
        "lap.png": "lap_picture",
        REPLAY: "replay",
        VIDEO: "lap_video",
    }

    def __init__(self, config: Mapping[str, Any], threads: int = 1) -> None:
        """config: of a run, resolved. Raises InputError where a value breaks a rule."""
        self._env, self._rules, self._seed, self._threads = config["env"], config["eval"], config["seed"], threads
        self.tracks: list[Track] = build(config["track"])
        self.vehicle: Vehicle = build(config["vehicle"])
        if not has_others(self._env):  # whose suites take long, and are more drives than one
            self.confirming = CONFIRMING_SEEDS[: self._rules["confirmations"]]
        train_tracks, self.eval_tracks = split_tracks(self.tracks, self._rules["holdout_tracks"])
        self.place = {"tracks": train_tracks, "vehicle": self.vehicle}
        self.references = [reference_lap(track, self.vehicle).time_s for track in self.eval_tracks]
        self.limits = limits(self.eval_tracks, self.vehicle)

    def tags(self) -> dict[str, str]:
        """See Evaluator."""
        return {
            "racing.vehicle": self.vehicle.name,
            "racing.tyre_model": self.vehicle.model,
            "racing.tracks": ", ".join(track.name for track in self.tracks),
            "racing.track_sha256": ", ".join(track_sha256(track) for track in self.tracks),
        }

    def evaluate(self, policy: Policy, seeds: int, *, telemetry: bool) -> Evaluation:
        """See Evaluator."""
        size = {"races": self._rules["episodes"], "laps": self._rules["laps"], "threads": self._threads}
        seed = seeds + self._seed
        task = evaluation_task(self._env, self.eval_tracks, self.vehicle, self.references, seed=seed, **size)
        result = evaluate(policy, task, self.references, self.limits, telemetry=telemetry)
        if not has_others(self._env):
            return result
        place = Place(track=self.eval_tracks[0], vehicle=self.vehicle, reference=self.references[0], env=self._env)
        race = among_others(policy_entrant("policy", policy), place, cars=self._env["cars"], seed=seed, **size)
        return replace(result, summary={**result.summary, "race": race})

    def metrics(self, result: Evaluation, prefix: str = "eval/") -> dict[str, float]:
        """See Evaluator."""
        return flat_metrics(result, prefix)

    def reached(self, result: Evaluation) -> list[str]:
        """See Evaluator."""
        if result.summary["finish_rate"] != 1:
            return []
        near = (result.summary["limit_ratio"] or NEAR_LIMIT + 1) <= NEAR_LIMIT
        return ["all_finished", *(["near_limit"] if near else [])]

    def reached_by(self, episodes: Sequence[Mapping[str, Any]]) -> list[str]:
        """See Evaluator."""
        return ["first_lap"] if any(episode["laps"] for episode in episodes) else []

    def rollout(self, episodes: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """See Evaluator."""
        values = {
            "rollout/progress_m": float(np.mean([episode["progress"] for episode in episodes])),
            "rollout/off_track_rate": float(np.mean([episode["ended"] == "off_track" for episode in episodes])),
        }
        among = [episode for episode in episodes if not episode.get("alone", True)]
        if among:
            kilometres = sum(max(episode["progress"], 0.0) for episode in among) / 1000
            for name in ("contacts", "faults"):
                values[f"rollout/{name}_per_km"] = sum(episode[name] for episode in among) / max(kilometres, 1e-3)
            values["rollout/presence"] = sum(e["steps_near"] for e in among) / sum(e["steps"] for e in among)
        laps = [episode["lap_time"] for episode in episodes if episode["lap_time"] > 0]
        if laps:
            values["rollout/lap_time_s"] = float(np.mean(laps[-20:]))
        return values

    def note(self, values: Mapping[str, float]) -> str:
        """See Evaluator."""
        return f"last laps {values['rollout/lap_time_s']:.1f} s" if "rollout/lap_time_s" in values else ""

    def write(self, result: Evaluation, folder: Path, policy: str, task: Any = None) -> list[Path]:
        """See Evaluator."""
        track = self._best_track(result)
        return write_files(result, folder, policy, track, reference_lap(track, self.vehicle), task)

    def write_video(self, result: Evaluation, folder: Path, policy: str, task: Any) -> list[Path]:
        """See Evaluator: of the best lap."""
        from racing.evaluation.video import write_video

        track = self._best_track(result)
        facts = facts_of(result, policy, reference_lap(track, self.vehicle))
        lap = result.lap_table(result.best_episode())
        return [write_video(folder / VIDEO, task, track, lap, track.name, facts)]

    def _best_track(self, result: Evaluation) -> Track:
        return self.eval_tracks[result.best_episode() % len(self.eval_tracks)]

    def lines(self, summary: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See Evaluator."""
        return lap_lines(summary)


def lap_lines(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Rows of the short table of a finished run."""
    s = summary
    lap = "none finished" if s["lap_time_s"] is None else f"{s['lap_time_s']:.2f} s"
    ratio = "" if s["lap_ratio"] is None else f", lap_ratio {s['lap_ratio']:.3f} (1 = reference lap)"
    if s.get("limit_ratio") is not None:
        ratio += f", limit_ratio {s['limit_ratio']:.3f} (1 = physical limit)"
    finished = f"{s['finish_rate']:.2f} of {s['episodes']} unseen starts x {s['laps_per_episode']} laps"
    rows = [("finish rate", finished)]
    rows.append(("lap time", f"{lap}{ratio}, {s['vehicle']} with {s['tyre_model']} tyres"))
    if "race" in s:
        race = s["race"]
        rates = f"overtakes {race['overtake_rate']:.2f}, without fault {race['clean_rate']:.2f}"
        rows.append(("in traffic", f"{rates} of {race['races']} races behind a slower car"))
        rows.append(("in a grid", f"finish rate {race['grid_finish_rate']:.2f} of its like"))
    for name, own in s.get("agents", {}).items():
        lap_s = "no lap" if own["lap_time_s"] is None else f"{own['lap_time_s']:.2f} s"
        leads = ", the run's policy" if name == s["leader"] else ""
        rows.append((f"@{name}", f"finish rate {own['finish_rate']:.2f}, {lap_s}{leads}"))
    return rows


def split_tracks(tracks: list[Track], holdout: int) -> tuple[list[Track], list[Track]]:
    """Split into those to train on and those to evaluate on: the last `holdout`, or all where it is 0."""
    rule = f"eval.holdout_tracks must be less than the {len(tracks)} tracks, got {holdout}; 0 holds out none"
    require(holdout < len(tracks), rule)
    return tracks[: len(tracks) - holdout], tracks[-holdout:] if holdout else tracks
