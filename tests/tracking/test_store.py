"""The embedded store is there whole or not at all."""

from pathlib import Path

import pytest

from racing.commands.doctor import store
from racing.errors import InputError
from racing.files import temporary_path
from racing.tracking import store as module
from racing.tracking.client import Store
from racing.tracking.store import connect, embedded_uri, open_client, resolve_uri, sqlite_file


@pytest.mark.cold
def test_what_a_killed_process_left_of_a_new_database_is_no_hindrance(tmp_path: Path):
    file = sqlite_file(embedded_uri(tmp_path))
    half = temporary_path(file)
    half.write_bytes(b"half of a database")
    assert open_client(embedded_uri(tmp_path), tmp_path).search_experiments()
    assert file.exists()
    assert not half.exists()


@pytest.mark.slow
@pytest.mark.cold
@pytest.mark.parametrize("name", ["pct%41b", "a?b#c=d&e;f:g h~é"])
def test_folders_may_have_any_name(tmp_path: Path, name: str):
    """Of a name that is an escape, or begins a query, in a URI. Nothing is made beside the folder."""
    outputs = tmp_path / "parent" / name
    outputs.mkdir(parents=True)
    client, experiment = connect(embedded_uri(outputs), "racing", outputs)
    run = client.create_run(experiment)
    client.log_text(run.info.run_id, "hello", "note.txt")
    assert sqlite_file(embedded_uri(outputs)) == outputs / "mlflow.db"
    assert resolve_uri(embedded_uri(outputs), tmp_path) == embedded_uri(outputs)
    assert (outputs / "mlflow.db").is_file()
    assert [path.read_text() for path in (outputs / "mlartifacts").rglob("note.txt")] == ["hello"]
    assert Store(None, outputs).client.get_run(run.info.run_id)
    assert store(outputs / "mlflow.db").found.startswith("1 runs in")
    assert [path.name for path in outputs.parent.iterdir()] == [name]


@pytest.mark.parametrize("uri", ["ftp://host", "azure://host", "databrick", "mlflow.db"])
def test_an_address_of_no_store_is_refused(tmp_path: Path, uri: str):
    with pytest.raises(InputError, match=r"must begin with http://, https:// or sqlite:///"):
        resolve_uri(uri, tmp_path)


@pytest.mark.parametrize(("release", "file"), [("2.0.49", "/a/%41.db"), ("2.1.0", "/a/A.db"), ("3.0.0", "/a/A.db")])
def test_escapes_are_read_as_that_release_of_sqlalchemy_reads_them(
    release: str, file: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "version", lambda _: release)
    assert sqlite_file("sqlite:////a/%41.db") == Path(file)


def test_an_ordinary_address_is_what_it_always_was(tmp_path: Path):
    assert embedded_uri(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
