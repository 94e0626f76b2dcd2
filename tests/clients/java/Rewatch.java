import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.Watcher.Event.EventType;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;

/**
 * Many watches outlive a cut connection: what changed meanwhile is told once, and the others stay.
 *
 * <p>Usage: Rewatch PROXY SERVER COUNT. The watches go through the proxy, the changes straight to the server. Watch i
 * is of kind i % 3; of each kind, one in ten is touched during the cut, and one in ten after it.
 */
public final class Rewatch implements Watcher {
    private static final int PATIENCE_S = 60;
    private static final int BATCH = 500;
    private static final EventType[] EVENTS = {
        EventType.NodeDataChanged, EventType.NodeCreated, EventType.NodeChildrenChanged
    };

    private final String root = "/rewatch-java-" + Long.toHexString(System.nanoTime());
    private final int count;
    private final Map<String, EventType> seen = new HashMap<>();
    private final Semaphore connections = new Semaphore(0);
    private int wanted = Integer.MAX_VALUE;
    private CountDownLatch all = new CountDownLatch(1);

    private Rewatch(int count) {
        this.count = count;
    }

    public static void main(String[] arguments) throws Exception {
        new Rewatch(Integer.parseInt(arguments[2])).run(arguments[0], arguments[1]);
        System.out.println("rewatch: passed");
        System.exit(0);
    }

    private void run(String proxy, String server) throws Exception {
        ZooKeeper other = new ZooKeeper(server, 30000, event -> {});
        create(other);
        ZooKeeper client = new ZooKeeper(proxy, 30000, this);
        acquire("connection");
        watch(client);
        long session = client.getSessionId();
        Please.cut();
        touch(other, 0, "first");
        Please.restore();
        acquire("reconnection");
        expect("session", client.getSessionId(), session);
        await("events of what changed during the cut", count / 10);
        touch(other, 1, "first");
        touch(other, 0, "second");
        await("events of what changed later", count / 5);
        // Whatever the server still has to tell comes before this.
        client.getData(root, false, null);
        expect("events in all", seen.size(), count / 5);
        for (int i = 0; i < count; i++) {
            if (i / 3 % 10 < 2) expect(path(i), seen.get(path(i)), EVENTS[i % 3]);
        }
        client.close();
        other.close();
    }

    private String path(int i) {
        return String.format("%s/service-instance-%06d", root, i);
    }

    private void create(ZooKeeper client) throws Exception {
        List<Op> operations = new ArrayList<>();
        operations.add(Op.create(root, new byte[0], Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT));
        for (int i = 0; i < count; i++) {
            if (i % 3 != 1) operations.add(create(path(i)));
        }
        multi(client, operations);
    }

    private static Op create(String path) {
        return Op.create(path, new byte[0], Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
    }

    private static void multi(ZooKeeper client, List<Op> operations) throws Exception {
        for (int from = 0; from < operations.size(); from += BATCH) {
            client.multi(operations.subList(from, Math.min(from + BATCH, operations.size())));
        }
    }

    /** Sets all watches. They are numbered in the order of their answers, so the last answer is that of all. */
    private void watch(ZooKeeper client) throws Exception {
        CountDownLatch answers = new CountDownLatch(count);
        for (int i = 0; i < count; i++) {
            switch (i % 3) {
                case 0 -> client.getData(path(i), this, (rc, path, context, data, stat) -> answers.countDown(), null);
                case 1 -> client.exists(path(i), this, (rc, path, context, stat) -> answers.countDown(), null);
                default -> client.getChildren(path(i), this, (rc, path, context, names) -> answers.countDown(), null);
            }
        }
        if (!answers.await(PATIENCE_S, TimeUnit.SECONDS)) throw new AssertionError("answers: " + answers.getCount());
    }

    /** Changes the tenth of the znodes that is in this group. */
    private void touch(ZooKeeper client, int group, String round) throws Exception {
        List<Op> operations = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            if (i / 3 % 10 != group) continue;
            if (i % 3 == 2) operations.add(create(path(i) + "/" + round));
            else if (i % 3 == 1 && round.equals("first")) operations.add(create(path(i)));
            else operations.add(Op.setData(path(i), round.getBytes(), -1));
        }
        multi(client, operations);
    }

    @Override
    public void process(WatchedEvent event) {
        if (event.getType() == EventType.None) {
            if (event.getState() == KeeperState.SyncConnected) connections.release();
            return;
        }
        synchronized (this) {
            EventType before = seen.put(event.getPath(), event.getType());
            if (before != null) {
                System.out.println("rewatch: two events for " + event.getPath() + ": " + before + ", " + event.getType());
                System.exit(1);
            }
            if (seen.size() >= wanted) all.countDown();
        }
    }

    private void await(String what, int number) throws InterruptedException {
        synchronized (this) {
            wanted = number;
            all = new CountDownLatch(seen.size() >= wanted ? 0 : 1);
        }
        if (!all.await(PATIENCE_S, TimeUnit.SECONDS)) throw new AssertionError(what + ": " + seen.size() + " of " + number);
    }

    private void acquire(String what) throws InterruptedException {
        if (!connections.tryAcquire(PATIENCE_S, TimeUnit.SECONDS)) throw new AssertionError("no " + what);
    }

    private static void expect(String what, Object seen, Object wanted) {
        if (!wanted.equals(seen)) throw new AssertionError(what + ": expected " + wanted + ", saw " + seen);
    }
}
