"""Znodes: every operation, its result, its Stat and its errors."""

from kazoo.exceptions import (
    AuthFailedError,
    BadArgumentsError,
    BadVersionError,
    NoAuthError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    RolledBackError,
    RuntimeInconsistency,
)
from kazoo.security import make_acl, make_digest_acl, OPEN_ACL_UNSAFE

from support import expect, expect_error, expect_that


def create_and_read(tour):
    zk = tour.zk
    path = tour.folder("create")
    expect("created path", path, f"{tour.root}/create")
    made, stat = zk.create(f"{path}/a", b"hello", include_data=True)
    expect("path of create2", made, f"{path}/a")
    expect("length in the Stat of create2", stat.dataLength, 5)
    data, read = zk.get(f"{path}/a")
    expect("data", data, b"hello")
    expect("Stat of get against Stat of create2", read, stat)
    expect("versions of a new znode", (read.version, read.cversion, read.aversion), (0, 0, 0))
    expect("a new znode's zxids", (read.mzxid, read.pzxid), (read.czxid, read.czxid))
    expect("a new znode's times", read.ctime, read.mtime)
    expect("a persistent znode's owner", read.ephemeralOwner, 0)
    parent = zk.exists(path)
    expect("the parent's pzxid", parent.pzxid, read.czxid)
    expect("the parent's cversion and count", (parent.cversion, parent.numChildren), (1, 1))
    expect("exists of nothing", zk.exists(f"{path}/none"), None)
    expect_error(NoNodeError, zk.get, f"{path}/none")
    expect_error(NoNodeError, zk.get_children, f"{path}/none")
    expect_error(NoNodeError, zk.create, f"{path}/none/child")
    expect_error(NodeExistsError, zk.create, f"{path}/a")


def data_of_every_size(tour):
    zk = tour.zk
    path = tour.folder("sizes")
    for size in (0, 1, 1000, 64 * 1024, 1000 * 1000):
        data = bytes(i % 251 for i in range(size))
        zk.create(f"{path}/{size}", data)
        read, stat = zk.get(f"{path}/{size}")
        expect_that(f"data of {size} bytes came back changed", read == data)
        expect("dataLength", stat.dataLength, size)
        zk.delete(f"{path}/{size}")


def names_in_unicode(tour):
    path = tour.folder("names")
    name = "zażółć-日本"
    tour.zk.create(f"{path}/{name}", "gęś".encode())
    expect("children", tour.zk.get_children(path), [name])
    expect("data", tour.zk.get(f"{path}/{name}")[0], "gęś".encode())
    for bad in ("\x01", "\x7f", "\ue000", "🦀"):
        expect_error(BadArgumentsError, tour.zk.create, f"{path}/{bad}")


def set_with_versions(tour):
    zk = tour.zk
    path = tour.folder("set")
    before = zk.exists(path)
    stat = zk.set(path, b"one")
    expect("version after the first set", stat.version, 1)
    expect_that("mzxid must grow with a set", stat.mzxid > before.mzxid)
    expect("czxid after a set", stat.czxid, before.czxid)
    expect("pzxid after a set", stat.pzxid, before.pzxid)
    expect_error(BadVersionError, zk.set, path, b"two", version=0)
    expect("version after a set with the right version", zk.set(path, b"two", version=1).version, 2)
    expect("data", zk.get(path)[0], b"two")
    expect_error(NoNodeError, zk.set, f"{path}/none", b"")


def delete_and_not_empty(tour):
    zk = tour.zk
    path = tour.folder("delete")
    zk.create(f"{path}/a/b", makepath=True)
    expect_error(NotEmptyError, zk.delete, f"{path}/a")
    expect_error(BadVersionError, zk.delete, f"{path}/a/b", version=7)
    zk.delete(f"{path}/a/b", version=0)
    zk.delete(f"{path}/a")
    expect_error(NoNodeError, zk.delete, f"{path}/a")
    expect("cversion after a create and a delete", zk.exists(path).cversion, 2)
    expect_error(Exception, zk.delete, "/")


def children(tour):
    zk = tour.zk
    path = tour.folder("children")
    names = [f"child-{i}" for i in range(50)]
    for result in [zk.create_async(f"{path}/{name}") for name in names]:
        result.get(timeout=30)
    listed, stat = zk.get_children(path, include_data=True)
    expect("children", sorted(listed), sorted(names))
    expect("numChildren", stat.numChildren, 50)
    expect("cversion", stat.cversion, 50)


def ephemerals(tour):
    path = tour.folder("ephemeral")
    other = tour.client()
    other.create(f"{path}/e", b"mine", ephemeral=True)
    stat = tour.zk.exists(f"{path}/e")
    expect("owner of an ephemeral", stat.ephemeralOwner, other.client_id[0])
    expect_error(NoChildrenForEphemeralsError, other.create, f"{path}/e/child")
    expect_error(NodeExistsError, tour.zk.create, f"{path}/e", ephemeral=True)
    other.stop()
    expect("an ephemeral after its session was closed", tour.zk.exists(f"{path}/e"), None)


