"""Fills a server with znodes of every kind, and prints a whole tree with all Stat fields.

Usage: python trees.py populate HOST:PORT NAME
       python trees.py dump HOST:PORT
"""

import json
import logging
import sys

from kazoo.client import KazooClient
from kazoo.security import make_acl, make_digest_acl

logging.basicConfig(level=logging.CRITICAL)

SERVERS_OWN = {"/zookeeper/config"}
"""Rewritten by each server as it starts, outside of the log."""


def populate(zk, name):
    """Leaves znodes with all sorts of data, versions, ACLs, counters and histories below `/NAME`."""
    root = f"/{name}"
    zk.create(root, b"root")
    zk.create(f"{root}/empty")
    zk.create(f"{root}/large", bytes(i % 253 for i in range(300_000)))
    zk.create(f"{root}/żółw", "żółw".encode())
    for i in range(60):
        zk.set(f"{root}/empty", str(i).encode())
    zk.set(f"{root}/empty", b"")
    private = [make_digest_acl("ann", "secret", all=True), make_acl("world", "anyone", read=True)]
    zk.create(f"{root}/private", b"x", acl=private)
    zk.create(f"{root}/address", b"x", acl=[make_acl("ip", "127.0.0.1", all=True), *private])
    zk.set_acls(f"{root}/empty", private)
    names = [zk.create(f"{root}/sequence-", sequence=True) for _ in range(150)]
    for name in names[::3]:
        zk.delete(name)
    path = root
    for i in range(20):
        path = zk.create(f"{path}/deep")
    zk.create(f"{root}/ephemeral-parent")
    for i in range(5):
        zk.create(f"{root}/ephemeral-parent/e-", ephemeral=True, sequence=True)
    transaction = zk.transaction()
    transaction.create(f"{root}/multi", b"1")
    transaction.set_data(f"{root}/multi", b"2")
    transaction.create(f"{root}/multi/child")
    transaction.delete(f"{root}/large")
    transaction.commit()
    failing = zk.transaction()
    failing.create(f"{root}/never")
    failing.check(f"{root}/multi", 99)
    failing.commit()


def dump(zk, path):
    """One line of JSON per znode, parents first."""
    if path not in SERVERS_OWN:
        data, stat = zk.get(path)
        acl, _ = zk.get_acls(path)
        print(
            json.dumps(
                {
                    "path": path,
                    "data": data.hex(),
                    "acl": [[entry.perms, entry.id.scheme, entry.id.id] for entry in acl],
                    **stat._asdict(),
                },
                ensure_ascii=False,
            )
        )
    for name in sorted(zk.get_children(path)):
        dump(zk, f"{path.rstrip('/')}/{name}")


def main():
    command, hosts = sys.argv[1:3]
    zk = KazooClient(hosts=hosts, timeout=20.0, auth_data=[("digest", "ann:secret")])
    zk.start(timeout=60)
    zk.sync("/")
    if command == "populate":
        populate(zk, sys.argv[3])
    else:
        dump(zk, "/")
    zk.stop()


main()
