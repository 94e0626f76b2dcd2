import java.util.List;

/**
 * Curator's recipes, as applications use them, against any ZooKeeper-compatible server.
 *
 * <p>Usage: CuratorTour PROXY SERVER told|lost. All clients but the observing one connect through the proxy, whose connections
 * are cut, and the server is restarted, where a recipe promises to live with that. Exits with 1 at the first wrong
 * observation. The last argument says what becomes of events that persistent watches miss during a cut.
 */
public final class CuratorTour {
    private CuratorTour() {}

    private interface Stop {
        void run(Site site) throws Exception;
    }

    private record Named(String name, Stop stop) {}

    private static final List<Named> STOPS = List.of(
        new Named("mutex", CuratorLocks::mutex),
        new Named("mutex over a cut", CuratorLocks::mutexOverACut),
        new Named("read-write lock", CuratorLocks::readWriteLock),
        new Named("semaphore", CuratorLocks::semaphore),
        new Named("multi-lock", CuratorLocks::multiLock),
        new Named("leader latch", CuratorLeaders::latch),
        new Named("leader latch over a cut", CuratorLeaders::latchOverACut),
        new Named("leader selector", CuratorLeaders::selector),
        new Named("caches over a cut", CuratorCaches::cachesOverACut),
        new Named("persistent watcher", CuratorCaches::persistentWatcher),
        new Named("persistent watcher over a cut", CuratorCaches::persistentWatcherOverACut),
        new Named("barriers", CuratorValues::barriers),
        new Named("atomic long", CuratorValues::atomicLong),
        new Named("shared count", CuratorValues::sharedCount),
        new Named("queue", CuratorValues::queue),
        new Named("transaction", CuratorValues::transaction),
        new Named("create modes", CuratorValues::createModes),
        new Named("group member", CuratorMembers::groupMember),
        new Named("service discovery over a cut", CuratorMembers::serviceDiscoveryOverACut),
        new Named("persistent node over a restart", CuratorMembers::persistentNodeOverARestart));

    public static void main(String[] arguments) throws Exception {
        String at = "start";
        try (Site site = new Site(arguments[0], arguments[1], arguments[2].equals("told"))) {
            for (Named named : STOPS) {
                at = named.name();
                long begin = System.nanoTime();
                named.stop().run(site);
                site.closeClients();
                System.out.printf("ok %s, %d ms%n", at, (System.nanoTime() - begin) / 1_000_000);
            }
        } catch (Throwable wrong) {
            System.out.println("curator tour: " + at);
            wrong.printStackTrace(System.out);
            System.exit(1);
        }
        System.out.println("curator tour: " + STOPS.size() + " stops passed");
        System.exit(0);
    }
}
