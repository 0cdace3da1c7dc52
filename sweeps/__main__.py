"""``python -m sweeps``: the command line, as ``fairsweep``."""

from sweeps.commands.cli import main

if __name__ == "__main__":
    main()
