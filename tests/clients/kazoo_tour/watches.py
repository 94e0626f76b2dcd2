"""One-shot watches of the three kinds, and kazoo's watchers built on them."""

from kazoo.protocol.states import EventType

from support import eventually, expect, expect_that


class Seen:
    """Collects watch events as (type, path)."""

    def __init__(self):
        self.events = []

    def __call__(self, event):
        self.events.append((event.type, event.path))

    def next(self, what):
        eventually(what, lambda: self.events)
        return self.events.pop(0)


def data_watches(tour):
    zk, other = tour.zk, tour.client()
    path, seen = tour.folder("data-watch"), Seen()
    zk.get(path, watch=seen)
    other.set(path, b"1")
    expect("event", seen.next("a changed event"), (EventType.CHANGED, path))
    other.set(path, b"2")
    other.sync(path)
    zk.get(path, watch=seen)
    expect("events after a one-shot watch fired", seen.events, [])
    other.delete(path)
    expect("event", seen.next("a deleted event"), (EventType.DELETED, path))


def exists_watches(tour):
    zk, other = tour.zk, tour.client()
    path, seen = f"{tour.root}/exists-watch", Seen()
    expect("exists", zk.exists(path, watch=seen), None)
    other.create(path)
    expect("event", seen.next("a created event"), (EventType.CREATED, path))
    expect_that("exists", zk.exists(path, watch=seen) is not None)
    other.set(path, b"x")
    expect("event", seen.next("a changed event"), (EventType.CHANGED, path))
    zk.exists(path, watch=seen)
    other.delete(path)
    expect("event", seen.next("a deleted event"), (EventType.DELETED, path))


def child_watches(tour):
    zk, other = tour.zk, tour.client()
    path, seen = tour.folder("child-watch"), Seen()
    zk.get_children(path, watch=seen)
    other.set(path, b"not a child event")
    other.create(f"{path}/a")
    expect("event", seen.next("a child event"), (EventType.CHILD, path))
    zk.get_children(path, watch=seen)
    other.set(f"{path}/a", b"not a child event either")
    other.delete(f"{path}/a")
    expect("event", seen.next("a child event"), (EventType.CHILD, path))
    zk.get_children(path, watch=seen)
    other.delete(path)
    expect("event", seen.next("a deleted event"), (EventType.DELETED, path))


def one_event_per_watch(tour):
    """A watch set again and again, while the data changes, fires once for each time it was set."""
    zk, other = tour.zk, tour.client()
    path = tour.folder("event-count")
    for i in range(50):
        events = []
        zk.get(path, watch=events.append)
        changed = other.set_async(path, str(i).encode())
        while zk.get(path)[0] != str(i).encode():
            pass
        changed.get(timeout=30)
        eventually("the event", lambda: events)
        expect("number of events", len(events), 1)


def data_watch_recipe(tour):
    zk, other = tour.zk, tour.client()
    path, values = tour.folder("data-watch-recipe"), []

    @zk.DataWatch(path)
    def changed(data, stat):
        values.append(data)

    eventually("the first value", lambda: values == [b""])
    for i in range(3):
        other.set(path, str(i).encode())
        eventually(f"value {i}", lambda: values[-1] == str(i).encode())
    other.delete(path)
    eventually("the deletion", lambda: values[-1] is None)
    other.create(path, b"again")
    eventually("the new znode", lambda: values[-1] == b"again")


def children_watch_recipe(tour):
    zk, other = tour.zk, tour.client()
    path, lists = tour.folder("children-watch-recipe"), []

    @zk.ChildrenWatch(path)
    def changed(children):
        lists.append(sorted(children))

    eventually("the empty list", lambda: lists == [[]])
    other.create(f"{path}/a")
    eventually("one child", lambda: lists[-1] == ["a"])
    other.create(f"{path}/b", ephemeral=True)
    eventually("two children", lambda: lists[-1] == ["a", "b"])
    other.stop()
    eventually("the ephemeral gone with its session", lambda: lists[-1] == ["a"])


STOPS = [
    data_watches,
    exists_watches,
    child_watches,
    one_event_per_watch,
    data_watch_recipe,
    children_watch_recipe,
]
