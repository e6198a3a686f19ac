"""The embedded store is there whole or not at all."""

from pathlib import Path

import pytest

from racing.files import temporary_path
from racing.tracking.store import embedded_uri, open_client, sqlite_file


@pytest.mark.cold
def test_what_a_killed_process_left_of_a_new_database_is_no_hindrance(tmp_path: Path):
    file = sqlite_file(embedded_uri(tmp_path))
    half = temporary_path(file)
    half.write_bytes(b"half of a database")
    assert open_client(embedded_uri(tmp_path), tmp_path).search_experiments()
    assert file.exists()
    assert not half.exists()
