"""A PostgreSQL of our own, for as long as a test needs it."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from serving.launch import free_port

PLACES = (Path("/usr/lib/postgresql/15/bin"), Path("/usr/lib/postgresql/17/bin"), Path("/usr/local/bin"))
PASSWORD = "a:b/c@d e%"  # what would have to be escaped in a URI


def _program(name: str) -> str:
    found = shutil.which(name, path=os.pathsep.join([os.environ["PATH"], *map(str, PLACES)]))
    if found is None:
        pytest.skip(f"{name} is not here: on Debian 12 as root apt-get install --no-install-recommends postgresql")
    return found


@contextmanager
def postgres() -> Iterator[dict[str, str]]:
    """Start one with an empty database; gives libpq's variables, as the Secret of the manifest holds them."""
    initdb, server = _program("initdb"), _program("postgres")
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    home = Path(tempfile.mkdtemp(prefix="omnivec-postgres-"))
    port = str(free_port())
    (home / "password").write_text(PASSWORD)
    if user:
        for path in (home, home / "password"):
            shutil.chown(path, user)
    asked = ["--auth=scram-sha-256", "--username=omnivec", f"--pwfile={home / 'password'}", "--encoding=UTF8"]
    process = None
    try:
        subprocess.run([initdb, "-D", home / "data", *asked], check=True, user=user, cwd=home, capture_output=True)
        flags = ["-D", home / "data", "-p", port, "-c", "listen_addresses=127.0.0.1", "-k", home, "-F"]
        with (home / "log").open("wb") as log:
            process = subprocess.Popen([server, *flags], user=user, cwd=home, stdout=log, stderr=log)
        variables = {"PGHOST": "127.0.0.1", "PGPORT": port, "PGDATABASE": "mlflow", "PGUSER": "omnivec"}
        variables |= {"PGPASSWORD": PASSWORD, "PGSSLMODE": "disable"}
        _make_database(variables, home / "log")
        yield variables
    finally:
        if process is not None:
            process.terminate()
            process.wait(60)
        shutil.rmtree(home)


def _make_database(variables: dict[str, str], log: Path) -> None:
    import psycopg

    until = time.monotonic() + 120
    given = {"host": variables["PGHOST"], "port": variables["PGPORT"], "user": "omnivec", "password": PASSWORD}
    while True:
        try:
            with psycopg.connect(dbname="postgres", autocommit=True, **given) as connection:
                connection.execute("CREATE DATABASE mlflow")
            return
        except psycopg.OperationalError:
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.2)
