"""``python -m fusekit``: the command line."""

from fusekit.cli.main import run

if __name__ == "__main__":
    run()
