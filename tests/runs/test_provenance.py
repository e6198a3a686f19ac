"""Provenance names code, packages and tracks, with or without git."""

import json
import subprocess

import numpy as np

from racing.runs.provenance import collect, differences, git_state, packages, track_sha256
from racing.sim.track import build_track


def circle(radius=20.0, **options):
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    points = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return build_track("circle", points, np.full(60, 2.0), np.full(60, 2.0), **options)


def git(folder, *arguments):
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def test_collect_is_plain_data():
    found = collect([circle()])
    assert json.loads(json.dumps(found)) == found
    assert found["packages"]["numpy"] == np.__version__
    assert found["tracks"]["circle"]["sha256"] == track_sha256(circle())
    assert found["created"].endswith("+00:00")
    assert found["cpu"]


def test_packages_are_the_direct_dependencies():
    names = packages()
    assert {"torch", "mlflow", "hydra-core"} <= names.keys()
    assert "ruff" not in names  # a development tool, not part of a result


def test_git_state_of_a_clean_changed_and_foreign_tree(tmp_path):
    package = tmp_path / "repo" / "package"
    package.mkdir(parents=True)
    assert git_state(package) == {"commit": None, "dirty": None, "untracked": [], "diff": ""}
    (package / "__init__.py").write_text("a = 1\n")
    git(tmp_path / "repo", "init", "-q")
    assert git_state(package)["commit"] is None  # the repository does not know the package
    git(tmp_path / "repo", "add", ".")
    git(tmp_path / "repo", "commit", "-qm", "first")
    clean = git_state(package)
    assert len(clean["commit"]) == 40
    assert (clean["dirty"], clean["diff"]) == (False, "")
    (package / "__init__.py").write_text("a = 2\n")
    (tmp_path / "repo" / "new.py").write_text("")
    changed = git_state(package)
    assert changed["commit"] == clean["commit"]
    assert changed["dirty"]
    assert "+a = 2" in changed["diff"]
    assert changed["untracked"] == ["new.py"]


def test_track_hash_follows_the_geometry_and_the_readers_note():
    assert track_sha256(circle()) == track_sha256(circle())
    assert track_sha256(circle()) != track_sha256(circle(21.0))
    assert track_sha256(circle(source={"sha256": "abc"})) == "abc"


def test_differences_are_listed_both_ways_and_what_is_the_same_is_not():
    old = {"commit": "b" * 40, "python": "3.11.2", "racing": "1.0", "packages": {"numpy": "2.1", "gone": "1.0"}}
    new = {"commit": "a" * 40, "python": "3.12.0", "racing": "1.0", "packages": {"numpy": "2.1", "come": "1.0"}}
    rows = [
        ("commit", "b" * 12, "a" * 12),
        ("python", "3.11.2", "3.12.0"),
        ("package gone", "1.0", "none"),
        ("package come", "none", "1.0"),
    ]
    assert sorted(differences(old, new)) == sorted(rows)
    assert sorted(differences(new, old)) == sorted((what, present, recorded) for what, recorded, present in rows)
    assert differences(old, old) == []
