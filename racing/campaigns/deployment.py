"""Winners that pass the gate become files of the current folder: policies/generalist/, policies/specialists/NAME/.

    policy.onnx      what drives
    manifest.json    its sha256, what it observes, its car and track, what it comes from, what the gate saw
    previous/        both, of the one before

A folder is written beside its place and exchanged with what stands there: it is the old one or the new one, whole.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from racing.campaigns.drives import Drive, Driver, drive_of, prepare
from racing.campaigns.gate import Judged, judge
from racing.campaigns.plan import Campaign
from racing.campaigns.training import Trained
from racing.campaigns.validation import Validated, drive_missing
from racing.campaigns.winners import Winner
from racing.errors import InputError
from racing.files import atomic_path, read_json, remove_leftovers, write_json
from racing.league.match import Match
from racing.league.ratings import win_share
from racing.onnx_files import onnx_session
from racing.policies.loading import DEPLOYED, MANIFEST, load_policy
from racing.tracking.model_registry import promote

SCHEMA = 1  # of manifest.json
PREVIOUS = "previous"  # folder of the one before, and alias of MLflow's registry
CHAMPION = "champion"  # alias
REMEMBERED = ("observation_names", "action_names", "units", "step_s", "telemetry_units", "frames", "camera")


@dataclass(frozen=True, kw_only=True)
class Champion:
    """The policy that is deployed where a winner would be. note: why they cannot meet; None: they can."""

    folder: Path
    sha256: str
    note: str | None = None


def deploy_winners(
    campaign: Campaign, winners: Sequence[Winner], trained: Sequence[Trained], validated: Validated, policies: Path
) -> dict[str, dict[str, Any]]:
    """Judge each winner and deploy it if it passes; returns what became of each, by name.

    verdict: deployed, already deployed, or refused; reasons, figures, place; model: the version that the alias
    champion points to now, or why none does. policies: the folder of all. Raises InputError where it cannot be written.
    """
    runs = {one.entry.name: one for one in trained}
    out = {}
    for winner in winners:
        told = _deploy(campaign, winner, runs[winner.name], validated, policies)
        out[winner.name] = told
        print(f"{winner.role} {winner.name}: {told['verdict']}{_why(told)}", flush=True)
    write_json(_file(campaign), {"policies": str(policies.resolve()), "winners": known_deployment(campaign) | out})
    return out


def _file(campaign: Campaign) -> Path:
    return campaign.path / "deployment.json"


def known_deployment(campaign: Campaign) -> dict[str, Any]:
    """What became of each winner, as it was noted; {} where nothing was, or it is damaged."""
    try:
        return dict(read_json(_file(campaign)).get("winners", {}))
    except (OSError, ValueError, TypeError):
        return {}


def _why(told: Mapping[str, Any]) -> str:
    """Reasons, or where it lies now."""
    return f", {'; '.join(told['reasons'])}" if told["reasons"] else f", {told['place']}"


def _deploy(campaign: Campaign, winner: Winner, one: Trained, validated: Validated, policies: Path) -> dict[str, Any]:
    """See `deploy_winners`, of one."""
    place = policies / winner.place
    sha256 = hashlib.sha256(one.policy.read_bytes()).hexdigest()
    told: dict[str, Any] = {"place": str(place), "sha256": sha256, "reasons": []}
    champion = champion_at(place)
    if champion is not None and champion.sha256 == sha256:
        return told | {"verdict": "already deployed", "model": move_alias(campaign, winner, one, sha256)}
    judged, note = judge_winner(campaign, winner, one, validated, champion)
    told |= {"figures": dict(judged.figures), "note": note}
    if not judged.passed:
        return told | {"verdict": "refused", "reasons": list(judged.reasons)}
    write_policy(place, one, manifest_of(campaign, winner, one, told))
    return told | {"verdict": "deployed", "model": move_alias(campaign, winner, one, sha256)}


def champion_at(place: Path) -> Champion | None:
    """What is deployed there; None if nothing is, or it is damaged."""
    try:
        policy = load_policy(str(place), place) if (place / DEPLOYED).is_file() else None
    except InputError:
        return None
    return None if policy is None else Champion(folder=place, sha256=policy.sha256)


def judge_winner(
    campaign: Campaign, winner: Winner, one: Trained, validated: Validated, champion: Champion | None
) -> tuple[Judged, str | None]:
    """Let a winner race the champion, and judge it; also why it could not meet one."""
    mine = {track: validated.alone[track].get(winner.name) for track in winner.tracks}
    if champion is None:
        return judge(campaign.gate, mine), "nothing was deployed there"
    challenger = Driver(name=winner.name, spec=str(one.run.path))
    other = Driver(name=CHAMPION, spec=str(champion.folder))
    try:
        matches = [
            drive_of((challenger, other), track, campaign.validation, campaign.outputs, campaign.gate.games)
            for track in winner.tracks
        ]
        alone = [drive_of((other,), track, campaign.validation, campaign.outputs) for track in winner.tracks]
        found = _driven([*alone, *matches])
    except InputError as error:
        return judge(campaign.gate, mine), f"it cannot meet the deployed one: {error}"
    met = [match.meeting(0, 1) for match in found if isinstance(match, Match)]
    told = dict(zip(winner.tracks, found, strict=False))
    return judge(campaign.gate, mine, told, win_share(met)), None


def _driven(drives: Sequence[Drive]) -> list[Any]:
    """The results of these, driven where they are not kept."""
    prepared = [prepare(one) for one in drives]
    missing = [one.drive for one in prepared if one.result() is None]
    if missing:
        print("the gate: against the champion", flush=True)
        drive_missing(missing, len(drives), True)
    return [one.result() for one in prepared]


def manifest_of(campaign: Campaign, winner: Winner, one: Trained, told: Mapping[str, Any]) -> dict[str, Any]:
    """What manifest.json holds."""
    session = onnx_session(one.policy)
    known = session.get_modelmeta().custom_metadata_map
    remembered = {name: _read(known[name]) for name in REMEMBERED if name in known}
    config = one.run.config
    return {
        "schema_version": SCHEMA,
        "name": winner.name,
        "role": winner.role,
        "sha256": told["sha256"],
        "deployed_ms": time.time_ns() // 1_000_000,
        "campaign": campaign.name,
        "run": one.run.name,
        "run_id": one.run.mlflow.get("run_id", ""),
        "observation": {
            "inputs": {part.name: list(part.shape) for part in session.get_inputs()},
            **remembered,
        },
        "vehicle": _read(known.get("vehicle", "{}")),
        "tracks": _read(known.get("tracks", "[]")),
        "lineage": {
            "overrides": list(one.entry.overrides),
            "runs": list(one.runs),
            "init_from": config.get("init_from"),
            "teacher": (config.get("algo") or {}).get("teacher"),
            "seed": config.get("seed"),
        },
        "gate": {"judged_on": list(winner.tracks), "figures": told["figures"], "note": told["note"]},
    }


def _read(text: str) -> Any:
    """JSON, or the text where it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def write_policy(place: Path, one: Trained, manifest: Mapping[str, Any]) -> None:
    """Put a policy in its place, as the module says. Raises InputError where that cannot be written."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(place.parent, place.stem)
        with atomic_path(place, sync_parent=True) as folder:
            folder.mkdir()
            shutil.copyfile(one.policy, folder / DEPLOYED)
            write_json(folder / MANIFEST, manifest)
            before = [place / name for name in (DEPLOYED, MANIFEST)]
            if all(path.is_file() for path in before):
                (folder / PREVIOUS).mkdir()
                for path in before:
                    shutil.copyfile(path, folder / PREVIOUS / path.name)
    except OSError as error:
        wrong = f"{error.filename or place}: {error.strerror}"
        raise InputError(f"{wrong}; set policies=FOLDER to a writable one") from error


def move_alias(campaign: Campaign, winner: Winner, one: Trained, sha256: str) -> str | None:
    """Let MLflow's alias champion point to it, and previous to the one before; returns what has happened."""
    if campaign.model is None:
        return None
    name = campaign.model.replace("{entry}", winner.name)
    known = known_deployment(campaign).get(winner.name, {})
    if known.get("sha256") == sha256 and str(known.get("model")).startswith("models:/"):
        return str(known["model"])
    try:
        made = promote(str(one.run.path), name, CHAMPION, campaign.outputs, previous=PREVIOUS)
    except InputError as error:
        return f"no model: {error}"
    return f"models:/{name}@{CHAMPION} is version {made.version}"
