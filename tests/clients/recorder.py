"""Several kazoo sessions write and read a few znodes, and every operation is recorded for a linearizability check.

Usage: python recorder.py HOSTS FOLDER HISTORY [CLIENTS]

Prints `ready` once all clients are connected, runs until its standard input ends, then reads everything once more with
a new session. HISTORY gets one JSON object per operation, when it ends (see tests/src/linearize/history.rs). Whatever
is not answered is recorded as unknown: it may have happened, may still happen, or may never happen.
"""

import json
import logging
import random
import sys
import threading
import time

from kazoo.client import KazooClient
from kazoo.exceptions import BadVersionError, KazooException, NodeExistsError
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.retry import KazooRetry

logging.basicConfig(level=logging.CRITICAL)

KEYS = 4
PACE = 0.005
"""Seconds between two operations of a client."""
ANSWER_LIMIT = 15
"""Seconds after which an operation counts as unknown."""


class History:
    """The file of records, shared by all clients."""

    def __init__(self, path):
        self.file = open(path, "w", buffering=1)
        self.lock = threading.Lock()

    def add(self, **record):
        with self.lock:
            self.file.write(json.dumps(record) + "\n")


def connect(hosts):
    retry = KazooRetry(max_tries=-1, delay=0.05, max_delay=0.5, backoff=1.5)
    client = KazooClient(hosts=hosts, timeout=8.0, connection_retry=retry)
    client.start(timeout=60)
    return client


class Recorder(threading.Thread):
    """One client with its own session."""

    def __init__(self, number, client, folder, history, stop):
        super().__init__(daemon=True)
        self.number, self.client, self.folder, self.history, self.stop = number, client, folder, history, stop
        self.random = random.Random(number)
        self.count = 0
        self.versions = {}

    def run(self):
        actions = [self.write, self.compare_and_set, self.read, self.stale_read, self.create]
        while not self.stop.is_set():
            self.random.choice(actions)(f"{self.folder}/register-{self.random.randrange(KEYS)}")
            self.stop.wait(PACE)

    def unique(self):
        self.count += 1
        return f"{self.number}-{self.count}"

    def record(self, operation, key, call, **extra):
        """Runs `call`, which returns the fields of a success, and records how it ended."""
        begin = time.monotonic_ns()
        try:
            outcome = {"result": "ok", **call()}
        except BadVersionError:
            outcome = {"result": "bad_version"}
        except (KazooException, KazooTimeoutError) as error:
            outcome = {"result": "unknown", "error": type(error).__name__}
        self.history.add(
            client=self.number,
            operation=operation,
            key=key,
            begin=begin,
            end=time.monotonic_ns(),
            **extra,
            **outcome,
        )
        if outcome["result"] == "unknown":
            self.stop.wait(0.1)
        elif "version" in outcome:
            self.versions[key] = outcome["version"]

    def write(self, key):
        value = self.unique()

        def call():
            stat = self.client.set_async(key, value.encode()).get(timeout=ANSWER_LIMIT)
            return {"version": stat.version, "mzxid": stat.mzxid}

        self.record("write", key, call, value=value)

    def compare_and_set(self, key):
        value, expected = self.unique(), self.versions.get(key, 0)

        def call():
            stat = self.client.set_async(key, value.encode(), expected).get(timeout=ANSWER_LIMIT)
            return {"version": stat.version, "mzxid": stat.mzxid}

        self.record("compare_and_set", key, call, value=value, expected=expected)

    def read(self, key):
        """A linearizable read: what was committed when `sync` reached the leader is seen by the `get` behind it."""

        def call():
            self.client.sync_async(key).get(timeout=ANSWER_LIMIT)
            return self.got(key)

        self.record("read", key, call)

    def stale_read(self, key):
        self.record("stale_read", key, lambda: self.got(key))

    def got(self, key):
        data, stat = self.client.get_async(key).get(timeout=ANSWER_LIMIT)
        return {"value": data.decode(), "version": stat.version, "mzxid": stat.mzxid}

    def create(self, _):
        value = self.unique()

        def call():
            name = self.client.create_async(f"{self.folder}/log/{value}-", value.encode(), sequence=True)
            return {"created": name.get(timeout=ANSWER_LIMIT)}

        self.record("create", f"{self.folder}/log", call, value=value)


def prepare(client, folder):
    """Creates the registers, each with version 0 and empty data."""
    for key in [*(f"{folder}/register-{key}" for key in range(KEYS)), f"{folder}/log"]:
        try:
            client.create(key, makepath=True)
        except NodeExistsError:
            sys.exit(f"recorder: {key} exists already, but a history starts with new znodes")


def last_look(hosts, number, folder, history):
    """Reads everything with a new session."""
    client = connect(hosts)
    reader = Recorder(number, client, folder, history, threading.Event())
    for key in range(KEYS):
        reader.read(f"{folder}/register-{key}")
    client.sync(folder)
    for name in client.get_children(f"{folder}/log"):
        path = f"{folder}/log/{name}"
        now = time.monotonic_ns()
        history.add(
            client=number,
            operation="found",
            key=f"{folder}/log",
            begin=now,
            end=now,
            result="ok",
            created=path,
            value=client.get(path)[0].decode(),
        )
    client.stop()


def main():
    hosts, folder, path = sys.argv[1:4]
    number = int(sys.argv[4]) if len(sys.argv) > 4 else 5
    history, stop = History(path), threading.Event()
    clients = [connect(hosts) for _ in range(number)]
    prepare(clients[0], folder)
    for client in clients:
        client.sync(folder)
    recorders = [Recorder(i, client, folder, history, stop) for i, client in enumerate(clients)]
    for recorder in recorders:
        recorder.start()
    print("ready", flush=True)
    sys.stdin.read()
    stop.set()
    for recorder in recorders:
        recorder.join()
    last_look(hosts, number, folder, history)
    for client in clients:
        client.stop()
        client.close()
    print("finished", flush=True)


main()
