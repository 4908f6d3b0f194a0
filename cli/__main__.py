"""``python -m cli`` is ``esctl``."""

from cli.shell.main import main

if __name__ == "__main__":
    main()
