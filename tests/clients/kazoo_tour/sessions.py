"""Sessions: reconnecting under the same id, moving, expiring."""

import os
import signal
import socket
import subprocess
import sys

from kazoo.protocol.states import KazooState

from support import eventually, expect, expect_that

OWNER = """
import sys, time
from kazoo.client import KazooClient
client = KazooClient(hosts=sys.argv[1], timeout=2.0)
client.start(timeout=30)
client.create(sys.argv[2], ephemeral=True)
print(client.client_id[0], client.client_id[1].hex(), flush=True)
time.sleep(600)
"""
"""A process that owns an ephemeral znode until it is killed."""


def reconnect_with_the_same_id(tour):
    path = tour.folder("reconnect")
    client = tour.client()
    session = client.client_id[0]
    states = []
    client.add_listener(states.append)
    client.create(f"{path}/e", ephemeral=True)
    for _ in range(3):
        states.clear()
        client._connection._socket.shutdown(socket.SHUT_RDWR)
        eventually("the connection's loss", lambda: KazooState.SUSPENDED in states)
        eventually("the reconnection", lambda: client.connected and states[-1] == KazooState.CONNECTED)
        expect("states", states, [KazooState.SUSPENDED, KazooState.CONNECTED])
        # The password may be another one each time.
        expect("session id after the reconnection", client.client_id[0], session)
        expect("owner", tour.zk.exists(f"{path}/e").ephemeralOwner, session)
        client.set(f"{path}/e", b"still mine")
    client.stop()
    expect("the ephemeral after the close", tour.zk.exists(f"{path}/e"), None)


def session_ids_are_unique(tour):
    clients = [tour.client() for _ in range(10)]
    expect("number of ids", len({client.client_id[0] for client in clients}), 10)
    expect_that("an id is 0", all(client.client_id[0] != 0 for client in clients))
    for client in clients:
        client.stop()


def wrong_password(tour):
    path = tour.folder("password")
    owner = tour.client()
    session = owner.client_id[0]
    owner.create(f"{path}/e", ephemeral=True)
    thief = tour.client(client_id=(session, b"x" * 16))
    expect_that("a wrong password opened a session", thief.client_id[0] != session)
    # Apache closes the owner's connection before it looks at the password; the session must live on.
    expect_that("a wrong password ended a session", owner.retry(owner.exists, f"{path}/e") is not None)
    expect("the owner's session id", owner.client_id[0], session)


def expiry(tour):
    path = tour.folder("expiry")
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, tour.hosts, f"{path}/e"], stdout=subprocess.PIPE, text=True
    )
    try:
        session, password = owner.stdout.readline().split()
        gone = []
        stat = tour.zk.exists(f"{path}/e", watch=lambda event: gone.append(event.type))
        expect("owner", stat.ephemeralOwner, int(session))
    finally:
        os.kill(owner.pid, signal.SIGKILL)
        owner.wait()
        owner.stdout.close()
    eventually("the event of the ephemeral's removal", lambda: gone == ["DELETED"])
    expect("the ephemeral after its session's expiry", tour.zk.exists(f"{path}/e"), None)
    late = tour.client(client_id=(int(session), bytes.fromhex(password)))
    expect_that("an expired session was resumed", late.client_id[0] != int(session))


def idle_sessions_stay(tour):
    """Pings alone keep a session."""
    path = tour.folder("idle")
    client = tour.client(timeout=2.0)
    client.create(f"{path}/e", ephemeral=True)
    timeout = client._session_timeout / 1000
    states, gone = [], []
    client.add_listener(states.append)
    tour.zk.exists(f"{path}/e", watch=gone.append)
    expect_that("negotiated timeout must be within Apache's limits", 0.5 <= timeout <= 60)
    client.handler.event_object().wait(min(3 * timeout, 15))
    expect("states of an idle session", states, [])
    expect("events of its ephemeral", gone, [])


STOPS = [
    reconnect_with_the_same_id,
    session_ids_are_unique,
    wrong_password,
    expiry,
    idle_sessions_stay,
]
