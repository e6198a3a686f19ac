"""The code as it was when a run was trained: its commit in a git worktree, with its uncommitted changes applied."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from racing.config import PACKAGE
from racing.errors import InputError, require
from racing.files import temporary_path
from racing.processes import python, run_child
from racing.runs.git import is_tracked, run_git
from racing.runs.paths import IN_RUN

# Not -m racing: commits before racing/__main__.py can be meant.
COMMAND_LINE = "import sys; from racing.cli import main; sys.exit(main())"


def checkout(provenance: Mapping[str, Any], patch: str, folder: Path) -> Path:
    """The work tree of a run's code below `folder`, made or found there: `<commit12>[-<sha256 of the patch, 8>]`.

    provenance: the run's. patch: its uncommitted changes, '' for none. Raises InputError if the code cannot be had.
    """
    commit = provenance.get("commit")
    require(bool(commit), "the run names no commit, its racing was installed without git; leave checkout=true away")
    named = re.fullmatch(r"[0-9a-f]{7,64}", str(commit)) is not None  # else git would take it for an option
    require(named, f"the run names the commit {str(commit)[:40]!r}, which is none; leave checkout=true away")
    root = repository()
    known = run_git(root, "cat-file", "-e", f"{commit}^{{commit}}")
    rule = f"commit {str(commit)[:12]} must be in the repository {root}, it is not"
    require(known.returncode == 0, f"{rule}; fetch it (git fetch --all, in a shallow clone also --unshallow)")
    mark = f"-{hashlib.sha256(patch.encode()).hexdigest()[:8]}" if patch else ""
    tree = folder.resolve() / f"{str(commit)[:12]}{mark}"
    if tree.exists():
        _require_untouched(tree, str(commit))
    else:
        _make(root, str(commit), patch, tree)
    return tree


def repository() -> Path:
    """The work tree of the code that runs now. Raises InputError if racing was installed without git."""
    require(shutil.which("git") is not None, "checkout=true needs git, it was not found; install it")
    rule = f"checkout=true must be run from a git clone of racing, {PACKAGE} is none"
    require(is_tracked(PACKAGE), f"{rule}; clone it and use that racing, or leave checkout=true away")
    return Path(run_git(PACKAGE, "rev-parse", "--show-toplevel").stdout.strip())


def untracked_note(provenance: Mapping[str, Any], tree: Path) -> str:
    """What to know about files that git did not know when the run was trained; '' if there were none."""
    names = [name for name in provenance.get("untracked", []) if not (tree / name).exists()]
    if not names:
        return ""
    some = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"git did not know {some}: not recorded; if the run needed them, copy them to {tree} and repeat the command"


def run_there(tree: Path, arguments: Sequence[str]) -> int:
    """Run `racing <arguments>` with the code of `tree`; its output is ours. Returns the exit code.

    Signals that ask for a stop are left to it: it saves its state, and leaves with the code that says so.
    """
    # PYTHONSAFEPATH: the code there may start Pythons that would look for racing in the current folder.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, import_paths(tree))), "PYTHONSAFEPATH": "1"}
    return run_child(python("-c", COMMAND_LINE, *arguments), env=environment, shares_terminal=True)


def import_paths(tree: Path) -> list[Path]:
    """The folders that Python must search to run the code of `tree`, which may be older than this code."""
    packages = tree / "launchers"
    if (packages / "racing_launchers").is_dir():
        return [tree, packages]
    return [
        tree,
        packages / "plugin",
    ]  # of earlier commits; launchers/ itself holds packages called modal and local there


def _make(root: Path, commit: str, patch: str, tree: Path) -> None:
    """Make the work tree under a temporary name first: one that exists is complete."""
    draft = temporary_path(tree)  # git itself renames it: it notes where its work trees are
    try:
        tree.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{tree.parent}: {error.strerror}; set paths.outputs=FOLDER to a writable one") from error
    run_git(root, "worktree", "prune")  # forgets those whose folders were removed by hand
    added = run_git(root, "worktree", "add", "--detach", str(draft), commit)
    try:
        require(added.returncode == 0, f"git worktree add: {_last_line(added.stderr)}; repair it in {root}")
        if patch:
            # --index: what the index holds is what belongs here, so that later changes show.
            applied = run_git(draft, "apply", "--index", "--whitespace=nowarn", "-", given=patch)
            rule = f"the uncommitted changes of the run do not apply to its commit {commit[:12]}"
            require(applied.returncode == 0, f"{rule}: {_last_line(applied.stderr)}; its {IN_RUN.patch} is damaged")
        moved = run_git(root, "worktree", "move", str(draft), str(tree))
        require(moved.returncode == 0, f"git worktree move: {_last_line(moved.stderr)}; remove {tree}")
    finally:
        if draft.exists():
            shutil.rmtree(draft)
            run_git(root, "worktree", "prune")


def _require_untouched(tree: Path, commit: str) -> None:
    """Raise InputError if somebody worked in a tree that is there to be as it was."""
    head = run_git(tree, "rev-parse", "HEAD").stdout.strip()
    changed = run_git(tree, "diff", "--name-only").stdout.split()
    what = f"{changed[0]} differs" if changed else f"it is at {head[:12] or 'no commit'}"
    rule = f"{tree} must be the code of the run, {what}"
    require(head == commit and not changed, f"{rule}; remove it (git worktree remove --force {tree}) to have it anew")


def _last_line(text: str) -> str:
    """The last line of what git says: its complaint."""
    return (text.strip().splitlines() or ["no reason given"])[-1]
