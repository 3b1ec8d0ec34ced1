"""A program that will not end.

Sleepers, some in groups and sessions of their own, some without parents, all deaf to SIGTERM; and some that fork
for ever. Arguments: how many sleepers, how many that fork. Says "up" when all are there. Each ends by itself after
a minute. Stdlib only: it runs on any Python.
"""

import os
import signal
import sys
import time

LIFETIME_S = 60


def main() -> None:
    sleepers, forking = map(int, sys.argv[1:])
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    told, tell = os.pipe()
    for number in range(sleepers):
        start(number, tell)
    seen = 0
    while seen < sleepers:
        seen += len(os.read(told, 4096))
    for number in range(forking):
        if os.fork() == 0:
            os.setsid()
            (hand_on if number % 2 else stand_in)(time.monotonic() + LIFETIME_S)
    print("up", flush=True)
    time.sleep(LIFETIME_S)


def start(number: int, tell: int) -> None:
    pid = os.fork()
    if pid == 0:
        if number % 4 == 1:
            os.setpgid(0, 0)
        elif number % 4 > 1:
            os.setsid()
        if number % 4 == 3 and os.fork():
            os._exit(0)
        os.write(tell, b".")
        time.sleep(LIFETIME_S)
        os._exit(0)
    if number % 4 == 3:
        os.waitpid(pid, 0)


def hand_on(ends_at: float) -> None:
    """Each generation lives for a millisecond, in a session of its own."""
    while time.monotonic() < ends_at:
        if os.fork():
            break
        os.setsid()
        time.sleep(0.001)
    os._exit(0)


def stand_in(ends_at: float) -> None:
    """Of two, who is left forks the other anew."""
    while time.monotonic() < ends_at:
        signal.alarm(LIFETIME_S)
        watched, held = os.pipe()
        if pid := os.fork():
            os.close(watched)
            os.waitpid(pid, 0)
            os.close(held)
        else:
            signal.alarm(LIFETIME_S)
            os.close(held)
            os.read(watched, 1)  # ends when the other does
            os.close(watched)
    os._exit(0)


main()
