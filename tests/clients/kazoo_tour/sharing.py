"""Recipes for sharing work and data among processes."""

import datetime
import threading

from kazoo.recipe.cache import TreeCache
from kazoo.recipe.lease import MultiNonBlockingLease, NonBlockingLease

from support import PATIENCE, eventually, expect, expect_that


def spawn(function, *arguments):
    """Runs in a thread that ends with the program; returns a function that waits for the result."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function(*arguments)), daemon=True)
    thread.start()

    def result():
        thread.join(PATIENCE)
        expect_that(f"{function.__name__} has not ended", not thread.is_alive())
        expect_that(f"{function.__name__} has failed", results)
        return results[0]

    return result


def read_and_write_locks(tour):
    path = tour.folder("read-write")
    clients = [tour.client() for _ in range(3)]
    readers = [client.ReadLock(f"{path}/lock") for client in clients[:2]]
    writer = clients[2].WriteLock(f"{path}/lock")
    for reader in readers:
        expect_that("a reader beside a reader", reader.acquire(timeout=PATIENCE))
    expect("a writer beside readers", writer.acquire(blocking=False), False)
    written = spawn(lambda: writer.acquire(timeout=PATIENCE))
    eventually("the waiting writer", lambda: len(writer.contenders()) == 3)
    for reader in readers:
        reader.release()
    expect_that("the writer after the readers", written())
    expect("a reader beside a writer", readers[0].acquire(blocking=False), False)
    writer.release()
    expect_that("a reader after the writer", readers[0].acquire(timeout=PATIENCE))
    readers[0].release()


def semaphore(tour):
    path = tour.folder("semaphore")
    clients = [tour.client() for _ in range(3)]
    semaphores = [
        client.Semaphore(f"{path}/semaphore", f"client-{i}", max_leases=2) for i, client in enumerate(clients)
    ]
    for each in semaphores[:2]:
        expect_that("a lease", each.acquire(timeout=PATIENCE))
    expect("a third lease", semaphores[2].acquire(blocking=False), False)
    expect("holders", sorted(semaphores[2].lease_holders()), ["client-0", "client-1"])
    third = spawn(lambda: semaphores[2].acquire(timeout=PATIENCE))
    clients[0].stop()
    expect_that("the lease of a closed session", third())


def barriers(tour):
    path = tour.folder("barriers")
    clients = [tour.client() for _ in range(3)]
    barrier = clients[0].Barrier(f"{path}/single")
    barrier.create()
    expect("passed a closed barrier", barrier.wait(0.1), False)
    waiting = spawn(lambda: clients[1].Barrier(f"{path}/single").wait(PATIENCE))
    barrier.remove()
    expect_that("passed an open barrier", waiting())
    inside = []

    def pass_through(client):
        both = client.DoubleBarrier(f"{path}/double", num_clients=3)
        both.enter()
        inside.append(both.participating)
        both.leave()
        return len(inside)

    results = [spawn(pass_through, client) for client in clients]
    expect("who was inside when each had left", [result() for result in results], [3, 3, 3])


def queue(tour):
    path = tour.folder("queue")
    clients = [tour.client() for _ in range(3)]
    producer = tour.zk.Queue(f"{path}/queue")
    for i in range(30):
        producer.put(str(i).encode(), priority=100 - i % 2)

    def consume(client):
        taken, consumer = [], client.Queue(f"{path}/queue")
        while (entry := consumer.get()) is not None:
            taken.append(int(entry))
        return taken

    results = [spawn(consume, client) for client in clients]
    taken = [result() for result in results]
    expect("all entries, each once", sorted(sum(taken, [])), list(range(30)))
    for each in taken:
        expect("the order of priorities", each, sorted(each, key=lambda i: (100 - i % 2, i)))


def tree_cache(tour):
    path = tour.folder("cache")
    cache = TreeCache(tour.client(), path)
    cache.start()
    tour.zk.create(f"{path}/a/b", b"1", makepath=True)
    eventually("a new znode", lambda: (node := cache.get_data(f"{path}/a/b")) and node.data == b"1")
    tour.zk.set(f"{path}/a/b", b"2")
    eventually("new data", lambda: cache.get_data(f"{path}/a/b").data == b"2")
    tour.zk.create(f"{path}/a/c")
    eventually("children", lambda: cache.get_children(f"{path}/a") == {"b", "c"})
    tour.zk.delete(f"{path}/a", recursive=True)
    eventually("nothing left", lambda: cache.get_data(f"{path}/a") is None)
    cache.close()


def leases(tour):
    path = tour.folder("leases")
    one, two = tour.client(), tour.client()
    hour = datetime.timedelta(hours=1)
    expect_that("a free lease", NonBlockingLease(one, f"{path}/one", hour, identifier="one"))
    expect_that("a taken lease", not NonBlockingLease(two, f"{path}/one", hour, identifier="two"))
    expect_that("one's own lease", NonBlockingLease(one, f"{path}/one", hour, identifier="one"))
    for number in range(2):
        lease = MultiNonBlockingLease(one, 2, f"{path}/many", hour, identifier=f"holder-{number}")
        expect_that("one of two leases", lease)
    expect_that("a third of two leases", not MultiNonBlockingLease(two, 2, f"{path}/many", hour, identifier="late"))


def partitioner(tour):
    path = tour.folder("partitioner")
    clients = [tour.client() for _ in range(2)]
    shares = [
        client.SetPartitioner(f"{path}/set", range(10), identifier=f"member-{i}", time_boundary=0.5)
        for i, client in enumerate(clients)
    ]

    def all_is_shared():
        for share in shares:
            if share.release:
                share.release_set()
            elif share.allocating:
                share.wait_for_acquire(1)
        parts = [list(share) if share.acquired else [] for share in shares]
        return all(parts) and sorted(sum(parts, [])) == list(range(10))

    eventually("a partition among two", all_is_shared)
    shares.pop().finish()
    eventually("all for the one that is left", all_is_shared)


STOPS = [
    read_and_write_locks,
    semaphore,
    barriers,
    queue,
    tree_cache,
    leases,
    partitioner,
]
