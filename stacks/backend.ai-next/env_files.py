"""Writes the seven env-local-*.sh of upstream's installer into the working directory: env_files.py FIXTURES

Wants MANAGER and WEBSERVER, the addresses. Keys and passwords are those of the checkout's fixtures.
"""

import json
import os
import sys
from pathlib import Path

fixtures = Path(sys.argv[1])
keypairs = json.loads((fixtures / "example-keypairs.json").read_text())["keypairs"]
users = json.loads((fixtures / "example-users.json").read_text())["users"]


def write(name: str, *lines: str) -> None:
    path = Path(f"env-local-{name}.sh")
    path.touch(mode=0o600)
    path.write_text("".join(f"{line}\n" for line in lines))


def api(name: str, email: str) -> None:
    keypair = next(keypair for keypair in keypairs if keypair["user_id"] == email)
    write(
        f"{name}-api",
        "# Straight to the manager, with an API key.",
        f"export BACKEND_ENDPOINT={os.environ['MANAGER']}/ BACKEND_ENDPOINT_TYPE=api",
        f"export BACKEND_ACCESS_KEY={keypair['access_key']}",
        f"export BACKEND_SECRET_KEY={keypair['secret_key']}",
    )


def session(name: str, email: str) -> None:
    user = next(user for user in users if user["email"] == email)
    write(
        f"{name}-session",
        "# Through the web server, with a session: `backend.ai login`.",
        "unset BACKEND_ACCESS_KEY BACKEND_SECRET_KEY",
        f"export BACKEND_ENDPOINT={os.environ['WEBSERVER']} BACKEND_ENDPOINT_TYPE=session",
        f"echo 'backend.ai login, as {email} / {user['password']}'",
    )


for name, email in {
    "admin": "admin@lablup.com",
    "domainadmin": "domain-admin@lablup.com",
    "user": "user@lablup.com",
}.items():
    api(name, email)
    session(name, email)
api("user2", "user2@lablup.com")
