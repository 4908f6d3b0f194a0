"""The embedded emulator for a test run: quiet, on the loopback address, gone with the run."""

import os
import secrets
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REGION = "us-east-1"
ACCOUNT = "000000000000"
# Nobody else may use the emulator while tests run. The processes of one test run inherit it from the first.
ACCESS_KEY = os.environ.setdefault("ESCTL_TESTS_ACCESS_KEY", f"ESCTL{secrets.token_hex(20).upper()}")

# What a Python process needs to find its things; no proxy, no credentials, no settings of the user's.
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "PYTHONUSERBASE", "VIRTUAL_ENV")
_START_TIMEOUT_S = 60
_STOP_TIMEOUT_S = 10


@contextmanager
def running_emulator(folder: Path) -> Iterator[str]:
    """Run the emulator with all its files in ``folder``; yields its endpoint URL."""
    temporary = folder / "tmp"
    temporary.mkdir(parents=True)
    # It listens before the process is there: no port is guessed, and a first request waits for the start.
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(512)
        port = listener.getsockname()[1]
        with (folder / "emulator.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.emulator_process", str(listener.fileno())],
                cwd=Path(__file__).parents[2],
                env=_environment(folder, port),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=[listener.fileno()],
            )
    endpoint = f"http://127.0.0.1:{port}"
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        authorization = {"Authorization": f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/health"}
        health = urllib.request.Request(f"{endpoint}/_ministack/health", headers=authorization)
        opener.open(health, timeout=_START_TIMEOUT_S).close()
        yield endpoint
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _environment(folder: Path, port: int) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return kept | {
        "TMPDIR": str(folder / "tmp"),
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": ACCESS_KEY,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "MINISTACK_REGION": REGION,
        "MINISTACK_ACCOUNT_ID": ACCOUNT,
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "DOCKER_HOST": f"unix://{folder}/no-docker.sock",
        "LOG_LEVEL": "WARNING",
        "STATE_DIR": str(folder / "services"),
        "S3_DATA_DIR": str(folder / "s3"),
    }
