"""Locks of orders, each with a parent of its own and held for a moment, by kazoo's recipe; beside them an election and a
lock that is held all the time.

Usage: python orders.py HOSTS [PARENTS]

With PARENTS, it locks the same so many orders again and again.

Prints `ready` once it has locked enough orders for what it does to be known, and how long that took; goes on until its
standard input ends, and then says how many orders were locked. Fails if a lock was not had, or had twice.
"""

import logging
import sys
import threading
import time

from kazoo.client import KazooClient

logging.basicConfig(level=logging.CRITICAL)

CLIENTS = 4
ENOUGH = 150


class Orders:
    def __init__(self, hosts, parents):
        self.parents = parents
        self.clients = [KazooClient(hosts=hosts, timeout=20.0) for _ in range(CLIENTS)]
        self.over = threading.Event()
        self.mutex = threading.Lock()
        self.locked = 0
        self.held = set()
        self.led = 0
        self.failures = []
        for client in self.clients:
            client.start(timeout=30)

    def order(self, client, number):
        with client.Lock(f"/kazoo-orders/order-{number}", "somebody"):
            with self.mutex:
                assert number not in self.held, f"order {number} was locked twice"
                self.held.add(number)
            with self.mutex:
                self.held.remove(number)
                self.locked += 1

    def orders(self, client, first):
        try:
            # Two clients want the same orders, so that some have to wait for one another.
            number = first // 2
            while not self.over.is_set():
                self.order(client, number % self.parents if self.parents else number)
                number += CLIENTS
        except Exception as error:  # pylint: disable=broad-except
            self.failures.append(error)

    def lead(self):
        self.led += 1
        time.sleep(0.05)

    def election(self):
        try:
            while not self.over.is_set():
                self.clients[0].Election("/kazoo-services/leader", "somebody").run(self.lead)
        except Exception as error:  # pylint: disable=broad-except
            self.failures.append(error)


def main(hosts, parents=0):
    orders = Orders(hosts, int(parents))
    began = time.monotonic()
    coarse = orders.clients[0].Lock("/kazoo-services/nightly", "somebody")
    assert coarse.acquire(timeout=30)
    threads = [
        threading.Thread(target=orders.orders, args=(client, first)) for first, client in enumerate(orders.clients)
    ]
    threads.append(threading.Thread(target=orders.election))
    for thread in threads:
        thread.start()
    while orders.locked < ENOUGH and not orders.failures and time.monotonic() < began + 60:
        time.sleep(0.05)
    print(f"ready after {orders.locked} orders in {time.monotonic() - began:.1f} s", flush=True)
    sys.stdin.read()
    orders.over.set()
    for thread in threads:
        thread.join()
    assert coarse.is_acquired
    coarse.release()
    assert not orders.failures, orders.failures
    assert orders.locked >= ENOUGH and orders.led > 0 and not orders.held
    print(f"{orders.locked} orders, {orders.led} terms")
    for client in orders.clients:
        client.stop()


main(*sys.argv[1:])
