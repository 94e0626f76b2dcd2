import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.locks.InterProcessLock;
import org.apache.curator.framework.recipes.locks.InterProcessMultiLock;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreMutex;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.locks.Lease;

/** Locks. */
final class CuratorLocks {
    private static final int CONTENDERS = 4;
    private static final int ROUNDS = 5;

    private CuratorLocks() {}

    static void mutex(Site site) throws Exception {
        AtomicInteger inside = new AtomicInteger();
        AtomicInteger entries = new AtomicInteger();
        List<Future<Void>> contenders = new ArrayList<>();
        for (CuratorFramework client : site.clients(CONTENDERS)) {
            contenders.add(site.spawn(() -> contend(new InterProcessMutex(client, "/mutex"), inside, entries)));
            contenders.add(site.spawn(() -> contend(new InterProcessSemaphoreMutex(client, "/mutex-2"), new AtomicInteger(), entries)));
        }
        for (Future<Void> contender : contenders) Site.join(contender);
        Site.expect("entries", entries.get(), 2 * CONTENDERS * ROUNDS);
        Site.expect("contenders left", site.children("/mutex"), 0);
    }

    private static Void contend(InterProcessLock lock, AtomicInteger inside, AtomicInteger entries) throws Exception {
        for (int round = 0; round < ROUNDS; round++) {
            Site.expect("acquired", lock.acquire(Site.PATIENCE_S, TimeUnit.SECONDS), true);
            Site.expect("others inside", inside.getAndIncrement(), 0);
            entries.incrementAndGet();
            inside.decrementAndGet();
            lock.release();
        }
        return null;
    }

    /** A short cut does not take the lock from its holder; a waiting contender gets it after the release. */
    static void mutexOverACut(Site site) throws Exception {
        CuratorFramework holder = site.client();
        CuratorFramework heir = site.client();
        InterProcessMutex held = new InterProcessMutex(holder, "/mutex-cut");
        held.acquire();
        Future<Boolean> waiting = site.spawn(() -> {
            InterProcessMutex wanted = new InterProcessMutex(heir, "/mutex-cut");
            boolean acquired = wanted.acquire(Site.PATIENCE_S, TimeUnit.SECONDS);
            wanted.release();
            return acquired;
        });
        Site.eventually("contenders", () -> site.children("/mutex-cut"), 2);
        List<String> before = site.observer.getChildren().forPath("/mutex-cut");
        site.cut(holder);
        site.restore(holder);
        Site.expect("contenders", site.observer.getChildren().forPath("/mutex-cut"), before);
        Site.expect("the lock was passed on", waiting.isDone(), false);
        held.release();
        Site.expect("acquired", Site.join(waiting), true);
    }

    static void readWriteLock(Site site) throws Exception {
        List<CuratorFramework> clients = site.clients(3);
        List<InterProcessReadWriteLock> locks =
            clients.stream().map(client -> new InterProcessReadWriteLock(client, "/read-write")).toList();
        InterProcessMutex write = locks.get(2).writeLock();
        for (int reader = 0; reader < 2; reader++) {
            Site.expect("a reader", locks.get(reader).readLock().acquire(Site.PATIENCE_S, TimeUnit.SECONDS), true);
        }
        Site.expect("a writer beside readers", write.acquire(100, TimeUnit.MILLISECONDS), false);
        Future<Boolean> writer = site.spawn(() -> {
            boolean acquired = write.acquire(Site.PATIENCE_S, TimeUnit.SECONDS);
            // A writer may read as well, and keep that when it stops writing.
            acquired &= locks.get(2).readLock().acquire(Site.PATIENCE_S, TimeUnit.SECONDS);
            write.release();
            return acquired;
        });
        locks.get(0).readLock().release();
        locks.get(1).readLock().release();
        Site.expect("the writer", Site.join(writer), true);
        Site.expect("a reader", locks.get(0).readLock().acquire(Site.PATIENCE_S, TimeUnit.SECONDS), true);
        Site.expect("a writer", locks.get(1).writeLock().acquire(100, TimeUnit.MILLISECONDS), false);
    }

    static void semaphore(Site site) throws Exception {
        List<InterProcessSemaphoreV2> semaphores =
            site.clients(3).stream().map(client -> new InterProcessSemaphoreV2(client, "/semaphore", 2)).toList();
        Lease first = semaphores.get(0).acquire();
        Lease second = semaphores.get(1).acquire();
        Site.expect("a third lease", semaphores.get(2).acquire(100, TimeUnit.MILLISECONDS), null);
        Future<Lease> third = site.spawn(() -> semaphores.get(2).acquire(Site.PATIENCE_S, TimeUnit.SECONDS));
        first.close();
        Lease lease = Site.join(third);
        Site.expect("leases", semaphores.get(0).getParticipantNodes().size(), 2);
        semaphores.get(1).returnAll(List.of(second, lease));
        Site.eventually("leases", () -> semaphores.get(0).getParticipantNodes().size(), 0);
    }

    static void multiLock(Site site) throws Exception {
        CuratorFramework one = site.client();
        CuratorFramework two = site.client();
        InterProcessMultiLock both = new InterProcessMultiLock(one, List.of("/multi/a", "/multi/b"));
        InterProcessMutex b = new InterProcessMutex(two, "/multi/b");
        b.acquire();
        Site.expect("both locks", both.acquire(100, TimeUnit.MILLISECONDS), false);
        b.release();
        Site.expect("both locks", both.acquire(Site.PATIENCE_S, TimeUnit.SECONDS), true);
        Site.expect("one of them", b.acquire(100, TimeUnit.MILLISECONDS), false);
        both.release();
    }
}
