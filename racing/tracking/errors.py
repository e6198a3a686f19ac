"""What an error of the tracking store means for the line that was being sent."""

from __future__ import annotations


class Unreachable(Exception):
    """The store does not answer or is overloaded: the same call may succeed later."""


class Refused(Exception):
    """The store answers, but not to us, or the run was deleted there: trying again does not help."""


def http_status(error: BaseException) -> int | None:
    """Return the HTTP status behind an error of MLflow, requests or an object store; None without an answer."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore
        return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500))
    if getattr(response, "status_code", None) is not None:  # requests
        return int(response.status_code)  # type: ignore[union-attr]
    status = getattr(error, "get_http_status_code", None)  # MLflow
    return int(status()) if status else None


def classify(error: Exception) -> str:
    """Tell `later`: try again; `refused`: no use; `line`: this line is at fault, the others are not."""
    status = http_status(error)
    if status is None:
        transport = isinstance(error, OSError) and not isinstance(error, FileNotFoundError)
        return "later" if transport or type(error).__module__.startswith(("botocore", "urllib3")) else "line"
    if status >= 500 or status in (408, 409, 429):
        return "later"
    return "refused" if status in (401, 403, 404) else "line"
