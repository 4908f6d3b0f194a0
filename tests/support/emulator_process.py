"""The emulator's process: ``python -m tests.support.emulator_process LISTENING_DESCRIPTOR``.

Runs until its standard input closes, so that it cannot outlive the test run, however that ends.
"""

import asyncio
import os
import shutil
import sys
from typing import Any, cast


async def serve(descriptor: int) -> None:
    import hypercorn.asyncio
    from hypercorn.config import Config
    from ministack.app import app

    from cli.emulator.patches import patch_credentials
    from cli.emulator.request_guard import RequestGuard, is_issued

    access_key = os.environ["AWS_ACCESS_KEY_ID"]
    patch_credentials(access_key)
    guarded = RequestGuard(app, asyncio.Event(), access_key=access_key, is_issued=is_issued)
    config = Config()
    config.bind = [f"fd://{descriptor}"]
    config.graceful_timeout = 0.1
    config.keep_alive_timeout = 75
    config.loglevel = "WARNING"

    async def until_input_closes() -> None:
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)

    await hypercorn.asyncio.serve(cast(Any, guarded), config, shutdown_trigger=until_input_closes)


def stop_function_workers() -> None:
    runtime = sys.modules.get("ministack.core.lambda_runtime")
    if runtime is not None:
        with runtime._lock:
            workers = [worker for pool in runtime._workers.values() for worker in pool]
        runtime.kill_workers(workers)


if __name__ == "__main__":
    try:
        asyncio.run(serve(int(sys.argv[1])))
    finally:
        stop_function_workers()
        shutil.rmtree(os.environ["TMPDIR"], ignore_errors=True)
        os._exit(0)  # threads of the emulator that wait for functions would hold the interpreter back
