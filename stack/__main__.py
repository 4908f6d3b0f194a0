"""``python -m stack``: the app that the CDK CLI runs (``cdk.json``)."""

import sys

from stack.app import SynthesisError, main

try:
    main()
except ValueError as wrong_setting:
    sys.stderr.write(f"{wrong_setting}\n")
    sys.exit(2)
except SynthesisError as refused:
    sys.stderr.write(f"{refused}\n")
    sys.exit(1)
