"""Recipes as applications use them: lock, election, and friends."""

import threading

from support import PATIENCE, eventually, expect, expect_that


def lock_with_contention(tour):
    path = tour.folder("lock")
    clients = [tour.client() for _ in range(5)]
    inside, most, entries = [], [], []

    def work(client, name):
        for _ in range(4):
            with client.Lock(f"{path}/lock", name):
                inside.append(name)
                most.append(len(inside))
                entries.append(client.set(path, name.encode()).version)
                inside.remove(name)

    threads = [
        threading.Thread(target=work, args=(client, f"client-{i}"), daemon=True)
        for i, client in enumerate(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        expect_that("a contender never got the lock", not thread.is_alive())
    expect("most holders at a time", max(most), 1)
    expect("order of the writes under the lock", entries, list(range(1, 21)))
    expect("contenders left", tour.zk.get_children(f"{path}/lock"), [])
    for client in clients:
        client.stop()


def lock_of_a_dead_holder(tour):
    path = tour.folder("lock-of-the-dead")
    holder, heir = tour.client(), tour.client()
    expect_that("acquire", holder.Lock(f"{path}/lock", "holder").acquire())
    lock = heir.Lock(f"{path}/lock", "heir")
    expect("a taken lock, not waiting", lock.acquire(blocking=False), False)
    expect("contenders", lock.contenders(), ["holder"])
    acquired = heir.handler.spawn(lock.acquire)
    eventually("two contenders", lambda: len(tour.zk.get_children(f"{path}/lock")) == 2)
    holder.stop()
    acquired.join(PATIENCE)
    expect_that("the lock of a closed session was not passed on", lock.is_acquired)
    lock.release()


def election(tour):
    path = tour.folder("election")
    clients = [tour.client() for _ in range(3)]
    reign, leaders = threading.Lock(), []
    may_end = threading.Semaphore(0)

    def lead(name):
        expect_that("two leaders at a time", reign.acquire(blocking=False))
        leaders.append(name)
        may_end.acquire()
        reign.release()

    elections = [client.Election(f"{path}/election", f"client-{i}") for i, client in enumerate(clients)]
    threads = [
        threading.Thread(target=each.run, args=(lead, f"client-{i}"), daemon=True)
        for i, each in enumerate(elections)
    ]
    for i, thread in enumerate(threads):
        thread.start()
        eventually("a contender", lambda: len(elections[0].contenders()) == i + 1)
    for i in range(3):
        eventually(f"leader {i}", lambda: len(leaders) == i + 1)
        may_end.release()
    for thread in threads:
        thread.join(PATIENCE)
        expect_that("an election never ended", not thread.is_alive())
    expect("leaders in order of arrival", leaders, ["client-0", "client-1", "client-2"])
    for client in clients:
        client.stop()


def counter(tour):
    path = tour.folder("counter")
    clients = [tour.client() for _ in range(3)]

    def count(client):
        counter = client.Counter(f"{path}/n")
        for _ in range(5):
            counter += 1

    threads = [threading.Thread(target=count, args=(client,), daemon=True) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    expect("the sum of all increments", tour.zk.Counter(f"{path}/n").value, 15)


def party_and_queue(tour):
    path = tour.folder("party")
    clients = [tour.client() for _ in range(2)]
    for i, client in enumerate(clients):
        client.Party(f"{path}/party", f"member-{i}").join()
    expect("members", sorted(tour.zk.Party(f"{path}/party")), ["member-0", "member-1"])
    queue = tour.zk.LockingQueue(f"{path}/queue")
    queue.put_all([b"a", b"b"])
    for wanted in (b"a", b"b"):
        expect("the queue's head", queue.get(timeout=PATIENCE), wanted)
        expect_that("consume", queue.consume())


STOPS = [lock_with_contention, lock_of_a_dead_holder, election, counter, party_and_queue]
