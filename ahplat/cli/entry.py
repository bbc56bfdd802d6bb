"""Where `ah` begins: Ctrl-C ends it without a word also while the rest is being imported, which takes a third of a second."""

import signal


def run() -> None:
    """Runs `ah` with the process's arguments."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from ahplat.cli.main import main

    signal.signal(signal.SIGINT, signal.default_int_handler)
    main(prog_name="ah")


if __name__ == "__main__":
    run()