def sequences(tour):
    zk = tour.zk
    path = tour.folder("sequence")
    made = [zk.create(f"{path}/s-", sequence=True) for _ in range(3)]
    expect("sequential names", made, [f"{path}/s-{i:010d}" for i in range(3)])
    zk.delete(made[2])
    made = zk.create(f"{path}/e-", sequence=True, ephemeral=True)
    # The number is the parent's cversion, so a delete does not bring one back, and prefixes share them.
    expect_that(f"{made} must be numbered 3 or more", int(made[-10:]) >= 3)
    expect("its owner", zk.exists(made).ephemeralOwner, zk.client_id[0])


def acls(tour):
    zk = tour.zk
    path = tour.folder("acl")
    owner = tour.client(auth_data=[("digest", "ann:secret")])
    owner.create(f"{path}/private", b"x", acl=[make_digest_acl("ann", "secret", all=True)])
    stranger = tour.client(auth_data=[("digest", "bob:guess")])
    for client in (zk, stranger):
        expect_error(NoAuthError, client.get, f"{path}/private")
        expect_error(NoAuthError, client.set, f"{path}/private", b"y")
        expect_error(NoAuthError, client.get_children, f"{path}/private")
        expect_error(NoAuthError, client.create, f"{path}/private/child")
        expect_error(NoAuthError, client.set_acls, f"{path}/private", OPEN_ACL_UNSAFE)
    expect("the owner's data", owner.get(f"{path}/private")[0], b"x")
    listed, stat = owner.get_acls(f"{path}/private")
    expect("ACL scheme", (listed[0].id.scheme, listed[0].id.id.split(":")[0]), ("digest", "ann"))
    expect("aversion", stat.aversion, 0)
    readable = [make_digest_acl("ann", "secret", all=True), make_acl("world", "anyone", read=True)]
    expect("aversion", owner.set_acls(f"{path}/private", readable, version=0).aversion, 1)
    expect_error(BadVersionError, owner.set_acls, f"{path}/private", readable, version=0)
    expect("data for all", zk.get(f"{path}/private")[0], b"x")
    expect_error(NoAuthError, zk.set, f"{path}/private", b"y")
    # Permission to delete lies with the parent.
    zk.delete(f"{path}/private")


def unknown_auth_scheme(tour):
    client = tour.client()
    expect_error(AuthFailedError, client.add_auth, "no-such-scheme", "x")


def transactions(tour):
    zk = tour.zk
    path = tour.folder("multi")
    zk.create(f"{path}/old", b"1")
    transaction = zk.transaction()
    transaction.check(f"{path}/old", version=0)
    transaction.create(f"{path}/a", b"a")
    transaction.create(f"{path}/a/b-", b"b", sequence=True)
    transaction.set_data(f"{path}/old", b"2")
    transaction.create(f"{path}/gone", ephemeral=True)
    transaction.delete(f"{path}/gone")
    results = transaction.commit()
    expect("results", results[:3], [True, f"{path}/a", f"{path}/a/b-0000000000"])
    expect("version in the result of set_data", results[3].version, 1)
    expect("results", results[4:], [f"{path}/gone", True])
    zxids = {zk.exists(f"{path}/a").czxid, zk.exists(f"{path}/old").mzxid}
    expect("number of zxids in one transaction", len(zxids), 1)


def failed_transactions(tour):
    zk = tour.zk
    path = tour.folder("multi-failed")
    transaction = zk.transaction()
    transaction.create(f"{path}/a")
    transaction.delete(f"{path}/none")
    transaction.create(f"{path}/b")
    kinds = [type(result) for result in transaction.commit()]
    expect("results", kinds, [RolledBackError, NoNodeError, RuntimeInconsistency])
    expect("children after a failed transaction", zk.get_children(path), [])
    expect("cversion after a failed transaction", zk.exists(path).cversion, 0)
    expect("an empty transaction", zk.transaction().commit(), [])


def sync_and_read(tour):
    zk, other = tour.zk, tour.client()
    path = tour.folder("sync")
    for i in range(20):
        zk.set(path, str(i).encode())
        expect("path of a sync", other.sync(path), path)
        expect("data after a sync", other.get(path)[0], str(i).encode())


def pipelined_requests_in_order(tour):
    zk = tour.zk
    path = tour.folder("pipeline")
    results = []
    for i in range(200):
        results.append(zk.set_async(path, str(i).encode()))
        results.append(zk.get_async(path))
    for i in range(200):
        expect("version of a pipelined set", results[2 * i].get(timeout=30).version, i + 1)
        expect("the read behind it", results[2 * i + 1].get(timeout=30)[0], str(i).encode())


STOPS = [
    create_and_read,
    data_of_every_size,
    names_in_unicode,
    set_with_versions,
    delete_and_not_empty,
    children,
    ephemerals,
    sequences,
    acls,
    unknown_auth_scheme,
    transactions,
    failed_transactions,
    sync_and_read,
    pipelined_requests_in_order,
]
