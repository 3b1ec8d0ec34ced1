"""`python -m clawdforge.testing.fake_model [--port N]`: serve until SIGINT or SIGTERM."""

import argparse
import signal

from clawdforge.testing import fake_model


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="fake_model", description=fake_model.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    port = parser.parse_args().port
    stops = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)
    with fake_model.FakeModel(port) as model:
        print(model.url, flush=True)
        signal.sigwait(stops)


if __name__ == "__main__":
    main()
