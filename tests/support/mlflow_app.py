"""python -m tests.support.mlflow_app FOLDER DATABASE PORT: the application that `mlflow server` serves, in one process.

Artifacts lie in FOLDER.
"""

from __future__ import annotations

import os
import sys

import uvicorn


def main(folder: str, database: str, port: int) -> None:
    # As `mlflow server` tells the process that it starts; mlflow.server reads it when it is imported.
    os.environ |= {
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{database}",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": f"{folder}/artifacts",
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
    }
    uvicorn.run("mlflow.server.fastapi_app:app", host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
