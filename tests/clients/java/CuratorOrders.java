import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.retry.ExponentialBackoffRetry;

/**
 * Locks of orders, each with a parent of its own and held for a moment, by Curator's recipe; beside them an election and a
 * lock that is held all the time.
 *
 * <p>Arguments: the hosts, and how many orders there are, which are locked again and again then; 0 for new ones always.
 *
 * <p>Prints "ready" once it has locked enough orders for what it does to be known; goes on until its standard input ends.
 */
public final class CuratorOrders {
    private static final int CLIENTS = 4;
    private static final int ENOUGH = 150;
    private static final int PATIENCE_S = 60;

    private CuratorOrders() {}

    public static void main(String[] args) throws Exception {
        List<CuratorFramework> clients = new ArrayList<>();
        for (int i = 0; i < CLIENTS; i++) {
            CuratorFramework client = CuratorFrameworkFactory.newClient(args[0], 20_000, 20_000, new ExponentialBackoffRetry(100, 10));
            client.start();
            clients.add(client);
        }
        int parents = Integer.parseInt(args[1]);
        AtomicInteger locked = new AtomicInteger();
        AtomicBoolean over = new AtomicBoolean();
        InterProcessMutex coarse = new InterProcessMutex(clients.get(0), "/curator-services/nightly");
        expect(coarse.acquire(PATIENCE_S, TimeUnit.SECONDS), "the lock that is held");
        LeaderLatch latch = new LeaderLatch(clients.get(1), "/curator-services/leader");
        latch.start();
        expect(latch.await(PATIENCE_S, TimeUnit.SECONDS), "the election");
        ExecutorService threads = Executors.newFixedThreadPool(CLIENTS);
        List<Future<Void>> all = new ArrayList<>();
        for (int i = 0; i < CLIENTS; i++) {
            // Two clients want the same orders, so that some have to wait for one another.
            int first = i / 2;
            CuratorFramework client = clients.get(i);
            all.add(threads.submit(() -> {
                for (int order = first; !over.get(); order += CLIENTS) {
                    int number = parents > 0 ? order % parents : order;
                    InterProcessMutex mutex = new InterProcessMutex(client, "/curator-orders/order-" + number);
                    expect(mutex.acquire(PATIENCE_S, TimeUnit.SECONDS), "order " + order);
                    locked.incrementAndGet();
                    mutex.release();
                }
                return null;
            }));
        }
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(PATIENCE_S);
        while (locked.get() < ENOUGH && System.nanoTime() < deadline) Thread.sleep(50);
        System.out.println("ready after " + locked.get() + " orders");
        while (System.in.read() >= 0) continue;
        over.set(true);
        for (Future<Void> one : all) one.get(PATIENCE_S, TimeUnit.SECONDS);
        threads.shutdown();
        expect(locked.get() >= ENOUGH, "enough orders");
        expect(latch.hasLeadership() && coarse.isAcquiredInThisProcess(), "what is held all the time");
        latch.close();
        coarse.release();
        for (CuratorFramework client : clients) client.close();
        System.out.println(locked.get() + " orders");
    }

    private static void expect(boolean holds, String what) {
        if (!holds) throw new AssertionError(what);
    }
}
