"""A study in a file, or in a modal.Dict, that several write to; and what a torn line does to it."""

from __future__ import annotations

import json
import pickle
import threading
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage

from racing.errors import InputError
from racing.tuning.storage import StudyDict, open_storage


class Entries:
    """What a modal.Dict does, in memory: values are copies, `put` with skip_if_exists is atomic."""

    def __init__(self) -> None:
        self.content: dict[bytes, bytes] = {}
        self.lock = threading.Lock()
        self.before_put = lambda: None

    def get(self, key, default=None):
        found = self.content.get(pickle.dumps(key))
        return default if found is None else pickle.loads(found)

    def put(self, key, value, *, skip_if_exists: bool = False) -> bool:
        self.before_put()
        with self.lock:
            if skip_if_exists and pickle.dumps(key) in self.content:
                return False
            self.content[pickle.dumps(key)] = pickle.dumps(value)
            return True


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def fill(storage, trials: int) -> None:
    study = optuna.create_study(study_name="s", storage=storage, load_if_exists=True, direction="maximize")
    for _ in range(trials):
        trial = study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
        trial.report(0.5, 1)
        study.tell(trial, trial.params["x"])


def check_whole(storage, trials: int) -> None:
    found = optuna.load_study(study_name="s", storage=storage).trials
    assert [t.number for t in found] == list(range(trials))
    assert all(t.state.name == "COMPLETE" and t.value == t.params["x"] for t in found)


def together(work, workers: int) -> None:
    failures = []

    def guarded():
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_modal_dict_shared_by_several_clients():
    entries = Entries()
    together(lambda: fill(JournalStorage(StudyDict(entries)), 5), 4)
    check_whole(JournalStorage(StudyDict(entries)), 20)


def test_modal_dict_never_overwrites_an_entry():
    entries = Entries()
    one, other = StudyDict(entries), StudyDict(entries)
    one.append_logs([{"a": 1}, {"a": 2}])
    other.append_logs([{"b": 1}])
    entries.before_put = lambda: (setattr(entries, "before_put", lambda: None), other.append_logs([{"b": 2}]))
    one.append_logs([{"a": 3}])  # while the other takes the number that was free
    expected = [{"a": 1}, {"a": 2}, {"b": 1}, {"b": 2}, {"a": 3}]
    assert list(one.read_logs(0)) == list(other.read_logs(0)) == list(StudyDict(entries).read_logs(0)) == expected
    assert list(one.read_logs(2)) == expected[2:]


def test_modal_dict_is_opened_by_its_name(monkeypatch):
    import modal

    entries, asked = Entries(), []
    monkeypatch.setattr(modal.Dict, "from_name", lambda name, **how: (asked.append((name, how)), entries)[1])
    fill(open_storage("modal-dict://laps"), 1)
    check_whole(open_storage("modal-dict://laps"), 1)
    assert asked == [("laps", {"create_if_missing": True})] * 2
    with pytest.raises(InputError, match=r"must name a modal\.Dict"):
        open_storage("modal-dict://")


def test_file_shared_by_several_clients(tmp_path: Path):
    path = str(tmp_path / "deep" / "study.journal")
    together(lambda: fill(open_storage(path), 5), 3)
    check_whole(open_storage(path), 15)


@pytest.mark.parametrize("rest", [b'{"op_code":6,"wor', b"\xff\xfe"])
def test_a_torn_last_line_has_not_happened(rest: bytes, tmp_path: Path):
    path = tmp_path / "study.journal"
    fill(open_storage(str(path)), 2)
    whole = path.read_bytes()
    path.write_bytes(whole + rest)
    check_whole(open_storage(str(path)), 2)
    fill(open_storage(str(path)), 1)
    check_whole(open_storage(str(path)), 3)
    assert path.read_bytes().startswith(whole)
    assert all(json.loads(line) for line in path.read_bytes().splitlines())


def test_what_is_no_storage(tmp_path: Path):
    with pytest.raises(InputError, match="must be a file or modal-dict://NAME"):
        open_storage("sqlite:///x.db")
    (tmp_path / "file").write_text("text\nmore\n")
    with pytest.raises(InputError, match="must be the file of a study, it is damaged"):
        open_storage(str(tmp_path / "file"))
    with pytest.raises(InputError, match="must be a writable file"):
        open_storage(str(tmp_path / "file" / "study"))
    with pytest.raises(InputError, match="must be a writable file"):
        open_storage(str(tmp_path))
