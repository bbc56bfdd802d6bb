"""Where `ahc` begins: Ctrl-C ends it without a word also while the rest is being imported, which takes a third of a second."""

import signal


def run() -> None:
    """Runs `ahc` with the process's arguments."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from ahplat.ahc.main import start

    signal.signal(signal.SIGINT, signal.default_int_handler)
    start()


if __name__ == "__main__":
    run()
