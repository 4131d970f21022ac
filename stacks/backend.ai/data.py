"""Saves the database and etcd's values of this environment, and brings them back: save PATH | restore PATH.

Makes PATH.dump and PATH.etcd.json; the ones before them stay as PATH.dump.1 and PATH.etcd.json.1. The second file of a pair holds the hash of
the first, so that what an interrupted save has left is still told apart. Wants BAISTACK_ENVID and BAISTACK, which every process of a stack has.
"""

import base64
import hashlib
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


def named(path: Path, kind: str, which: str = "") -> Path:
    return Path(f"{path}.{kind}{which}")


def write(path: Path, content: bytes) -> None:
    """Down to the disk, for its owner alone."""
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def pair(path: Path, which: str) -> tuple[bytes, dict[str, str]] | None:
    """The values of a copy, and the database that was saved with them, whatever that is called by now."""
    try:
        saved = json.loads(named(path, "etcd.json", which).read_text())
    except FileNotFoundError:
        return None
    if "values" not in saved:
        # From before pairs were told apart.
        dump = named(path, "dump", which)
        return (dump.read_bytes(), saved) if dump.exists() else None
    for other in ("", ".new", ".1"):
        dump = named(path, "dump", other)
        if dump.exists() and hashlib.sha256(content := dump.read_bytes()).hexdigest() == saved["dump"]:
            print(f"{dump} and {named(path, 'etcd.json', which)}, which were saved together")
            return content, saved["values"]
    return None


def save(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    database = inside("backendai-half-db", "pg_dump", "-U", "postgres", "-Fc", "backend")
    pairs = json.loads(etcdctl("get", "--prefix", PREFIX, "-w", "json")).get("kvs", [])
    plain = {
        base64.b64decode(pair["key"]).decode().removeprefix(PREFIX): base64.b64decode(pair.get("value", "")).decode()
        for pair in pairs
    }
    saved = {"dump": hashlib.sha256(database).hexdigest(), "values": plain}
    contents = {"dump": database, "etcd.json": json.dumps(saved, indent=1).encode()}
    # Both are there whole before anything of the copy before is touched.
    for kind, content in contents.items():
        write(named(path, kind, ".new"), content)
    for before, after in (("", ".1"), (".new", "")):
        for kind in contents:
            if named(path, kind, before).exists():
                named(path, kind, before).rename(named(path, kind, after))
    for kind, content in contents.items():
        print(f"{named(path, kind)}: {len(content)} bytes")


def restore(path: Path) -> None:
    # Read before anything is stopped or lost.
    found = next(filter(None, (pair(path, which) for which in ("", ".new", ".1"))), None)
    if found is None:
        sys.exit(f"no {path}.dump was saved together with a {path}.etcd.json: save one first, or put both files of one copy there")
    database, values = found
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
