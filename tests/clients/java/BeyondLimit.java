import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.Watcher.Event.EventType;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.Watcher.WatcherType;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;

/**
 * More persistent watches than a server may keep are set again: none of them misses anything, and new ones are refused.
 *
 * <p>Usage: BeyondLimit SERVER COUNT. The server is restarted, and may keep fewer watches than COUNT then. Every other
 * watch is recursive.
 */
public final class BeyondLimit {
    private static final int PATIENCE_S = 60;

    private final int count;
    private final Semaphore connections = new Semaphore(0);
    private final Map<String, Set<EventType>> seen = new HashMap<>();
    private final Semaphore events = new Semaphore(0);
    private final Watcher watcher = this::noted;

    private BeyondLimit(int count) {
        this.count = count;
    }

    public static void main(String[] arguments) throws Exception {
        new BeyondLimit(Integer.parseInt(arguments[1])).run(arguments[0]);
        System.out.println("beyond limit: passed");
        System.exit(0);
    }

    private void run(String server) throws Exception {
        ZooKeeper client = new ZooKeeper(server, 30000, event -> {
            if (event.getType() == EventType.None && event.getState() == KeeperState.SyncConnected) connections.release();
        });
        acquire(connections, 1, "connection");
        client.create("/beyond", new byte[0], Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        for (int i = 0; i < count; i++) {
            client.create(path(i), new byte[0], Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
            client.addWatch(path(i), watcher, mode(i));
        }
        long session = client.getSessionId();
        Please.restart();
        acquire(connections, 1, "reconnection");
        if (client.getSessionId() != session) throw new AssertionError("another session");

        // Nobody watches this one, so nothing may be heard of it.
        client.setData("/beyond", new byte[1], -1);
        for (int i = 0; i < count; i++) {
            client.setData(path(i), new byte[1], -1);
            client.create(path(i) + "/child", new byte[0], Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        }
        acquire(events, 2 * count, "event");
        // Whatever the server still has to tell comes before this.
        client.exists("/beyond", false);
        for (int i = 0; i < count; i++) {
            boolean recursive = mode(i) == AddWatchMode.PERSISTENT_RECURSIVE;
            expect(path(i), EventType.NodeDataChanged);
            expect(recursive ? path(i) + "/child" : path(i), recursive ? EventType.NodeCreated : EventType.NodeChildrenChanged);
        }
        if (seen.containsKey("/beyond")) throw new AssertionError("told of what nobody watches: " + seen.get("/beyond"));

        try {
            client.addWatch("/beyond", watcher, AddWatchMode.PERSISTENT);
            throw new AssertionError("one more was taken");
        } catch (KeeperException.BadArgumentsException expected) {
            System.out.println("one more: " + expected.getMessage());
        }
        client.removeWatches(path(count - 1), watcher, WatcherType.Any, false);
        if (connections.availablePermits() > 0) throw new AssertionError("the connection ended");
        client.close();
    }

    private static String path(int i) {
        return String.format("/beyond/%03d", i);
    }

    private static AddWatchMode mode(int i) {
        return i % 2 == 0 ? AddWatchMode.PERSISTENT : AddWatchMode.PERSISTENT_RECURSIVE;
    }

    private synchronized void noted(WatchedEvent event) {
        if (event.getType() == EventType.None) return;
        if (seen.computeIfAbsent(event.getPath(), path -> new HashSet<>()).add(event.getType())) events.release();
    }

    private synchronized void expect(String path, EventType type) {
        if (!seen.getOrDefault(path, Set.of()).contains(type)) throw new AssertionError(type + " of " + path + " was missed: " + seen);
    }

    private static void acquire(Semaphore what, int number, String name) throws InterruptedException {
        if (!what.tryAcquire(number, PATIENCE_S, TimeUnit.SECONDS)) throw new AssertionError("no " + name);
    }
}
