"""Saves the database and etcd's values of this environment, and brings them back: save PATH | restore PATH.

Makes PATH.dump and PATH.etcd.json. Wants BAISTACK_ENVID and BAISTACK, which every process of a stack has.
"""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

DAEMONS = ["agent", "webserver", "storage-proxy", "manager"]
PREFIX = f"/sorna/{os.environ['BAISTACK_ENVID']}/"


def inside(service: str, *command: str, given: bytes = b"") -> bytes:
    words = [os.environ["BAISTACK"], "exec", "-T", service, *command]
    return subprocess.run(words, input=given, stdout=subprocess.PIPE, check=True).stdout


def etcdctl(*command: str) -> bytes:
    return inside("backendai-half-etcd", "etcdctl", *command)


def baistack(*command: str) -> None:
    subprocess.run([os.environ["BAISTACK"], *command], check=True)


def write(path: Path, content: bytes) -> None:
    """All of it or nothing: an older copy stays until this one is whole."""
    fresh = path.with_name(path.name + ".new")
    fresh.touch(mode=0o600)
    fresh.write_bytes(content)
    fresh.rename(path)
    print(f"{path}: {len(content)} bytes")


def save(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    database = inside("backendai-half-db", "pg_dump", "-U", "postgres", "-Fc", "backend")
    pairs = json.loads(etcdctl("get", "--prefix", PREFIX, "-w", "json")).get("kvs", [])
    plain = {
        base64.b64decode(pair["key"]).decode().removeprefix(PREFIX): base64.b64decode(pair.get("value", "")).decode()
        for pair in pairs
    }
    write(Path(f"{path}.dump"), database)
    write(Path(f"{path}.etcd.json"), json.dumps(plain, indent=1).encode())


def restore(path: Path) -> None:
    # Read before anything is stopped or lost.
    database = Path(f"{path}.dump").read_bytes()
    values = json.loads(Path(f"{path}.etcd.json").read_text())
    baistack("stop", *DAEMONS)
    inside(
        "backendai-half-db", "pg_restore", "-U", "postgres", "--clean", "--if-exists", "--single-transaction", "-d", "backend",
        given=database,
    )
    etcdctl("del", "--prefix", PREFIX)
    for key, value in values.items():
        etcdctl("put", "--", PREFIX + key, value)
    baistack("start", *reversed(DAEMONS))


{"save": save, "restore": restore}[sys.argv[1]](Path(sys.argv[2]))
