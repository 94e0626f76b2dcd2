"""Clients, expectations and waiting shared by the stops of the tour."""

import logging
import time
import uuid

from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError

logging.basicConfig(level=logging.ERROR)

PATIENCE = 30.0
"""Seconds to wait for something that must happen; generous, as only hanging should ever reach it."""


class WrongObservation(Exception):
    """What was seen is not what ZooKeeper promises."""


def expect(what, seen, wanted):
    """Fails unless `seen` equals `wanted`."""
    if seen != wanted:
        raise WrongObservation(f"{what}: expected {wanted!r}, saw {seen!r}")


def expect_that(what, condition):
    """Fails unless `condition` holds."""
    if not condition:
        raise WrongObservation(what)


def expect_error(error, call, *args, **kwargs):
    """Fails unless the call raises exactly `error`."""
    try:
        result = call(*args, **kwargs)
    except error:
        return
    except Exception as other:
        raise WrongObservation(
            f"{call.__name__}{args}: expected {error.__name__}, raised {type(other).__name__}({other})"
        ) from other
    raise WrongObservation(f"{call.__name__}{args}: expected {error.__name__}, returned {result!r}")


def eventually(what, condition):
    """Waits until `condition()` is truthy, and returns its value."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise WrongObservation(f"{what}: not seen within {PATIENCE:.0f} s")


class Tour:
    """The server under test, a client, and a fresh folder of znodes per stop."""

    def __init__(self, hosts):
        self.hosts = hosts
        self.clients = []
        self.root = f"/kazoo-tour-{uuid.uuid4().hex[:12]}"
        self.zk = self.client()
        self.zk.ensure_path(self.root)

    def client(self, **options):
        """A further connected client; closed when the tour ends."""
        client = KazooClient(hosts=self.hosts, **{"timeout": 10.0, **options})
        self.clients.append(client)
        client.start(timeout=PATIENCE)
        return client

    def folder(self, name):
        """A new persistent znode of the given name."""
        return self.zk.create(f"{self.root}/{name}")

    def close(self):
        """Removes the tour's znodes and closes all clients."""
        try:
            if self.zk.connected:
                self.zk.delete(self.root, recursive=True)
        except NoNodeError:
            pass
        finally:
            for client in self.clients:
                client.stop()
                client.close()
