import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.leader.LeaderSelector;
import org.apache.curator.framework.recipes.leader.LeaderSelectorListenerAdapter;

/** Elections. */
final class CuratorLeaders {
    private static final int CANDIDATES = 3;

    private CuratorLeaders() {}

    static void latch(Site site) throws Exception {
        List<LeaderLatch> latches = latches(site, "/latch");
        while (!latches.isEmpty()) {
            int left = latches.size();
            LeaderLatch leader = leader(latches);
            Site.expect("what others think", latches.get(0).getLeader().getId(), leader.getId());
            Site.eventually("participants", () -> site.children("/latch"), left);
            leader.close();
            latches.remove(leader);
        }
        Site.eventually("participants left", () -> site.children("/latch"), 0);
    }

    /** Who cannot reach the server does not lead; afterwards one does. */
    static void latchOverACut(Site site) throws Exception {
        List<LeaderLatch> latches = latches(site, "/latch-cut");
        leader(latches);
        CuratorFramework observed = site.client();
        site.cut(observed);
        Site.eventually("leaders in a cut", () -> leaders(latches), 0L);
        site.restore(observed);
        leader(latches);
        for (LeaderLatch latch : latches) latch.close();
    }

    private static List<LeaderLatch> latches(Site site, String path) throws Exception {
        List<LeaderLatch> latches = new ArrayList<>();
        for (CuratorFramework client : site.clients(CANDIDATES)) {
            LeaderLatch latch = new LeaderLatch(client, path, "candidate-" + latches.size());
            latch.start();
            latches.add(latch);
        }
        Site.eventually("participants", () -> site.children(path), CANDIDATES);
        return latches;
    }

    private static long leaders(List<LeaderLatch> latches) {
        return latches.stream().filter(LeaderLatch::hasLeadership).count();
    }

    /** The one that leads. */
    private static LeaderLatch leader(List<LeaderLatch> latches) throws Exception {
        Site.eventually("leaders", () -> leaders(latches), 1L);
        return latches.stream().filter(LeaderLatch::hasLeadership).findFirst().orElseThrow();
    }

    /** Each candidate leads in turn, and no two at a time. */
    static void selector(Site site) throws Exception {
        BlockingQueue<String> reigns = new LinkedBlockingQueue<>();
        AtomicInteger reigning = new AtomicInteger();
        Semaphore mayEnd = new Semaphore(0);
        List<LeaderSelector> selectors = new ArrayList<>();
        for (CuratorFramework client : site.clients(CANDIDATES)) {
            LeaderSelector selector = new LeaderSelector(client, "/selector", new LeaderSelectorListenerAdapter() {
                @Override
                public void takeLeadership(CuratorFramework whose) throws Exception {
                    int others = reigning.getAndIncrement();
                    reigns.add(others == 0 ? "alone" : "beside " + others);
                    mayEnd.acquire();
                    reigning.decrementAndGet();
                }
            });
            selector.autoRequeue();
            selector.start();
            selectors.add(selector);
        }
        for (int reign = 0; reign < 2 * CANDIDATES; reign++) {
            Site.expect("leader", Site.next("a leader", reigns), "alone");
            mayEnd.release();
        }
        selectors.forEach(LeaderSelector::close);
    }
}
