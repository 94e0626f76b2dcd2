"""A server is cut off from its ensemble, by kazoo: its readers stay, its owners of locks believe no longer than they may,
and all are told what they missed.

Usage: python outage.py SERVER OTHER

The first is cut off.
"""

import logging
import queue
import sys
import time

from kazoo.client import KazooClient
from kazoo.exceptions import ConnectionLoss, NodeExistsError
from kazoo.protocol.states import EventType, KazooState

PATIENCE = 60
READS = 20
NEWS = "/outage-kazoo"
LOCK = NEWS + "/lock"

logging.basicConfig(level=logging.CRITICAL)


class Client:
    def __init__(self, server, timeout):
        self.kazoo = KazooClient(server, timeout=timeout)
        self.states = queue.Queue()
        self.kazoo.add_listener(self.states.put)
        self.kazoo.start(PATIENCE)
        self.wait_for(KazooState.CONNECTED)

    def wait_for(self, state):
        while self.states.get(timeout=PATIENCE) != state:
            pass


def patiently(call, trouble):
    """As applications do."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return call()
        except trouble:
            assert time.monotonic() < deadline, f"still {trouble}"
            time.sleep(0.05)


def please(what):
    """Asks the test for a fault."""
    print(f"please {what}", flush=True)
    assert sys.stdin.readline() == "done\n", f"nobody to {what}"


def main(server, elsewhere):
    other = Client(elsewhere, 30).kazoo
    other.create(NEWS, b"0")
    reading, owning = Client(server, 30), Client(server, 4)
    reader, owner = reading.kazoo, owning.kazoo
    events = queue.Queue()
    reader.sync(NEWS)
    reader.get(NEWS, watch=events.put)
    owner.create(LOCK, ephemeral=True)
    session = owner.client_id[0]

    please("cut")
    owning.wait_for(KazooState.SUSPENDED)
    for _ in range(READS):
        assert reader.get(NEWS)[0] == b"0"
    try:
        reader.set(NEWS, b"9")
        raise AssertionError("a write without a core")
    except ConnectionLoss:
        assert reader.get(NEWS)[0] == b"0"
    patiently(lambda: other.create(LOCK, ephemeral=True), NodeExistsError)
    assert not owner.connected, "two owners"
    other.set(NEWS, b"1")
    assert reading.states.empty() and events.empty(), "the reader noticed"

    please("restore")
    assert events.get(timeout=PATIENCE).type == EventType.CHANGED
    assert reader.get(NEWS)[0] == b"1"
    owning.wait_for(KazooState.LOST)
    owning.wait_for(KazooState.CONNECTED)
    assert owner.client_id[0] != session, "a session that has ended"
    patiently(lambda: reader.set(NEWS, b"2"), ConnectionLoss)
    patiently(lambda: owner.create(NEWS + "/again-", ephemeral=True, sequence=True), ConnectionLoss)
    for client in (other, reader, owner):
        client.stop()


main(*sys.argv[1:])
print("outage: passed", flush=True)
