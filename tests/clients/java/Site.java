import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.RetryForever;
import org.apache.zookeeper.data.Stat;

/** Clients of the server under test, and expectations. */
final class Site implements AutoCloseable {
    static final int PATIENCE_S = 30;
    private static final int SESSION_MS = 10_000;

    /** An observer that no fault but a restart meets. */
    final CuratorFramework observer;

    /** Whether persistent watches are told what they missed. */
    final boolean missedIsTold;

    private final String proxy;
    private final String root = "curator-tour-" + Long.toHexString(System.nanoTime());
    private final List<CuratorFramework> clients = new ArrayList<>();
    private final ExecutorService threads = Executors.newCachedThreadPool();

    Site(String proxy, String server, boolean missedIsTold) throws InterruptedException {
        this.proxy = proxy;
        this.missedIsTold = missedIsTold;
        observer = connect(server);
    }

    /** A further client, through the proxy. */
    CuratorFramework client() throws InterruptedException {
        CuratorFramework client = connect(proxy);
        clients.add(client);
        return client;
    }

    List<CuratorFramework> clients(int count) throws InterruptedException {
        List<CuratorFramework> made = new ArrayList<>();
        for (int i = 0; i < count; i++) made.add(client());
        return made;
    }

    private CuratorFramework connect(String address) throws InterruptedException {
        CuratorFramework client = CuratorFrameworkFactory.builder()
            .connectString(address)
            .namespace(root)
            .sessionTimeoutMs(SESSION_MS)
            .retryPolicy(new RetryForever(100))
            .build();
        client.start();
        expect("connected", client.blockUntilConnected(PATIENCE_S, TimeUnit.SECONDS), true);
        return client;
    }

    <T> Future<T> spawn(Callable<T> work) {
        return threads.submit(work);
    }

    static <T> T join(Future<T> work) throws Exception {
        return work.get(PATIENCE_S, TimeUnit.SECONDS);
    }

    /** Cuts the connections of all clients, and returns when this one has seen it. */
    void cut(CuratorFramework client) throws Exception {
        await(client, ConnectionState.SUSPENDED, Please::cut);
    }

    /** Ends the cut, and returns when this client has seen it. */
    void restore(CuratorFramework client) throws Exception {
        await(client, ConnectionState.RECONNECTED, Please::restore);
    }

    private interface Fault {
        void happen() throws Exception;
    }

    private static void await(CuratorFramework client, ConnectionState state, Fault fault) throws Exception {
        CountDownLatch seen = new CountDownLatch(1);
        client.getConnectionStateListenable().addListener((whose, now) -> {
            if (now == state) seen.countDown();
        });
        fault.happen();
        expect(state + " seen", seen.await(PATIENCE_S, TimeUnit.SECONDS), true);
    }

    /** How many children a znode has; none if it is not there. */
    int children(String path) throws Exception {
        Stat stat = observer.checkExists().forPath(path);
        return stat == null ? 0 : stat.getNumChildren();
    }

    static void expect(String what, Object seen, Object wanted) {
        if (!Objects.equals(seen, wanted)) throw new AssertionError(what + ": expected " + wanted + ", saw " + seen);
    }

    /** Waits until the value is the wanted one. */
    static <T> void eventually(String what, Callable<T> value, T wanted) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(PATIENCE_S);
        T seen = value.call();
        while (!Objects.equals(seen, wanted)) {
            if (System.nanoTime() > deadline) throw new AssertionError(what + ": expected " + wanted + ", saw " + seen);
            Thread.sleep(10);
            seen = value.call();
        }
    }

    static <T> T next(String what, BlockingQueue<T> queue) throws InterruptedException {
        T next = queue.poll(PATIENCE_S, TimeUnit.SECONDS);
        if (next == null) throw new AssertionError(what + ": nothing came");
        return next;
    }

    void closeClients() {
        clients.forEach(CuratorFramework::close);
        clients.clear();
    }

    @Override
    public void close() {
        closeClients();
        observer.close();
        threads.shutdownNow();
    }
}
