"""Sessions that only read and watch, some that own an ephemeral znode, and gateways that come and go.

Usage: python moving.py HOSTS CLIENTS

Prints `ready` once all are connected. For every line on its standard input it waits until every client has read, and
repeats the line. When the input ends, it says how many sessions were lost or replaced, and fails if any was.
"""

import logging
import sys
import time

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.protocol.states import KazooState
from kazoo.retry import KazooRetry

logging.basicConfig(level=logging.CRITICAL)

PATIENCE = 40
"""Seconds in which every client must have read."""


class Client:
    def __init__(self, hosts, number):
        retry = KazooRetry(max_tries=-1, delay=0.05, max_delay=0.3, backoff=1.5)
        self.kazoo = KazooClient(hosts=hosts, timeout=10.0, connection_retry=retry)
        self.lost = 0
        self.kazoo.add_listener(self.state_changed)
        self.kazoo.start(timeout=60)
        self.kazoo.exists("/watched", watch=lambda event: None)
        if number % 5 == 0:
            self.kazoo.create(f"/owner-{number}", ephemeral=True)
        self.session = self.kazoo.client_id[0]

    def state_changed(self, state):
        self.lost += state == KazooState.LOST

    def read(self, deadline):
        while True:
            try:
                if self.kazoo.connected:
                    return self.kazoo.get_children_async("/").get(timeout=5)
            except (KazooException, KazooTimeoutError):
                pass
            if time.monotonic() > deadline:
                raise TimeoutError(f"session {self.session:#x} does not read")
            time.sleep(0.05)


def main(hosts, count):
    clients = [Client(hosts, number) for number in range(int(count))]
    print("ready", flush=True)
    for line in sys.stdin:
        deadline = time.monotonic() + PATIENCE
        for client in clients:
            client.read(deadline)
        print(line.strip(), flush=True)
    lost = sum(client.lost > 0 or client.kazoo.client_id[0] != client.session for client in clients)
    print(f"{lost} of {len(clients)} sessions were lost", flush=True)
    sys.exit(lost > 0)


main(*sys.argv[1:])
