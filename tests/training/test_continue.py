"""The same command continues a run: after a signal, after damage, in the same MLflow run; or says why it cannot."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from racing.cli import main
from racing.evaluation.laps import MILESTONES
from racing.runs.checkpoints import Checkpoints
from racing.runs.directory import RunDirectory
from racing.runs.journal import read_journal
from tests.runs.test_full_disk import fill, small_disk  # noqa: F401  # a fixture
from tests.support.mlflow_server import PATIENCE, Copy
from tests.support.processes import points, run_of, state_bytes, train_command
from tests.support.signals import contents, copied, only_run, stopped_run, train, train_until, trained_run

pytestmark = pytest.mark.slow

FACTS = {"commit": "27066771d6c9", "package torch": "2.0"}
CODE = {"commit": "27066771d6c9", "dirty": False, "untracked": [], "diff": ""}
TOTAL = 20_480  # ten updates
PPO = ["name=c", "track=mini", "algo.n_steps=16", f"algo.total_timesteps={TOTAL}", "checkpoint.every=4096"]
PPO += ["eval.every_steps=8192", "eval.start_fraction=0", "algo.n_epochs=2"]
SAC_TOTAL = 1280
SAC = [
    "name=c",
    "algo=sac",
    "env=mlp",
    f"algo.total_timesteps={SAC_TOTAL}",
    "checkpoint.every=256",
    "eval.every_steps=0",
]
SAC += [
    "algo.n_envs=16",
    "algo.learning_starts=320",
    "algo.buffer_size=640",
    "algo.batch_size=64",
    "algo.gradient_steps=1",
]


@pytest.fixture(scope="module", autouse=True)
def same_code() -> Iterator[None]:
    """The code stays the same, whatever is done in this checkout meanwhile; see tests/runs/test_provenance.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("racing.training.trainer.facts", lambda _: FACTS)
        patch.setattr("racing.runs.provenance.git_state", lambda _: CODE)
        yield


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A training that nobody disturbed."""
    return trained_run(tmp_path_factory.mktemp("calm"), *PPO)


@pytest.fixture(scope="module")
def stopped_once(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """The same training, stopped in its seventh update; its checkpoints: 4096, 8192, 12288, 14336."""
    return stopped_run(13_000, tmp_path_factory.mktemp("stopped"), *PPO, "checkpoint.keep_last=9")


@pytest.fixture
def stopped(stopped_once: RunDirectory, tmp_path: Path) -> RunDirectory:
    return copied(stopped_once, tmp_path)


def goes_on(run: RunDirectory, *arguments: str) -> int:
    return train(run.path.parents[1], *PPO, *arguments)


def check_equal(run: RunDirectory, calm: RunDirectory, total: int = TOTAL) -> None:
    assert run.status == "FINISHED"
    assert state_bytes(run, total) == state_bytes(calm, total)
    assert (run.path / "export/policy.onnx").read_bytes() == (calm.path / "export/policy.onnx").read_bytes()
    assert points(run) == points(calm)
    assert set(points(run).values()) == {1}
    clocks = ("learning_s", "steps_per_s", "eval_time_s", *MILESTONES, "lap_picture", "replay", "onnx", "laps")
    assert {k: v for k, v in run.summary.items() if k not in clocks} == {
        k: v for k, v in calm.summary.items() if k not in clocks
    }


def checkpoints_of(run: RunDirectory) -> list[str]:
    return sorted(path.name for path in (run.path / "checkpoints").iterdir())


def recorded(run: RunDirectory, kind: str) -> list[dict]:
    return [line.record for line in read_journal(run.path / "journal.jsonl") if line.record["kind"] == kind]


# signals


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR2"])
def test_a_signal_saves_and_leaves_with_75_and_the_same_command_continues(
    name: str, calm: RunDirectory, tmp_path: Path
):
    """SIGTERM also with MLflow: the copy is KILLED, then goes on as the same run."""
    tracked = name == "SIGTERM"
    arguments = ["debug=fast", "eval.episodes=2", *PPO, *([] if tracked else ["tracking=none"])]
    process = subprocess.Popen(train_command(tmp_path, arguments), stderr=subprocess.PIPE, text=True)
    run = run_of(tmp_path, arguments)
    deadline = time.monotonic() + PATIENCE
    while not run.exists or not recorded(run, "metrics"):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(getattr(signal, name))
    assert process.wait(PATIENCE) == 75
    said = process.stderr.read().splitlines()
    step = Checkpoints(run.path).all()[-1].step
    assert said[-1] == (
        f"racing train: {run.name} stopped at step {step:,} on {name}, checkpoint saved; run the same command to resume"
    )
    assert said[:-1] == [
        f"{run.name}: {TOTAL:,} steps on cpu (no gpu here)",
        f"{name}: will checkpoint after this update and exit",
    ]
    assert 0 < step < TOTAL
    assert run.status == "STOPPED"
    assert max(line["step"] for line in recorded(run, "metrics")) == step
    assert json.loads((run.path / f"{run.name}.meta.json").read_text())["status"] == "STOPPED"
    before = Copy(run) if tracked else None
    assert before is None or before.status == "KILLED"

    assert main(["train", *arguments, f"paths.outputs={tmp_path}"]) == 0
    check_equal(run, calm)
    assert [line["continued"] for line in recorded(run, "start")] == [False, True]
    if before is not None:
        copy = Copy(run)
        assert (copy.run_id, copy.status) == (before.run_id, "FINISHED")
        sent: Counter = Counter()
        for metric in copy.run.data.metrics:
            for (at, value), number in copy.points(metric).items():
                sent[metric, at, "" if "time/" in metric else repr(value)] += number
        assert sent == points(calm)


def test_a_second_interrupt_leaves_at_once(calm: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    capsys.readouterr()
    assert train_until(9000, tmp_path, *PPO, signals=[signal.SIGINT, signal.SIGINT]) == 130
    begun, *said = capsys.readouterr().err.splitlines()
    assert said == ["SIGINT: will checkpoint after this update and exit", "racing: interrupted"]
    run = only_run(tmp_path)
    assert begun == f"{run.name}: {TOTAL:,} steps on cpu (no gpu here)"
    assert run.status == "KILLED"
    assert checkpoints_of(run) == ["000004096", "000008192"]
    assert goes_on(run) == 0
    check_equal(run, calm)


def test_a_second_signal_of_another_kind_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """SLURM sends SIGTERM some time after SIGUSR2."""
    assert train_until(1, tmp_path, *PPO, signals=[signal.SIGUSR2, signal.SIGTERM]) == 75
    assert "stopped at step 2,048 on SIGUSR2" in capsys.readouterr().err
    assert only_run(tmp_path).status == "STOPPED"


@pytest.mark.parametrize("step", [1, TOTAL - 1], ids=["first", "last"])
def test_stopped_in_the_first_and_in_the_last_update(step: int, calm: RunDirectory, tmp_path: Path):
    run = stopped_run(step, tmp_path, *PPO)
    assert checkpoints_of(run)[-1] == ("000002048" if step == 1 else f"{TOTAL:09d}")
    assert goes_on(run) == 0
    check_equal(run, calm)


# damage


def flip(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 4]) + whole[len(whole) // 2 + 1 :])


@pytest.mark.parametrize("damage", ["a flipped byte", "a missing file", "no COMPLETE"])
def test_a_damaged_checkpoint_is_told_kept_and_the_one_before_it_used(
    damage: str, stopped: RunDirectory, calm: RunDirectory, capsys: pytest.CaptureFixture[str]
):
    newest = stopped.path / "checkpoints" / "000014336"
    harmed = newest / {"a flipped byte": "optimizer.npz", "a missing file": "world.npz"}.get(damage, "COMPLETE")
    if damage == "a flipped byte":
        flip(harmed)
    else:
        harmed.unlink()
    assert goes_on(stopped) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith(f"{stopped.name}: {harmed}")
    assert said[0].endswith("the one before it is used")
    assert said[1] == f"{stopped.name}: resuming from step 12,288"
    assert "000014336.damaged" in checkpoints_of(stopped)
    (event,) = [line for line in recorded(stopped, "event") if line["name"] == "checkpoint damaged"]
    assert str(harmed) in event["problem"]
    check_equal(stopped, calm)


def refused(capsys: pytest.CaptureFixture[str], run: RunDirectory, *arguments: str) -> str:
    """The one line that the command says on stderr; nothing of the run but its journal was touched."""
    before, journal = contents(run.path, ("run.lock", "journal.jsonl")), (run.path / "journal.jsonl").read_bytes()
    capsys.readouterr()
    assert goes_on(run, *arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert len(line) < 600
    assert contents(run.path, ("run.lock", "journal.jsonl")) == before
    kinds = [json.loads(new)["kind"] for new in (run.path / "journal.jsonl").read_bytes()[len(journal) :].splitlines()]
    assert kinds in ([], ["start", "end"])
    assert run.status == "STOPPED"
    return line


def test_all_checkpoints_damaged(stopped: RunDirectory, calm: RunDirectory, capsys: pytest.CaptureFixture[str]):
    for path in (stopped.path / "checkpoints").iterdir():
        flip(path / "policy.npz")
    line = refused(capsys, stopped)
    assert "000014336/policy.npz must have the sha256" in line
    assert line.endswith("no checkpoint of the run is whole: restore one, or use fresh=true")
    flip(stopped.path / "checkpoints" / "000008192" / "policy.npz")  # restored
    assert goes_on(stopped) == 0
    check_equal(stopped, calm)


@pytest.mark.parametrize("damage", ["newest chunk", "all chunks"])
def test_a_damaged_chunk_of_the_replay_buffer(damage: str, sac_calm, sac_stopped, tmp_path: Path, capsys):
    run = copied(sac_stopped, tmp_path)
    chunks = sorted((run.path / "replay").iterdir())
    assert len(chunks) >= 3
    flip(chunks[-1])
    if damage == "all chunks":
        for chunk in chunks[:-1]:
            chunk.unlink()
        capsys.readouterr()
        assert train(tmp_path, *SAC) == 2
        assert "no checkpoint of the run is whole" in capsys.readouterr().err
        return
    assert train(tmp_path, *SAC) == 0
    assert f"{chunks[-1]} must have the sha256" in capsys.readouterr().err
    check_equal(run, sac_calm, SAC_TOTAL)


@pytest.fixture(scope="module")
def sac_calm(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return trained_run(tmp_path_factory.mktemp("sac"), *SAC)


@pytest.fixture(scope="module")
def sac_stopped(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """Checkpoints at 256, 512, 768 and 912 steps; the buffer of 640 has wrapped."""
    return stopped_run(900, tmp_path_factory.mktemp("sac"), *SAC, "checkpoint.keep_last=9")


# what cannot be continued


def test_a_checkpoint_of_another_configuration(
    stopped: RunDirectory, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
):
    elsewhere = stopped_run(1, tmp_path_factory.mktemp("other"), *PPO, "seed=4", "algo.gamma=0.5")
    other = elsewhere.path / "checkpoints" / "000002048"
    shutil.rmtree(stopped.path / "checkpoints")
    shutil.copytree(other, stopped.path / "checkpoints" / other.name)
    line = refused(capsys, stopped)
    assert "000002048 must be of the configuration that is to be continued, it differs in " in line
    assert "seed is 4, not 0" in line
    assert "algo.gamma is 0.5, not 0.98" in line
    assert line.endswith("use fresh=true, or init_from for a new run")


def edit(run: RunDirectory, **changes) -> None:
    path = run.path / "config.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}))


def test_an_edited_configuration(stopped: RunDirectory, calm: RunDirectory, capsys: pytest.CaptureFixture[str]):
    path = stopped.path / "config.yaml"
    whole = path.read_text()
    edit(stopped, seed=7, more=True)
    line = refused(capsys, stopped)
    assert f"{path} must be what the run began with, it was edited: seed is 7, not 0; more is True, not absent" in line
    assert line.endswith("restore the file, or use fresh=true")
    path.write_text(yaml.safe_dump({"seed": 0}))
    assert "; and " in refused(capsys, stopped)
    path.write_text("seed: [")
    assert f"{path} must be YAML, it was damaged; restore it" in refused(capsys, stopped)
    path.unlink()
    assert f"{path} must be what the run began with, it was removed; restore the file" in refused(capsys, stopped)
    path.write_text(whole)
    edit(stopped, hardware={})  # where it runs is not what it computes
    assert goes_on(stopped) == 0
    check_equal(stopped, calm)


@pytest.mark.parametrize("missing", [1, 100, 2000])
def test_a_truncated_journal_stays_refused(missing: int, stopped: RunDirectory, capsys: pytest.CaptureFixture[str]):
    """Also when the lines of the attempts have made it longer than it was."""
    journal = stopped.path / "journal.jsonl"
    position = Checkpoints(stopped.path).all()[-1].notes["journal"]
    journal.write_bytes(journal.read_bytes()[: position - missing])
    for _ in range(2):
        assert train(stopped.path.parents[1], *PPO) == 2
        line = capsys.readouterr().err
        assert f"{journal} must hold the {position} bytes that it held at checkpoint 14336; it was truncated" in line
    assert stopped.status == "STOPPED"


def test_a_torn_last_line_is_repaired(stopped: RunDirectory, calm: RunDirectory):
    with (stopped.path / "journal.jsonl").open("ab") as file:
        file.write(b'{"ts":1,"kind":"metrics","step":99,"val')
    assert goes_on(stopped) == 0
    check_equal(stopped, calm)


def test_a_file_or_a_foreign_directory_in_its_place(
    calm: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    place = tmp_path / "runs" / calm.name
    place.parent.mkdir()
    place.write_text("mine")
    assert train(tmp_path, *PPO) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{place}: File exists" in line
    assert place.read_text() == "mine"
    place.unlink()
    place.mkdir()
    (place / "config.yaml").write_text("mine")
    (place / "notes.txt").write_text("mine, too")
    assert train(tmp_path, *PPO) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{place} must be a run directory or empty, it has no journal.jsonl but config.yaml, notes.txt" in line
    assert contents(place) == {"config.yaml": b"mine", "notes.txt": b"mine, too"}
    assert train(tmp_path, *PPO, "fresh=true", "algo.total_timesteps=2048", f"name={calm.name}") == 0  # not the place
    assert contents(place) == {"config.yaml": b"mine", "notes.txt": b"mine, too"}


def test_fresh_moves_a_foreign_directory_aside(stopped: RunDirectory, calm: RunDirectory):
    (stopped.path / "journal.jsonl").unlink()
    assert goes_on(stopped) == 2
    assert goes_on(stopped, "fresh=true") == 0
    check_equal(stopped, calm)
    assert (stopped.path.with_name(f"{stopped.name}.1") / "checkpoints" / "000014336").is_dir()


# what may change between two starts


def test_other_code_or_machine_is_told(
    stopped: RunDirectory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("racing.training.trainer.facts", lambda _: FACTS | {"package torch": "2.1"})
    assert goes_on(stopped, "hardware.torch_threads=2") == 0
    changed = "package torch: 2.0 -> 2.1; torch threads: 1 -> 2"
    warning = (
        f"{stopped.name}: warning: results may not be bit-identical, the checkpoint was made with another {changed}"
    )
    said = capsys.readouterr().err.splitlines()
    assert said[:2] == [f"{stopped.name}: resuming from step 14,336", warning]
    assert {"racing.continued_with": changed} in [line["values"] for line in recorded(stopped, "tags")]


def test_the_same_code_and_machine_are_not_told(stopped: RunDirectory, capsys: pytest.CaptureFixture[str]):
    assert goes_on(stopped) == 0
    begun = f"{stopped.name}: {TOTAL:,} steps on cpu (no gpu here)"
    assert capsys.readouterr().err.splitlines() == [f"{stopped.name}: resuming from step 14,336", begun]
    assert not [line for line in recorded(stopped, "tags") if "racing.continued_with" in line["values"]]


# when and what is saved


@pytest.mark.parametrize(
    ("rules", "steps"),
    [
        (["checkpoint.every=0", "checkpoint.every_minutes=1e-9"], range(2048, 8193, 2048)),
        (["checkpoint.every=0", "checkpoint.every_minutes=0"], [8192]),
        (["checkpoint.every=3000", "checkpoint.every_minutes=0"], [4096, 6144, 8192]),
        (["checkpoint.every=0", "checkpoint.milestone_every=4096", "checkpoint.keep_last=1"], [4096, 8192]),
    ],
    ids=["minutes", "end", "every", "milestones"],
)
def test_when_a_checkpoint_is_made(rules: list[str], steps, tmp_path: Path):
    arguments = ["algo.n_steps=16", "algo.total_timesteps=8192", "eval.every_steps=0", "checkpoint.keep_last=9"]
    run = trained_run(tmp_path, *arguments, *rules)
    assert checkpoints_of(run) == [f"{step:09d}" for step in steps]
    assert [line["step"] for line in recorded(run, "event") if line["name"] == "checkpoint"] == list(steps)


def test_a_disk_that_fills_up_fails_the_run_which_goes_on_when_there_is_space(
    small_disk: Path,  # noqa: F811
    calm: RunDirectory,
    capsys: pytest.CaptureFixture[str],
):
    """1 MiB: a checkpoint fits."""
    arguments = [*PPO, "checkpoint.every=2048", "checkpoint.keep_last=99"]
    fill(small_disk / "rest")
    with (small_disk / "rest").open("r+b") as file:
        file.truncate(file.seek(0, 2) - (950 << 10))
    with pytest.raises(OSError, match=r"checkpoints/0000\d+: No space left on device; the checkpoints before it are"):
        train(small_disk, *arguments)
    run = only_run(small_disk)
    assert run.status == "FAILED"
    assert "No space left" in recorded(run, "end")[-1]["error"]
    kept = Checkpoints(run.path).all()
    assert len(kept) >= 1
    assert not list((run.path / "checkpoints").glob(".*"))
    (small_disk / "rest").unlink()
    # The whole record does not fit here: it goes on elsewhere.
    moved = copied(run, small_disk.parent / "large")
    capsys.readouterr()
    assert train(small_disk.parent / "large", *arguments) == 0
    assert f"resuming from step {kept[-1].step:,}" in capsys.readouterr().err
    check_equal(moved, calm)
