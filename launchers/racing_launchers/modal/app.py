"""What is sent to Modal: an image with the packages and the code of this machine, and the function that does a job."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from racing.config import PACKAGE, conf_directory
from racing.errors import require
from racing.runs.provenance import CODE_FILE, git_state
from racing.tracks.catalog import shipped
from racing_launchers.modal.volume import library
from racing_launchers.modal.worker import run_job
from racing_launchers.remote.code import metadata, noise, pinned

ROOT = "/root"  # where Modal puts code: it is on the path of Python there


@dataclass(frozen=True, kw_only=True)
class ResourceRequest:
    """What a job gets: the keys of conf/launcher/modal.yaml. gpu: as `normalize` writes it."""

    app: str
    environment: str | None
    gpu: list[str]
    cpu: float
    memory: int
    timeout_s: int
    max_restarts: int
    max_containers: int | None
    region: Any
    runs_volume: str
    runs_path: str
    tracks_volume: str | None
    tracks_path: str
    secrets: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    env_passthrough: list[str] = field(default_factory=list)
    packages: list[str] = field(default_factory=list)
    python_source: list[str] = field(default_factory=list)
    image: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)


def make_app(resources: ResourceRequest, scratch: Path, *, with_tracks: bool) -> tuple[Any, Any]:
    """An app and its function, neither of them sent yet. scratch: a folder for files that are made for the image."""
    modal = library()
    app = modal.App(resources.app, include_source=False)
    return app, app.function(**function_options(resources, scratch, with_tracks=with_tracks))(run_job)


def check_parts(resources: ResourceRequest) -> None:
    """Raise InputError unless the secrets are on Modal, and what is named in Python can be imported."""
    from racing_launchers.modal.volume import answered

    for name in resources.secrets:
        with answered(f"secret {name!r} of launcher.secrets"):
            library().Secret.from_name(name, environment_name=resources.environment).hydrate()
    if resources.image:
        imported(resources.image)
    for name in resources.python_source:
        try:
            found = importlib.util.find_spec(name) is not None
        except (ImportError, ValueError):  # a part of what is not there
            found = False
        require(found, f"launcher.python_source={name} cannot be imported here; correct it")


def function_options(resources: ResourceRequest, scratch: Path, *, with_tracks: bool) -> dict[str, Any]:
    """What Modal's decorator is given."""
    modal = library()
    volumes = {resources.runs_path: volume(resources.runs_volume, resources, create_if_missing=True, version=2)}
    if with_tracks and resources.tracks_volume:
        volumes[resources.tracks_path] = volume(resources.tracks_volume, resources).with_mount_options(read_only=True)
    secrets = [modal.Secret.from_name(name, environment_name=resources.environment) for name in resources.secrets]
    passed = passed_on(resources.env_passthrough)
    if passed:
        secrets.append(modal.Secret.from_dict(passed))
    return {
        "name": "job",
        "image": make_image(resources, scratch),
        "gpu": (resources.gpu[0] if len(resources.gpu) == 1 else resources.gpu) or None,
        "cpu": resources.cpu,
        "memory": resources.memory,
        "timeout": resources.timeout_s,
        # Only time-outs and lost containers come to that: what a job raises is returned.
        "retries": modal.Retries(max_retries=resources.max_restarts, initial_delay=0.0, backoff_coefficient=1.0),
        "max_containers": resources.max_containers,
        "region": resources.region,
        "volumes": volumes,
        "secrets": secrets,
        "env": resources.env or None,
        "single_use_containers": True,  # Hydra and torch keep state in the process
        "include_source": False,
        **resources.extra,
    }


def volume(name: str, resources: ResourceRequest, **options: Any) -> Any:
    """A volume by name, not looked up yet."""
    return library().Volume.from_name(name, environment_name=resources.environment, **options)


