/* What applications do with Apache's C client (multi-threaded flavour), against any ZooKeeper-compatible server.
 *
 * Usage: c_tour HOST:PORT
 * Exits with 1 and one clear message at the first wrong observation. Build with -DTHREADED -lzookeeper_mt -lpthread. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zookeeper/zookeeper.h>

#define PATIENCE_MS 30000

static const char *stop_name = "start";

static void wrong(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    printf("c tour: %s: ", stop_name);
    vprintf(format, arguments);
    printf("\n");
    exit(1);
}

static void expect(const char *what, long long seen, long long wanted) {
    if (seen != wanted) wrong("%s: expected %lld, saw %lld", what, wanted, seen);
}

static void expect_rc(const char *what, int seen, int wanted) {
    if (seen != wanted) wrong("%s: expected %s, saw %s", what, zerror(wanted), zerror(seen));
}

static void expect_text(const char *what, const char *seen, const char *wanted) {
    if (strcmp(seen, wanted) != 0) wrong("%s: expected '%s', saw '%s'", what, wanted, seen);
}

/* A client with the session state and the watch events that it has seen. */
struct client {
    zhandle_t *handle;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int state;
    int connections;
    int events;
    int type;
    char path[256];
};

static const char *host;
static char root[128];

static void on_event(zhandle_t *handle, int type, int state, const char *path, void *context) {
    struct client *client = context;
    (void)handle;
    pthread_mutex_lock(&client->mutex);
    if (type == ZOO_SESSION_EVENT) {
        client->state = state;
        if (state == ZOO_CONNECTED_STATE) client->connections++;
    } else {
        client->events++;
        client->type = type;
        snprintf(client->path, sizeof client->path, "%s", path);
    }
    pthread_cond_broadcast(&client->changed);
    pthread_mutex_unlock(&client->mutex);
}

/* Waits, with the mutex held, until *counter >= wanted. */
static void wait_for(struct client *client, const char *what, const int *counter, int wanted) {
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += PATIENCE_MS / 1000;
    while (*counter < wanted)
        if (pthread_cond_timedwait(&client->changed, &client->mutex, &deadline) != 0)
            wrong("%s: not seen within %d ms", what, PATIENCE_MS);
}

static void expect_event(struct client *client, int type, const char *path) {
    pthread_mutex_lock(&client->mutex);
    wait_for(client, "watch event", &client->events, 1);
    expect("number of watch events", client->events, 1);
    expect("type of the watch event", client->type, type);
    expect_text("path of the watch event", client->path, path);
    client->events = 0;
    pthread_mutex_unlock(&client->mutex);
}

static struct client *connect_client(void) {
    struct client *client = calloc(1, sizeof *client);
    pthread_mutex_init(&client->mutex, NULL);
    pthread_cond_init(&client->changed, NULL);
    client->handle = zookeeper_init(host, on_event, 10000, NULL, client, 0);
    if (client->handle == NULL) wrong("zookeeper_init failed");
    pthread_mutex_lock(&client->mutex);
    wait_for(client, "connection", &client->connections, 1);
    pthread_mutex_unlock(&client->mutex);
    return client;
}

static void close_client(struct client *client) {
    expect_rc("close", zookeeper_close(client->handle), ZOK);
    free(client);
}

