"""Why a task could not be started, in the words that ECS would have used for its stoppedReason.

ECS-DG/stopped-task-error-codes names the two classes; what follows the colon is the container runtime's
own text as seen on Fargate platform version 1.4.0 [observed]. Imports nothing: every task agent loads it.
"""

from __future__ import annotations

import errno
import os

_CANNOT_START = (
    "CannotStartContainerError: ResourceInitializationError: failed to create new container runtime task: "
    "failed to create shim task: OCI runtime create failed: runc create failed: "
    "unable to start container process: "
)


def start_failure(program: str, working_directory: str, error: Exception) -> str:
    """The program could not be executed in that directory; `error` says how it failed."""
    if not os.path.isdir(working_directory):
        cause = f'chdir to cwd ("{working_directory}") set in config.json failed: no such file or directory'
    elif isinstance(error, FileNotFoundError) and os.path.basename(program) == program:
        cause = f'exec: "{program}": executable file not found in $PATH'
    elif isinstance(error, FileNotFoundError):
        cause = f'exec: "{program}": stat {program}: no such file or directory'
    elif isinstance(error, PermissionError):
        cause = f'exec: "{program}": permission denied'
    elif isinstance(error, OSError) and error.errno == errno.ENOEXEC:
        cause = f"exec {program}: exec format error"
    else:
        cause = f'exec: "{program}": {error}'
    return f"{_CANNOT_START}{cause}: unknown"


def log_failure(error: OSError) -> str:
    """The log file cannot be written."""
    return f"CannotStartContainerError: failed to initialize logging driver: {error}"


def pull_failure(image: str) -> str:
    """There is no such image. A name without a registry means Docker Hub's library."""
    head, slash, _ = image.partition("/")
    has_registry = bool(slash) and ("." in head or ":" in head or head == "localhost")
    reference = image if has_registry else f"docker.io/{image}" if slash else f"docker.io/library/{image}"
    if ":" not in reference.rpartition("/")[2]:
        reference += ":latest"
    return (
        "CannotPullContainerError: pull image manifest has been retried 1 time(s): "
        f"failed to resolve ref {reference}: {reference}: not found"
    )
