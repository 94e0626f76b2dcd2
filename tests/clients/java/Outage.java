import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.Watcher.Event.EventType;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;

/**
 * A server is cut off from its ensemble: its readers stay, its owners of locks believe no longer than they may, and all
 * are told what they missed.
 *
 * <p>Usage: Outage SERVER OTHER. The first is cut off.
 */
public final class Outage {
    private static final int PATIENCE_S = 60;
    private static final int LONG_MS = 30000;
    private static final int SHORT_MS = 4000;
    private static final int READS = 20;
    private static final String NEWS = "/outage-java";
    private static final String LOCK = NEWS + "/lock";

    private Outage() {}

    public static void main(String[] arguments) throws Exception {
        run(arguments[0], arguments[1]);
        System.out.println("outage: passed");
        System.exit(0);
    }

    private static void run(String server, String elsewhere) throws Exception {
        ZooKeeper other = new ZooKeeper(elsewhere, LONG_MS, event -> {});
        other.create(NEWS, new byte[] {0}, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        Events reading = new Events();
        ZooKeeper reader = new ZooKeeper(server, LONG_MS, reading);
        reading.await(EventType.None, KeeperState.SyncConnected);
        reader.sync(NEWS, (code, path, context) -> reading.synced.release(), null);
        if (!reading.synced.tryAcquire(PATIENCE_S, TimeUnit.SECONDS)) throw new AssertionError("no sync");
        reader.getData(NEWS, true, null);
        Events owning = new Events();
        ZooKeeper owner = new ZooKeeper(server, SHORT_MS, owning);
        owning.await(EventType.None, KeeperState.SyncConnected);
        owner.create(LOCK, null, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);

        Please.cut();
        owning.await(EventType.None, KeeperState.Disconnected);
        for (int i = 0; i < READS; i++) reader.getData(NEWS, false, null);
        try {
            reader.setData(NEWS, new byte[] {9}, -1);
            throw new AssertionError("a write without a core");
        } catch (KeeperException.ConnectionLossException expected) {
            reader.getData(NEWS, false, null);
        }
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(PATIENCE_S);
        while (true) {
            try {
                other.create(LOCK, null, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
                break;
            } catch (KeeperException.NodeExistsException heldStill) {
                if (System.nanoTime() > deadline) throw heldStill;
                Thread.sleep(50);
            }
        }
        if (owner.getState().isConnected()) throw new AssertionError("two owners");
        other.setData(NEWS, new byte[] {1}, -1);
        if (!reading.queue.isEmpty()) throw new AssertionError("the reader noticed: " + reading.queue);

        Please.restore();
        reading.await(EventType.NodeDataChanged, KeeperState.SyncConnected);
        if (reader.getData(NEWS, false, null)[0] != 1) throw new AssertionError("an event before its data");
        owning.await(EventType.None, KeeperState.Expired);
        retried(() -> reader.setData(NEWS, new byte[] {2}, -1));
        owning.queue.clear();
        ZooKeeper again = new ZooKeeper(server, SHORT_MS, owning);
        owning.await(EventType.None, KeeperState.SyncConnected);
        retried(() -> again.create(NEWS + "/again", null, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL_SEQUENTIAL));
        for (ZooKeeper client : new ZooKeeper[] {other, reader, owner, again}) client.close();
    }

    private interface Call {
        void run() throws KeeperException, InterruptedException;
    }

    /** As applications do, after a connection loss. */
    private static void retried(Call call) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(PATIENCE_S);
        while (true) {
            try {
                call.run();
                return;
            } catch (KeeperException.ConnectionLossException lost) {
                if (System.nanoTime() > deadline) throw lost;
            }
        }
    }

    private static final class Events implements Watcher {
        private final LinkedBlockingQueue<WatchedEvent> queue = new LinkedBlockingQueue<>();
        private final Semaphore synced = new Semaphore(0);

        @Override
        public void process(WatchedEvent event) {
            queue.add(event);
        }

        /** Waits for this one; those before it do not matter. */
        void await(EventType type, KeeperState state) throws InterruptedException {
            while (true) {
                WatchedEvent event = queue.poll(PATIENCE_S, TimeUnit.SECONDS);
                if (event == null) throw new AssertionError("no " + type + " " + state);
                if (event.getType() == type && event.getState() == state) return;
            }
        }
    }
}
