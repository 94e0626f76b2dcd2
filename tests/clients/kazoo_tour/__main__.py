"""A tour of everything that applications do with kazoo, against any ZooKeeper-compatible server.

Usage: python kazoo_tour HOST:PORT[,HOST:PORT...]

Leaves nothing behind. Exits with 1 and one clear message at the first wrong observation.
"""

import sys
import traceback

import basics
import recipes
import sessions
import sharing
import watches
from support import Tour, WrongObservation

STOPS = [
    *basics.STOPS,
    *watches.STOPS,
    *sessions.STOPS,
    *recipes.STOPS,
    *sharing.STOPS,
]


def main() -> int:
    tour = Tour(sys.argv[1])
    try:
        for stop in STOPS:
            try:
                stop(tour)
            except WrongObservation as wrong:
                print(f"kazoo tour: {stop.__name__}: {wrong}", flush=True)
                return 1
            except Exception:
                traceback.print_exc()
                print(f"kazoo tour: {stop.__name__}: unexpected exception (above)", flush=True)
                return 1
            print(f"ok {stop.__name__}", flush=True)
    finally:
        tour.close()
    print(f"kazoo tour: {len(STOPS)} stops passed", flush=True)
    return 0


sys.exit(main())
