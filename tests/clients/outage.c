/* A server is cut off from its ensemble, by Apache's C client: its readers stay, its owners of locks believe no longer
 * than they may, and all are told what they missed.
 *
 * Usage: outage SERVER OTHER
 * The first is cut off. Build with -DTHREADED -lzookeeper_mt -lpthread. */

#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <zookeeper/zookeeper.h>

#define PATIENCE_S 60
#define READS 20
#define NEWS "/outage-c"
#define LOCK NEWS "/lock"

/* How often a client was told each of these. */
struct client {
    zhandle_t *handle;
    int connected, connecting, expired, changes, others;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static void fail(const char *what, long long detail) {
    printf("outage: %s: %lld\n", what, detail);
    exit(1);
}

static void expect(const char *what, int wanted, int found) {
    if (wanted != found) fail(what, found);
}

static void on_event(zhandle_t *handle, int type, int state, const char *path, void *context) {
    struct client *client = context;
    (void)handle, (void)path;
    pthread_mutex_lock(&mutex);
    if (type == ZOO_CHANGED_EVENT) client->changes++;
    else if (type != ZOO_SESSION_EVENT) client->others++;
    else if (state == ZOO_CONNECTED_STATE) client->connected++;
    else if (state == ZOO_CONNECTING_STATE) client->connecting++;
    else if (state == ZOO_EXPIRED_SESSION_STATE) client->expired++;
    else client->others++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
}

static void wait_for(const char *what, const int *counter) {
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += PATIENCE_S;
    pthread_mutex_lock(&mutex);
    while (*counter == 0)
        if (pthread_cond_timedwait(&changed, &mutex, &deadline) != 0) fail(what, 0);
    pthread_mutex_unlock(&mutex);
}

static void open_session(struct client *client, const char *server, int timeout_ms) {
    memset(client, 0, sizeof *client);
    client->handle = zookeeper_init(server, on_event, timeout_ms, NULL, client, 0);
    if (client->handle == NULL) fail("zookeeper_init", 0);
    wait_for("a session", &client->connected);
}

/* Asks the test for a fault. */
static void please(const char *what) {
    char line[16];
    printf("please %s\n", what);
    if (fgets(line, sizeof line, stdin) == NULL || strcmp(line, "done\n") != 0) fail(what, 0);
}

static int create(struct client *client, const char *path, int flags) {
    return zoo_create(client->handle, path, "0", 1, &ZOO_OPEN_ACL_UNSAFE, flags, NULL, 0);
}

/* The first character of the data, or the error. */
static int news(struct client *client, int watch) {
    char data[16];
    int length = sizeof data;
    int rc = zoo_wget(client->handle, NEWS, watch ? on_event : NULL, client, data, &length, NULL);
    return rc != ZOK ? rc : data[0];
}

static int set(struct client *client, const char *data) {
    return zoo_set(client->handle, NEWS, data, 1, -1);
}

/* As applications do: again, while it fails so. */
#define PATIENTLY(call, trouble)                                           \
    do {                                                                   \
        time_t deadline = time(NULL) + PATIENCE_S;                         \
        int rc;                                                            \
        while ((rc = (call)) == (trouble)) {                               \
            if (time(NULL) > deadline) fail("still failing: " #call, rc); \
            usleep(50 * 1000);                                             \
        }                                                                  \
        expect(#call, ZOK, rc);                                            \
    } while (0)

int main(int count, char **arguments) {
    static struct client other, reader, owner, heir;
    if (count != 3) fail("usage: outage SERVER OTHER", count);
    setvbuf(stdout, NULL, _IOLBF, 0);
    zoo_set_debug_level(ZOO_LOG_LEVEL_ERROR);
    open_session(&other, arguments[2], 30000);
    expect("create", ZOK, create(&other, NEWS, 0));
    open_session(&reader, arguments[1], 30000);
    open_session(&owner, arguments[1], 4000);
    expect("create the lock", ZOK, create(&owner, LOCK, ZOO_EPHEMERAL));
    expect("the news, behind which the lock came", '0', news(&reader, 1) == '0' ? '0' : news(&reader, 1));
    long long session = zoo_client_id(owner.handle)->client_id;

    please("cut");
    wait_for("the owner's doubt", &owner.connecting);
    for (int i = 0; i < READS; i++) expect("a read without a core", '0', news(&reader, 0));
    expect("a write without a core", ZCONNECTIONLOSS, set(&reader, "9"));
    expect("a read behind it", '0', news(&reader, 0));
    PATIENTLY(create(&other, LOCK, ZOO_EPHEMERAL), ZNODEEXISTS);
    if (zoo_state(owner.handle) == ZOO_CONNECTED_STATE) fail("two owners", zoo_state(owner.handle));
    expect("set", ZOK, set(&other, "1"));
    expect("what the reader noticed", 0, reader.connecting + reader.changes + reader.expired + reader.others);

    please("restore");
    wait_for("the news", &reader.changes);
    expect("the news", '1', news(&reader, 0));
    wait_for("the end of the owner's session", &owner.expired);
    zookeeper_close(owner.handle);
    open_session(&heir, arguments[1], 4000);
    if (zoo_client_id(heir.handle)->client_id == session) fail("a session that has ended", session);
    PATIENTLY(set(&reader, "2"), ZCONNECTIONLOSS);
    PATIENTLY(create(&heir, NEWS "/again-", ZOO_EPHEMERAL | ZOO_SEQUENCE), ZCONNECTIONLOSS);
    expect("how often the reader connected", 1, reader.connected);
    zookeeper_close(other.handle);
    zookeeper_close(reader.handle);
    zookeeper_close(heir.handle);
    printf("outage: passed\n");
    return 0;
}
