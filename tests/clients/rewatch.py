"""Many watches outlive a cut connection, by kazoo: what changed meanwhile is found, and the others stay.

Usage: python rewatch.py PROXY SERVER COUNT

kazoo registers no watches again by itself: it tells each watcher that it is gone, and applications read again, with a
new watch. The watches go through the proxy, the changes straight to the server. Watch i is of kind i % 3; of each
kind, one in ten is touched during the cut, and one in ten after it.
"""

import logging
import sys
import threading
import uuid
from collections import Counter

from kazoo.client import KazooClient
from kazoo.protocol.states import EventType, KazooState

PATIENCE = 60
BATCH = 500
EVENTS = [EventType.CHANGED, EventType.CREATED, EventType.CHILD]

logging.basicConfig(level=logging.ERROR)


class Rewatch:
    def __init__(self, proxy, server, count):
        self.count = count
        self.root = f"/rewatch-kazoo-{uuid.uuid4().hex[:12]}"
        self.paths = [f"{self.root}/service-instance-{i:06d}" for i in range(count)]
        self.other = KazooClient(server, timeout=30)
        self.client = KazooClient(proxy, timeout=30)
        self.events = Counter()
        self.changed = threading.Condition()
        self.reconnected = threading.Event()
        self.other.start(PATIENCE)
        self.client.start(PATIENCE)

    def run(self):
        self.multi(lambda batch, i: i % 3 == 1 or batch.create(self.paths[i]), range(self.count))
        before = self.watch_all()
        self.client.add_listener(self.on_state)
        session = self.client.client_id[0]
        please("cut")
        self.touch(0, "first")
        please("restore")
        assert self.reconnected.wait(PATIENCE), "no reconnection"
        assert self.client.client_id[0] == session, "another session"
        self.wait_for_events({(EventType.NONE, None): self.count})
        after = self.watch_all()
        found = [i for i in range(self.count) if before[i] != after[i]]
        assert found == self.group(0), f"{len(found)} changes were found"
        self.events.clear()
        self.touch(1, "first")
        self.touch(0, "second")
        # The znodes that were made during the cut were read again, and then changed.
        kinds = [[EventType.CHANGED, EventType.CHANGED, EventType.CHILD], EVENTS]
        self.wait_for_events({(kinds[i // 3 % 10][i % 3], self.paths[i]): 1 for i in self.group(0) + self.group(1)})

    def group(self, group):
        return [i for i in range(self.count) if i // 3 % 10 == group]

    def multi(self, add, numbers):
        batch = self.other.transaction()
        batch.create(self.root) if not self.other.exists(self.root) else None
        for i in numbers:
            add(batch, i)
            if len(batch.operations) >= BATCH:
                commit(batch)
                batch = self.other.transaction()
        commit(batch)

    def touch(self, group, number):
        def add(batch, i):
            if i % 3 == 2:
                batch.create(f"{self.paths[i]}/{number}")
            elif i % 3 == 1 and number == "first":
                batch.create(self.paths[i])
            else:
                batch.set_data(self.paths[i], number.encode())

        self.multi(add, self.group(group))

    def watch_all(self):
        """Reads everything with a watch, and returns what was read."""
        reads = [self.client.get_async, self.client.exists_async, self.client.get_children_async]
        results = [reads[i % 3](path, watch=self.on_event) for i, path in enumerate(self.paths)]
        return [result.get(timeout=PATIENCE) for result in results]

    def on_event(self, event):
        with self.changed:
            self.events[(event.type, event.path)] += 1
            self.changed.notify_all()

    def on_state(self, state):
        if state == KazooState.CONNECTED:
            self.reconnected.set()

    def wait_for_events(self, wanted):
        """Exactly these events, each as often."""
        number = sum(wanted.values())
        with self.changed:
            seen = self.changed.wait_for(lambda: self.events.total() >= number, PATIENCE)
        assert seen, f"{self.events.total()} of {number} events"
        # Whatever the server still has to tell comes before this.
        self.client.get(self.root)
        assert self.events == wanted, f"other events: {(self.events - Counter(wanted)).most_common(3)}"


def commit(batch):
    for result in batch.commit():
        if isinstance(result, Exception):
            raise result


def please(what):
    """Asks the test for a fault."""
    print(f"please {what}", flush=True)
    assert sys.stdin.readline() == "done\n", f"nobody to {what}"


Rewatch(sys.argv[1], sys.argv[2], int(sys.argv[3])).run()
print("rewatch: passed", flush=True)
