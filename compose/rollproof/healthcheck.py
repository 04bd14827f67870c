"""Exit code 0 once the service of the stage has been steady. Standard library only: it runs every few seconds."""

import json
import os
import socket
import sys

TIMEOUT_S = 3.0


def main() -> int:
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(TIMEOUT_S)
            connection.connect(os.path.join(os.environ["ROLLPROOF_STATE_DIR"], "control.sock"))
            connection.sendall(b'{"do": "health"}\n')
            answer = json.loads(connection.makefile().readline() or "{}")
    except (OSError, ValueError) as error:
        sys.stderr.write(f"the orchestrator does not answer: {error}\n")
        return 1
    if answer.get("ok", {}).get("ready"):
        return 0
    sys.stderr.write("the service has not been steady yet\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
