"""`python -m infusenet` is the `infusenet` command."""

from .cli import main

if __name__ == "__main__":
    raise SystemExit(main())
