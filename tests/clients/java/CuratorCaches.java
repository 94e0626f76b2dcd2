import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.cache.ChildData;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.cache.NodeCache;
import org.apache.curator.framework.recipes.cache.PathChildrenCache;
import org.apache.curator.framework.recipes.cache.TreeCache;
import org.apache.curator.framework.recipes.watch.PersistentWatcher;

/** Copies of znodes that follow the server. */
@SuppressWarnings("deprecation") // Most applications use the caches before CuratorCache.
final class CuratorCaches {
    private static final String ROOT = "/caches";

    private CuratorCaches() {}

    /** What changes before, during and after a cut is in every kind of cache in the end. */
    static void cachesOverACut(Site site) throws Exception {
        CuratorFramework client = site.client();
        // In Apache 3.8 a client's later watch of one path replaces the one of CuratorCache (ZOOKEEPER-4466).
        CuratorFramework other = site.client();
        CuratorFramework writer = site.observer;
        writer.create().creatingParentsIfNeeded().forPath(ROOT + "/a/deep", "1".getBytes());
        try (CuratorCache cache = CuratorCache.build(other, ROOT);
                TreeCache tree = new TreeCache(client, ROOT);
                PathChildrenCache children = new PathChildrenCache(client, ROOT, true);
                NodeCache node = new NodeCache(client, ROOT + "/a/deep")) {
            cache.start();
            tree.start();
            children.start(PathChildrenCache.StartMode.BUILD_INITIAL_CACHE);
            node.start(true);
            Caches all = new Caches(writer, cache, tree, children, node);
            all.follow();
            writer.create().forPath(ROOT + "/b", "1".getBytes());
            writer.setData().forPath(ROOT + "/a/deep", "2".getBytes());
            all.follow();
            site.cut(client);
            writer.create().forPath(ROOT + "/c", "1".getBytes());
            writer.create().forPath(ROOT + "/c/deep", "1".getBytes());
            writer.setData().forPath(ROOT + "/a", "3".getBytes());
            writer.setData().forPath(ROOT + "/a/deep", "3".getBytes());
            writer.delete().forPath(ROOT + "/b");
            site.restore(client);
            all.follow();
            writer.delete().forPath(ROOT + "/a/deep");
            writer.delete().deletingChildrenIfNeeded().forPath(ROOT + "/c");
            all.follow();
        }
    }

    private record Caches(
            CuratorFramework writer, CuratorCache cache, TreeCache tree, PathChildrenCache children, NodeCache node) {
        /** Waits until all caches hold what the server holds. */
        void follow() throws Exception {
            Map<String, String> truth = new TreeMap<>();
            read(ROOT, truth);
            Site.eventually("CuratorCache", () -> of(cache.stream().toList()), truth);
            Site.eventually("TreeCache", () -> of(tree), truth);
            Map<String, String> first = new TreeMap<>(truth);
            first.keySet().removeIf(path -> !path.matches(ROOT + "/[^/]*"));
            Site.eventually("PathChildrenCache", () -> of(children.getCurrentData()), first);
            Site.eventually("NodeCache", () -> text(node.getCurrentData()), truth.get(ROOT + "/a/deep"));
        }

        private void read(String path, Map<String, String> into) throws Exception {
            into.put(path, new String(writer.getData().forPath(path)));
            for (String name : writer.getChildren().forPath(path)) read(path + "/" + name, into);
        }
    }

    private static String text(ChildData data) {
        return data == null ? null : new String(data.getData());
    }

    private static Map<String, String> of(List<ChildData> list) {
        Map<String, String> map = new TreeMap<>();
        for (ChildData data : list) map.put(data.getPath(), text(data));
        return map;
    }

    private static Map<String, String> of(TreeCache tree) {
        Map<String, String> map = new TreeMap<>();
        List<String> paths = new ArrayList<>(List.of(ROOT));
        while (!paths.isEmpty()) {
            String path = paths.remove(0);
            ChildData data = tree.getCurrentData(path);
            Map<String, ChildData> children = tree.getCurrentChildren(path);
            if (data != null) map.put(path, text(data));
            if (children != null) children.keySet().forEach(name -> paths.add(path + "/" + name));
        }
        return map;
    }

    static void persistentWatcher(Site site) throws Exception {
        CuratorFramework client = site.client();
        BlockingQueue<String> events = new LinkedBlockingQueue<>();
        try (PersistentWatcher watcher = new PersistentWatcher(client, "/watched", true)) {
            watcher.getListenable().addListener(event -> {
                if (event.getPath() != null) events.add(event.getType() + " " + event.getPath());
            });
            watcher.start();
            // The watch is set in the background; its client's own request comes after it.
            client.checkExists().forPath("/");
            for (int round = 0; round < 2; round++) {
                site.observer.create().creatingParentsIfNeeded().forPath("/watched/a", new byte[0]);
                site.observer.setData().forPath("/watched/a", new byte[1]);
                site.observer.delete().deletingChildrenIfNeeded().forPath("/watched");
                for (String wanted : List.of("NodeCreated /watched", "NodeCreated /watched/a",
                        "NodeDataChanged /watched/a", "NodeDeleted /watched/a", "NodeDeleted /watched")) {
                    Site.expect("event", Site.next(wanted, events), wanted);
                }
                site.cut(client);
                site.restore(client);
                client.checkExists().forPath("/");
            }
        }
    }

    /** What happens while its client is away is lost before Apache's servers only; what comes later comes later. */
    static void persistentWatcherOverACut(Site site) throws Exception {
        CuratorFramework client = site.client();
        BlockingQueue<String> events = new LinkedBlockingQueue<>();
        site.observer.create().forPath("/lasting", new byte[0]);
        try (PersistentWatcher watcher = new PersistentWatcher(client, "/lasting", true)) {
            watcher.getListenable().addListener(event -> {
                if (event.getPath() != null) events.add(event.getType() + " " + event.getPath());
            });
            watcher.start();
            client.checkExists().forPath("/");
            for (int round = 0; round < 3; round++) {
                site.cut(client);
                site.observer.create().forPath("/lasting/a", new byte[0]);
                site.observer.setData().forPath("/lasting/a", new byte[1]);
                site.observer.delete().forPath("/lasting/a");
                site.restore(client);
                client.checkExists().forPath("/");
                site.observer.setData().forPath("/lasting", new byte[1]);
                List<String> wanted = new ArrayList<>();
                if (site.missedIsTold) {
                    wanted.addAll(List.of("NodeCreated /lasting/a", "NodeDataChanged /lasting/a", "NodeDeleted /lasting/a"));
                }
                wanted.add("NodeDataChanged /lasting");
                for (String event : wanted) Site.expect("event", Site.next(event, events), event);
                client.checkExists().forPath("/");
            }
            Site.expect("events", events.size(), 0);
        }
    }
}
