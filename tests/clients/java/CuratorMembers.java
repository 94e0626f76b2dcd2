import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.nodes.GroupMember;
import org.apache.curator.framework.recipes.nodes.PersistentNode;
import org.apache.curator.x.discovery.ServiceCache;
import org.apache.curator.x.discovery.ServiceDiscovery;
import org.apache.curator.x.discovery.ServiceDiscoveryBuilder;
import org.apache.curator.x.discovery.ServiceInstance;
import org.apache.curator.x.discovery.ServiceProvider;
import org.apache.zookeeper.CreateMode;

/** Members that are there as long as their processes. */
final class CuratorMembers {
    private CuratorMembers() {}

    static void groupMember(Site site) throws Exception {
        List<GroupMember> members = new ArrayList<>();
        for (CuratorFramework client : site.clients(3)) {
            GroupMember member = new GroupMember(client, "/group", "member-" + members.size());
            member.start();
            members.add(member);
        }
        for (GroupMember member : members) {
            Site.eventually("members", () -> new TreeSet<>(member.getCurrentMembers().keySet()), names(3));
        }
        members.get(2).close();
        for (GroupMember member : members.subList(0, 2)) {
            Site.eventually("members", () -> new TreeSet<>(member.getCurrentMembers().keySet()), names(2));
        }
        members.get(1).close();
        members.get(0).close();
    }

    private static TreeSet<String> names(int count) {
        TreeSet<String> names = new TreeSet<>();
        for (int i = 0; i < count; i++) names.add("member-" + i);
        return names;
    }

    /** Services stay registered over a cut, and those that come and go meanwhile are found. */
    static void serviceDiscoveryOverACut(Site site) throws Exception {
        CuratorFramework client = site.client();
        ServiceDiscovery<String> stable = discovery(site.observer);
        ServiceDiscovery<String> user = discovery(client);
        ServiceInstance<String> first = instance("first");
        ServiceInstance<String> second = instance("second");
        ServiceInstance<String> own = instance("own");
        stable.registerService(first);
        user.registerService(own);
        ServiceCache<String> cache = user.serviceCacheBuilder().name("web").build();
        ServiceProvider<String> provider = user.serviceProviderBuilder().serviceName("web").build();
        cache.start();
        provider.start();
        Site.eventually("instances", () -> payloads(cache), Set.of("first", "own"));
        site.cut(client);
        stable.registerService(second);
        stable.unregisterService(first);
        site.restore(client);
        Site.eventually("instances", () -> payloads(cache), Set.of("second", "own"));
        Site.expect("names", List.copyOf(user.queryForNames()), List.of("web"));
        // After a reconnect Curator removes and registers its own services once more.
        Site.eventually("instances asked for", () -> stable.queryForInstances("web").size(), 2);
        Site.eventually("an instance", () -> provider.getInstance() != null, true);
        user.close();
        Site.eventually("instances", () -> stable.queryForInstances("web").size(), 1);
        stable.close();
    }

    private static ServiceDiscovery<String> discovery(CuratorFramework client) throws Exception {
        ServiceDiscovery<String> discovery =
            ServiceDiscoveryBuilder.builder(String.class).client(client).basePath("/services").build();
        discovery.start();
        return discovery;
    }

    private static ServiceInstance<String> instance(String payload) throws Exception {
        return ServiceInstance.<String>builder().name("web").address("10.0.0.7").port(80).payload(payload).build();
    }

    private static Set<String> payloads(ServiceCache<String> cache) {
        Set<String> payloads = new TreeSet<>();
        cache.getInstances().forEach(instance -> payloads.add(instance.getPayload()));
        return payloads;
    }

    /** A persistent ephemeral znode comes back, whoever deletes it, and whatever happens to the server. */
    static void persistentNodeOverARestart(Site site) throws Exception {
        CuratorFramework client = site.client();
        try (PersistentNode node =
                new PersistentNode(client, CreateMode.EPHEMERAL, false, "/persistent/node", "1".getBytes())) {
            node.start();
            Site.expect("created", node.waitForInitialCreate(Site.PATIENCE_S, TimeUnit.SECONDS), true);
            site.observer.delete().forPath("/persistent/node");
            Site.eventually("there again", () -> site.observer.checkExists().forPath("/persistent/node") != null, true);
            node.setData("2".getBytes());
            Please.restart();
            Site.eventually("owned by the client", () -> ownerIs(site.observer, client), true);
            Site.eventually("data", () -> new String(site.observer.getData().forPath("/persistent/node")), "2");
        }
    }

    private static boolean ownerIs(CuratorFramework observer, CuratorFramework client) throws Exception {
        var stat = observer.checkExists().forPath("/persistent/node");
        return stat != null && stat.getEphemeralOwner() == client.getZookeeperClient().getZooKeeper().getSessionId();
    }
}
