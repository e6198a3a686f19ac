"""Disks by their addresses on the command line: modal://VOLUME, s3://BUCKET/FOLDER."""

from __future__ import annotations

from racing.errors import InputError
from racing_launchers.remote.files import JobFiles, RemoteFiles, WritableFiles

MODAL, S3 = "modal://", "s3://"


def open_runs(address: str) -> RemoteFiles:
    """What lies there of jobs. Raises InputError for other addresses, and where nobody answers."""
    if address.startswith(S3):
        from racing_launchers.aws_spot import browse

        return browse.open_runs(address)
    _require_modal(address)
    from racing_launchers.modal.volume import Volume, volume_name

    return Volume(volume_name(address))


def open_jobs(address: str) -> JobFiles:
    """All that jobs have left there, to be removed in parts. Raises InputError as `open_runs`."""
    if address.startswith(S3):
        from racing_launchers.aws_spot import browse

        return browse.open_jobs(address)
    _require_modal(address)
    from racing_launchers.modal.volume import Volume, volume_name

    return Volume(volume_name(address))


def open_tracks(address: str, *, create: bool = False) -> WritableFiles:
    """The tracks there. create: make the volume if it is missing. Raises InputError as `open_runs`."""
    if address.startswith(S3):
        from racing_launchers.aws_spot import browse

        return browse.open_tracks(address)
    _require_modal(address)
    from racing_launchers.modal.volume import Volume, volume_name

    return Volume(volume_name(address), create=create)


def _require_modal(address: str) -> None:
    if not address.startswith(MODAL):
        raise InputError(f"{address!r} must be modal://VOLUME or s3://BUCKET/FOLDER; `modal volume list` names volumes")