def passed_on(names: list[str]) -> dict[str, str]:
    """Variables of this environment that jobs get, too; an address that only this machine can reach is none."""
    from racing_launchers.backend import is_loopback

    found = {name: os.environ[name] for name in names if os.environ.get(name)}
    uri = found.get("MLFLOW_TRACKING_URI", "")
    if uri and not (uri == "databricks" or (uri.startswith("http") and not is_loopback(uri))):
        del found["MLFLOW_TRACKING_URI"]
    return found


def make_image(resources: ResourceRequest, scratch: Path) -> Any:
    """The image: the packages of this machine in the same versions, then the code."""
    modal = library()
    if resources.image:
        given = imported(resources.image)
        image = given() if callable(given) else given
        require(isinstance(image, modal.Image), f"launcher.image={resources.image} must be a modal.Image; correct it")
        image = image.uv_pip_install(*resources.packages) if resources.packages else image
    else:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        image = modal.Image.debian_slim(python_version=version).uv_pip_install(*pinned("racing"), *resources.packages)
    return add_code(image, resources, scratch)


def add_code(image: Any, resources: ResourceRequest, scratch: Path) -> Any:
    """The image with racing, its configuration and circuits, and what else is wanted, as this machine has them."""
    launchers = Path(__file__).resolve().parents[1]
    plugin = importlib.util.find_spec("hydra_plugins.racing_launcher")
    (scratch / CODE_FILE).write_text(json.dumps(git_state(PACKAGE)))
    image = image.add_local_dir(PACKAGE, f"{ROOT}/racing", ignore=noise)
    image = image.add_local_dir(launchers, f"{ROOT}/racing_launchers", ignore=noise)
    image = image.add_local_file(scratch / CODE_FILE, f"{ROOT}/racing/{CODE_FILE}")
    if plugin is not None and plugin.origin:
        for path in sorted(Path(plugin.origin).parent.glob("racing_*.py")):  # others' plugins lie beside them
            image = image.add_local_file(path, f"{ROOT}/hydra_plugins/{path.name}")
    if PACKAGE not in conf_directory().parents:  # in a wheel they are inside the package, as they are to be there
        circuits = next(iter(shipped().values())).parent
        image = image.add_local_dir(conf_directory(), f"{ROOT}/racing/_conf", ignore=noise)
        image = image.add_local_dir(circuits, f"{ROOT}/racing/_tracks", ignore=noise)
    source = metadata(scratch)
    if source is not None:
        target = f"{ROOT}/racing-{importlib.metadata.version('racing')}.dist-info/METADATA"
        image = image.add_local_file(source, target)
    return image.add_local_python_source(*resources.python_source, ignore=[]) if resources.python_source else image


def imported(path: str) -> Any:
    """What a dotted path names. Raises InputError."""
    from hydra.utils import get_object

    try:
        return get_object(path)
    except Exception as error:
        require(False, f"launcher.image={path} cannot be imported ({error}); give module.name")


def describe(resources: ResourceRequest, scratch: Path) -> list[str]:
    """Lines about what would be sent, for a dry run."""
    passed = {**resources.env, **passed_on(resources.env_passthrough)}
    source = resources.image or f"debian slim, Python {sys.version_info.major}.{sys.version_info.minor}"
    packages = [] if resources.image else pinned("racing")
    code = ", ".join(["racing", "racing_launchers", "conf", "tracks", *resources.python_source])
    tracks = f"{resources.tracks_volume} at {resources.tracks_path} (read-only)"
    return [
        f"app {resources.app}, a call for each job, one container for each call",
        f"image {source}, {len(packages) + len(resources.packages)} packages; code: {code}",
        f"GPU {', '.join(resources.gpu) or 'none'}, {resources.cpu:g} cores, {resources.memory} MiB",
        f"{resources.timeout_s / 60:g} min for an attempt, {resources.max_restarts} further attempts",
        f"volumes {resources.runs_volume} at {resources.runs_path}, {tracks}",
        f"secrets {', '.join(resources.secrets) or 'none'}; environment {', '.join(passed) or 'none'}",
    ]