static const char *create(struct client *client, int mode, const char *format, ...) {
    static __thread char path[256], made[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(path, sizeof path, format, arguments);
    va_end(arguments);
    expect_rc(path, zoo_create(client->handle, path, "", 0, &ZOO_OPEN_ACL_UNSAFE, mode, made, sizeof made), ZOK);
    return made;
}

static void remove_tree(zhandle_t *handle, const char *path) {
    struct String_vector children;
    if (zoo_get_children(handle, path, 0, &children) != ZOK) return;
    for (int i = 0; i < children.count; i++) {
        char child[512];
        snprintf(child, sizeof child, "%s/%s", path, children.data[i]);
        remove_tree(handle, child);
    }
    deallocate_String_vector(&children);
    zoo_delete(handle, path, -1);
}

static void basics(struct client *client) {
    char path[256], data[64];
    int length = sizeof data;
    struct Stat stat;
    zhandle_t *handle = client->handle;
    strcpy(path, create(client, ZOO_PERSISTENT, "%s/basics", root));
    expect_rc("set", zoo_set2(handle, path, "hello", 5, 0, &stat), ZOK);
    expect("version", stat.version, 1);
    expect_rc("set with an old version", zoo_set(handle, path, "x", 1, 0), ZBADVERSION);
    expect_rc("get", zoo_get(handle, path, 0, data, &length, &stat), ZOK);
    expect("length", length, 5);
    expect("data", memcmp(data, "hello", 5), 0);
    expect_rc("get of nothing", zoo_get(handle, "/c-none", 0, data, &length, &stat), ZNONODE);
    expect_rc("create again", zoo_create(handle, path, "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0), ZNODEEXISTS);
    create(client, ZOO_PERSISTENT, "%s/child", path);
    struct String_vector children;
    expect_rc("children", zoo_get_children2(handle, path, 0, &children, &stat), ZOK);
    expect("number of children", children.count, 1);
    expect_text("child", children.data[0], "child");
    deallocate_String_vector(&children);
    expect_rc("delete with a child", zoo_delete(handle, path, -1), ZNOTEMPTY);
    create(client, ZOO_CONTAINER, "%s/container", root);
    struct ACL_vector acl;
    expect_rc("get_acl", zoo_get_acl(handle, path, &acl, &stat), ZOK);
    expect("permissions", acl.data[0].perms, ZOO_PERM_ALL);
    deallocate_ACL_vector(&acl);
}

static void ephemerals_and_sequences(struct client *client) {
    char path[256], folder[256];
    struct Stat stat;
    struct client *other = connect_client();
    strcpy(path, create(other, ZOO_EPHEMERAL, "%s/ephemeral", root));
    expect_rc("exists", zoo_exists(client->handle, path, 1, &stat), ZOK);
    expect("owner", stat.ephemeralOwner, zoo_client_id(other->handle)->client_id);
    close_client(other);
    expect_event(client, ZOO_DELETED_EVENT, path);
    strcpy(folder, create(client, ZOO_PERSISTENT, "%s/sequence", root));
    for (int i = 0; i < 3; i++) {
        char wanted[512];
        snprintf(wanted, sizeof wanted, "%s/s-%010d", folder, i);
        expect_text("sequential name", create(client, ZOO_SEQUENCE | (i ? ZOO_EPHEMERAL : 0), "%s/s-", folder), wanted);
    }
}

static void watches(struct client *client) {
    char path[256], child[512];
    struct Stat stat;
    struct client *other = connect_client();
    snprintf(path, sizeof path, "%s/watched", root);
    snprintf(child, sizeof child, "%s/child", path);
    expect_rc("exists", zoo_exists(client->handle, path, 1, &stat), ZNONODE);
    create(other, ZOO_PERSISTENT, "%s", path);
    expect_event(client, ZOO_CREATED_EVENT, path);
    expect_rc("exists", zoo_exists(client->handle, path, 1, &stat), ZOK);
    expect_rc("set", zoo_set(other->handle, path, "1", 1, -1), ZOK);
    expect_event(client, ZOO_CHANGED_EVENT, path);
    struct String_vector children;
    expect_rc("children", zoo_get_children(client->handle, path, 1, &children), ZOK);
    deallocate_String_vector(&children);
    create(other, ZOO_PERSISTENT, "%s", child);
    expect_event(client, ZOO_CHILD_EVENT, path);
    expect_rc("exists", zoo_exists(client->handle, child, 1, &stat), ZOK);
    expect_rc("delete", zoo_delete(other->handle, child, 0), ZOK);
    expect_event(client, ZOO_DELETED_EVENT, child);
    close_client(other);
}

/* What the completion thread saw, in order. Events and completions share that thread, so this is the wire's order. */
struct order {
    struct client *client;
    int event_seen, early_data, finished, wanted;
    char path[256];
};

static void order_event(zhandle_t *handle, int type, int state, const char *path, void *context) {
    (void)handle, (void)type, (void)state, (void)path;
    ((struct order *)context)->event_seen = 1;
}

static void order_data(int rc, const char *value, int length, const struct Stat *stat, const void *context) {
    struct order *order = (struct order *)context;
    (void)value, (void)length;
    expect_rc("asynchronous get", rc, ZOK);
    if (stat->version < order->wanted) {
        expect_rc("asynchronous get", zoo_aget(order->client->handle, order->path, 0, order_data, order), ZOK);
        return;
    }
    order->early_data = !order->event_seen;
    pthread_mutex_lock(&order->client->mutex);
    order->finished = 1;
    pthread_cond_broadcast(&order->client->changed);
    pthread_mutex_unlock(&order->client->mutex);
}

/* A client sees the event before it sees the data that caused it. */
static void event_before_data(struct client *client) {
    struct client *other = connect_client();
    struct Stat stat;
    char data[16];
    for (int i = 1; i <= 100; i++) {
        struct order order = {.client = client, .wanted = i};
        int length = sizeof data;
        snprintf(order.path, sizeof order.path, "%s/order", root);
        if (i == 1) create(client, ZOO_PERSISTENT, "%s", order.path);
        expect_rc("get", zoo_wget(client->handle, order.path, order_event, &order, data, &length, &stat), ZOK);
        expect_rc("asynchronous get", zoo_aget(client->handle, order.path, 0, order_data, &order), ZOK);
        expect_rc("set", zoo_set(other->handle, order.path, "x", 1, -1), ZOK);
        pthread_mutex_lock(&client->mutex);
        wait_for(client, "the new data", &order.finished, 1);
        pthread_mutex_unlock(&client->mutex);
        expect("data seen before its event", order.early_data, 0);
    }
    close_client(other);
}

static void multi(struct client *client) {
    char a[256], b[256], name[256];
    struct Stat stat;
    zoo_op_t operations[3];
    zoo_op_result_t results[3];
    snprintf(a, sizeof a, "%s/multi-a", root);
    snprintf(b, sizeof b, "%s/multi-b", root);
    zoo_create_op_init(&operations[0], a, "1", 1, &ZOO_OPEN_ACL_UNSAFE, 0, name, sizeof name);
    zoo_set_op_init(&operations[1], a, "2", 1, 0, &stat);
    zoo_create_op_init(&operations[2], b, "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL, NULL, 0);
    expect_rc("multi", zoo_multi(client->handle, 3, operations, results), ZOK);
    expect_text("created path", name, a);
    expect("version", stat.version, 1);
    zoo_delete_op_init(&operations[0], a, -1);
    zoo_check_op_init(&operations[1], b, 9);
    zoo_delete_op_init(&operations[2], b, -1);
    expect_rc("failing multi", zoo_multi(client->handle, 3, operations, results), ZBADVERSION);
    expect_rc("its first result", results[0].err, 0);
    expect_rc("its second result", results[1].err, ZBADVERSION);
    expect_rc("its third result", results[2].err, ZRUNTIMEINCONSISTENCY);
    expect_rc("exists after a failed multi", zoo_exists(client->handle, a, 0, &stat), ZOK);
}

/* Cuts every TCP connection of this process, as a broken network would. */
static void cut_connections(void) {
    for (int fd = 3; fd < 256; fd++) {
        struct sockaddr_in peer;
        socklen_t length = sizeof peer;
        if (getpeername(fd, (struct sockaddr *)&peer, &length) == 0 && peer.sin_family == AF_INET)
            shutdown(fd, SHUT_RDWR);
    }
}

/* The client re-arms its watches by setWatches; what changed meanwhile fires at once, the rest stays armed. */
static void reconnect(struct client *client) {
    char changed[256], kept[256];
    struct Stat stat;
    long long session = zoo_client_id(client->handle)->client_id;
    strcpy(changed, create(client, ZOO_EPHEMERAL, "%s/reconnect-changed", root));
    strcpy(kept, create(client, ZOO_EPHEMERAL, "%s/reconnect-kept", root));
    expect_rc("exists", zoo_exists(client->handle, changed, 1, &stat), ZOK);
    expect_rc("exists", zoo_exists(client->handle, kept, 1, &stat), ZOK);
    pthread_mutex_lock(&client->mutex);
    int connections = client->connections;
    cut_connections();
    wait_for(client, "reconnection", &client->connections, connections + 1);
    pthread_mutex_unlock(&client->mutex);
    expect("session id", zoo_client_id(client->handle)->client_id, session);
    struct client *other = connect_client();
    expect_rc("set", zoo_set(other->handle, changed, "x", 1, -1), ZOK);
    expect_event(client, ZOO_CHANGED_EVENT, changed);
    expect_rc("delete", zoo_delete(other->handle, kept, -1), ZOK);
    expect_event(client, ZOO_DELETED_EVENT, kept);
    close_client(other);
}

/* The lock recipe: an ephemeral sequential znode, and a watch on the one before. Who leads an election is the same
 * question, so this also serves as one: the order of succession is the order of arrival. */
static void *contend(void *context) {
    int *holders = context;
    struct client *client = connect_client();
    char mine[256], before[512];
    strcpy(mine, create(client, ZOO_EPHEMERAL | ZOO_SEQUENCE, "%s/lock/n-", root));
    for (;;) {
        struct String_vector children;
        struct Stat stat;
        const char *predecessor = NULL, *name = strrchr(mine, '/') + 1;
        expect_rc("contenders", zoo_get_children(client->handle, strcat(strcpy(before, root), "/lock"), 0, &children), ZOK);
        for (int i = 0; i < children.count; i++)
            if (strcmp(children.data[i], name) < 0 && (!predecessor || strcmp(children.data[i], predecessor) > 0))
                predecessor = children.data[i];
        if (predecessor) snprintf(before, sizeof before, "%s/lock/%s", root, predecessor);
        deallocate_String_vector(&children);
        if (!predecessor) break;
        if (zoo_exists(client->handle, before, 1, &stat) == ZOK) expect_event(client, ZOO_DELETED_EVENT, before);
    }
    expect("other holders of the lock", __sync_fetch_and_add(holders, 1), 0);
    char data[16], counter[256];
    int length = sizeof data - 1;
    struct Stat stat;
    snprintf(counter, sizeof counter, "%s/counter", root);
    expect_rc("get", zoo_get(client->handle, counter, 0, data, &length, &stat), ZOK);
    data[length > 0 ? length : 0] = 0;
    snprintf(data, sizeof data, "%d", atoi(data) + 1);
    expect_rc("set", zoo_set(client->handle, counter, data, strlen(data), stat.version), ZOK);
    __sync_fetch_and_sub(holders, 1);
    expect_rc("release", zoo_delete(client->handle, mine, -1), ZOK);
    close_client(client);
    return NULL;
}

static void lock_recipe(struct client *client) {
    pthread_t threads[5];
    int holders = 0, length = 15;
    char counter[256], data[16] = {0};
    struct Stat stat;
    create(client, ZOO_PERSISTENT, "%s/lock", root);
    strcpy(counter, create(client, ZOO_PERSISTENT, "%s/counter", root));
    for (int i = 0; i < 5; i++) pthread_create(&threads[i], NULL, contend, &holders);
    for (int i = 0; i < 5; i++) pthread_join(threads[i], NULL);
    expect_rc("get", zoo_get(client->handle, counter, 0, data, &length, &stat), ZOK);
    expect_text("counter under the lock", data, "5");
}

static const struct {
    const char *name;
    void (*run)(struct client *);
} stops[] = {
    {"basics", basics},       {"ephemerals and sequences", ephemerals_and_sequences},
    {"watches", watches},     {"event before data", event_before_data},
    {"multi", multi},         {"reconnect", reconnect},
    {"lock recipe", lock_recipe},
};

int main(int count, char **arguments) {
    if (count != 2) wrong("usage: c_tour HOST:PORT");
    host = arguments[1];
    setvbuf(stdout, NULL, _IOLBF, 0);
    zoo_set_debug_level(ZOO_LOG_LEVEL_ERROR);
    struct client *client = connect_client();
    snprintf(root, sizeof root, "/c-tour-%llx", (unsigned long long)zoo_client_id(client->handle)->client_id);
    create(client, ZOO_PERSISTENT, "%s", root);
    for (size_t i = 0; i < sizeof stops / sizeof *stops; i++) {
        stop_name = stops[i].name;
        stops[i].run(client);
        printf("ok %s\n", stop_name);
    }
    remove_tree(client->handle, root);
    close_client(client);
    printf("c tour: %zu stops passed\n", sizeof stops / sizeof *stops);
    return 0;
}
