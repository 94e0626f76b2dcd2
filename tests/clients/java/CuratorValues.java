import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.api.transaction.CuratorTransactionResult;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicLong;
import org.apache.curator.framework.recipes.barriers.DistributedBarrier;
import org.apache.curator.framework.recipes.barriers.DistributedDoubleBarrier;
import org.apache.curator.framework.recipes.queue.SimpleDistributedQueue;
import org.apache.curator.framework.recipes.shared.SharedCount;
import org.apache.curator.framework.recipes.shared.SharedCountListener;
import org.apache.curator.framework.recipes.shared.SharedCountReader;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.RetryForever;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;

/** Numbers, barriers, queues and transactions. */
final class CuratorValues {
    private CuratorValues() {}

    static void barriers(Site site) throws Exception {
        CuratorFramework client = site.client();
        DistributedBarrier barrier = new DistributedBarrier(site.observer, "/barrier");
        barrier.setBarrier();
        Future<Boolean> waiting =
            site.spawn(() -> new DistributedBarrier(client, "/barrier").waitOnBarrier(Site.PATIENCE_S, TimeUnit.SECONDS));
        Site.expect("passed a closed barrier", barrier.waitOnBarrier(100, TimeUnit.MILLISECONDS), false);
        Site.expect("passed a closed barrier", waiting.isDone(), false);
        barrier.removeBarrier();
        Site.expect("passed", Site.join(waiting), true);

        List<Future<Boolean>> members = new ArrayList<>();
        for (CuratorFramework each : site.clients(3)) {
            members.add(site.spawn(() -> {
                DistributedDoubleBarrier both = new DistributedDoubleBarrier(each, "/double-barrier", 3);
                return both.enter(Site.PATIENCE_S, TimeUnit.SECONDS) && both.leave(Site.PATIENCE_S, TimeUnit.SECONDS);
            }));
        }
        for (Future<Boolean> member : members) Site.expect("entered and left", Site.join(member), true);
    }

    static void atomicLong(Site site) throws Exception {
        List<Future<Integer>> adders = new ArrayList<>();
        for (CuratorFramework client : site.clients(3)) {
            DistributedAtomicLong number = new DistributedAtomicLong(client, "/number", new RetryForever(10));
            adders.add(site.spawn(() -> {
                for (int done = 0; done < 15; done++) Site.expect("added", number.increment().succeeded(), true);
                return 15;
            }));
        }
        long sum = 0;
        for (Future<Integer> adder : adders) sum += Site.join(adder);
        DistributedAtomicLong number = new DistributedAtomicLong(site.observer, "/number", new RetryForever(10));
        Site.expect("sum", number.get().postValue(), sum);
        Site.expect("a wrong compare-and-set", number.compareAndSet(sum + 1, 0L).succeeded(), false);
        Site.expect("a compare-and-set", number.compareAndSet(sum, 0L).postValue(), 0L);
    }

    static void sharedCount(Site site) throws Exception {
        BlockingQueue<Integer> seen = new LinkedBlockingQueue<>();
        try (SharedCount one = new SharedCount(site.observer, "/count", 7);
                SharedCount two = new SharedCount(site.client(), "/count", 9)) {
            two.addListener(new SharedCountListener() {
                @Override
                public void countHasChanged(SharedCountReader count, int value) {
                    seen.add(value);
                }

                @Override
                public void stateChanged(CuratorFramework client, ConnectionState state) {}
            });
            one.start();
            two.start();
            Site.expect("the first value", two.getCount(), 7);
            Site.expect("set", one.trySetCount(one.getVersionedValue(), 8), true);
            Site.expect("told", Site.next("a change", seen), 8);
            Site.expect("set", two.trySetCount(two.getVersionedValue(), 9), true);
            Site.eventually("told", one::getCount, 9);
        }
    }

    static void queue(Site site) throws Exception {
        SimpleDistributedQueue producer = new SimpleDistributedQueue(site.observer, "/queue");
        SimpleDistributedQueue consumer = new SimpleDistributedQueue(site.client(), "/queue");
        Future<byte[]> first = site.spawn(() -> consumer.poll(Site.PATIENCE_S, TimeUnit.SECONDS));
        for (int i = 0; i < 5; i++) producer.offer(String.valueOf(i).getBytes());
        Site.expect("the first", new String(Site.join(first)), "0");
        for (int i = 1; i < 5; i++) Site.expect("the next", new String(consumer.take()), String.valueOf(i));
        Site.expect("an empty queue", consumer.poll(), null);
    }

    static void transaction(Site site) throws Exception {
        CuratorFramework client = site.client();
        List<CuratorTransactionResult> results = client.transaction().forOperations(
            client.transactionOp().create().forPath("/transaction", "a".getBytes()),
            client.transactionOp().create().withMode(CreateMode.PERSISTENT_SEQUENTIAL).forPath("/transaction/s-"),
            client.transactionOp().setData().withVersion(0).forPath("/transaction", "b".getBytes()),
            client.transactionOp().check().withVersion(1).forPath("/transaction"),
            client.transactionOp().create().forPath("/transaction/gone"),
            client.transactionOp().delete().forPath("/transaction/gone"));
        Site.expect("path", results.get(1).getResultPath(), "/transaction/s-0000000000");
        Site.expect("version", results.get(2).getResultStat().getVersion(), 1);
        try {
            client.transaction().forOperations(
                client.transactionOp().create().forPath("/transaction/lost"),
                client.transactionOp().check().withVersion(9).forPath("/transaction"));
            throw new AssertionError("a wrong version was accepted");
        } catch (KeeperException.BadVersionException expected) {
            Site.expect("rolled back", client.checkExists().forPath("/transaction/lost"), null);
        }
    }

    static void createModes(Site site) throws Exception {
        CuratorFramework client = site.client();
        client.create().creatingParentContainersIfNeeded().forPath("/modes/container/child");
        client.create().withTtl(60_000).withMode(CreateMode.PERSISTENT_WITH_TTL).forPath("/modes/ttl");
        for (String path : List.of("/modes/container", "/modes/ttl")) {
            Site.expect("an owner", client.checkExists().forPath(path).getEphemeralOwner(), 0L);
        }
        // The name that survives a lost answer: the client looks for it before it creates a second one.
        String made = client.create().withProtection().withMode(CreateMode.EPHEMERAL_SEQUENTIAL).forPath("/modes/p-");
        Site.expect("a protected name", made.matches("/modes/_c_[-0-9a-f]{36}-p-[0-9]{10}"), true);
        Site.expect("created anew", client.create().orSetData().forPath("/modes/ttl", "x".getBytes()), "/modes/ttl");
        client.delete().guaranteed().deletingChildrenIfNeeded().forPath("/modes");
        client.delete().quietly().forPath("/modes");
    }
}
