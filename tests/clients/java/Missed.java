import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher.Event.EventType;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;

/**
 * A persistent recursive watch hears of every change in its order and once, though its server is killed again and again:
 * of what happened before that while the client was away, of what happened meanwhile, and of what happens later.
 *
 * <p>Usage: Missed PROXY OTHER COUNT ROUNDS. The watch goes through the proxy to the server that is killed, the changes go
 * to another one.
 */
public final class Missed {
    private static final int PATIENCE_S = 60;
    private static final String ROOT = "/missed";

    private final int count;
    private final Semaphore connections = new Semaphore(0);
    private final List<String> seen = new ArrayList<>();
    private final List<String> happened = new ArrayList<>();

    private Missed(int count) {
        this.count = count;
    }

    public static void main(String[] arguments) throws Exception {
        new Missed(Integer.parseInt(arguments[2])).run(arguments[0], arguments[1], Integer.parseInt(arguments[3]));
        System.out.println("missed: passed");
        System.exit(0);
    }

    private void run(String proxy, String server, int rounds) throws Exception {
        ZooKeeper other = new ZooKeeper(server, 30000, event -> {});
        other.create(ROOT, new byte[0], Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        ZooKeeper client = new ZooKeeper(proxy, 30000, this::connected);
        acquire("connection");
        long session = client.getSessionId();
        see(client);
        client.addWatch(ROOT, this::noted, AddWatchMode.PERSISTENT_RECURSIVE);
        for (int round = 0; round < rounds; round++) {
            change(other, round + "-connected");
            see(client);
            Please.cut();
            change(other, round + "-away");
            Please.kill();
            change(other, round + "-down");
            Please.restart();
            change(other, round + "-up");
            Please.restore();
            acquire("reconnection");
            change(other, round + "-back");
            see(client);
            compare(round);
        }
        if (client.getSessionId() != session) throw new AssertionError("another session");
        client.close();
        other.close();
    }

    /** What the client has seen then stands for everything so far, and whatever the server has to tell comes before it. */
    private static void see(ZooKeeper client) throws Exception {
        Semaphore synced = new Semaphore(0);
        client.sync(ROOT, (rc, path, context) -> synced.release(), null);
        if (!synced.tryAcquire(PATIENCE_S, TimeUnit.SECONDS)) throw new AssertionError("no sync");
        client.exists(ROOT, false);
    }

    private void change(ZooKeeper client, String tag) throws Exception {
        for (int i = 0; i < count; i++) {
            String path = ROOT + "/" + tag + "-" + i;
            client.create(path, new byte[0], Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
            happened(EventType.NodeCreated, path);
            client.create(path + "/leaf", new byte[0], Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
            happened(EventType.NodeCreated, path + "/leaf");
            client.setData(path, new byte[100], -1);
            happened(EventType.NodeDataChanged, path);
            if (i % 2 == 0) continue;
            client.delete(path + "/leaf", -1);
            happened(EventType.NodeDeleted, path + "/leaf");
            client.delete(path, -1);
            happened(EventType.NodeDeleted, path);
        }
    }

    private void happened(EventType type, String path) {
        happened.add(type + " " + path);
    }

    private synchronized void noted(WatchedEvent event) {
        if (event.getType() != EventType.None) seen.add(event.getType() + " " + event.getPath());
    }

    private void connected(WatchedEvent event) {
        if (event.getType() == EventType.None && event.getState() == KeeperState.SyncConnected) connections.release();
    }

    private synchronized void compare(int round) {
        for (int i = 0; i < Math.max(seen.size(), happened.size()); i++) {
            String told = i < seen.size() ? seen.get(i) : "nothing";
            String expected = i < happened.size() ? happened.get(i) : "nothing";
            if (!told.equals(expected)) {
                throw new AssertionError("round " + round + ", event " + i + ": expected " + expected + ", told " + told);
            }
        }
    }

    private void acquire(String what) throws InterruptedException {
        if (!connections.tryAcquire(PATIENCE_S, TimeUnit.SECONDS)) throw new AssertionError("no " + what);
    }
}
