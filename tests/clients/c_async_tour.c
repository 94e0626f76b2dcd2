/* The asynchronous half of Apache's C client (multi-threaded flavour), against any ZooKeeper-compatible server: every
 * operation as a callback, pipelined; watches that are removed; identities; znodes of all kinds.
 *
 * Usage: c_async_tour HOST:PORT
 * Exits with 1 and one clear message at the first wrong observation. Build with -DTHREADED -lzookeeper_mt -lpthread. */

#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zookeeper/zookeeper.h>

#define PATIENCE_S 30

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int connected, answers, events, last_event;
static char root[64];
static zhandle_t *zk;

static void fail(const char *what, long long seen) {
    printf("c async tour: %s: saw %lld\n", what, seen);
    exit(1);
}

static void expect(const char *what, long long seen, long long wanted) {
    if (seen != wanted) fail(what, seen);
}

static void count_one(int *counter) {
    pthread_mutex_lock(&mutex);
    ++*counter;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
}

/* Waits until so many were counted, and counts anew. */
static void wait_for(const char *what, int *counter, int wanted) {
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += PATIENCE_S;
    pthread_mutex_lock(&mutex);
    while (*counter < wanted)
        if (pthread_cond_timedwait(&changed, &mutex, &deadline) != 0) fail(what, *counter);
    expect(what, *counter, wanted);
    *counter = 0;
    pthread_mutex_unlock(&mutex);
}

static void on_event(zhandle_t *handle, int type, int state, const char *path, void *context) {
    (void)handle, (void)path, (void)context;
    if (type == ZOO_SESSION_EVENT) {
        if (state == ZOO_CONNECTED_STATE) count_one(&connected);
        return;
    }
    last_event = type;
    count_one(&events);
}

/* Callbacks: the context is what the answer must be. */
static void on_rc(int rc, const void *wanted) {
    expect("result", rc, (long)wanted);
    count_one(&answers);
}

static void on_stat(int rc, const struct Stat *stat, const void *wanted) {
    expect("result of exists or set", rc, ZOK);
    expect("version", stat->version, (long)wanted);
    count_one(&answers);
}

static void on_data(int rc, const char *data, int length, const struct Stat *stat, const void *wanted) {
    (void)stat;
    expect("result of get", rc, ZOK);
    expect("data", length != (int)strlen(wanted) || memcmp(data, wanted, length) != 0, 0);
    count_one(&answers);
}

static void on_names(int rc, const struct String_vector *names, const struct Stat *stat, const void *wanted) {
    expect("result of children", rc, ZOK);
    expect("names", names->count, (long)wanted);
    expect("number in the Stat", stat->numChildren, (long)wanted);
    count_one(&answers);
}

static void on_path(int rc, const char *path, const void *wanted) {
    expect("result of create", rc, ZOK);
    expect("path", strncmp(path, wanted, strlen(wanted)), 0);
    count_one(&answers);
}

static void on_path_and_stat(int rc, const char *path, const struct Stat *stat, const void *wanted) {
    expect("data of a new znode", stat->dataLength, 1);
    on_path(rc, path, wanted);
}

static void on_acl(int rc, struct ACL_vector *acl, struct Stat *stat, const void *wanted) {
    expect("result of get_acl", rc, ZOK);
    expect("its version", stat->aversion, (long)wanted);
    expect("entries", acl->count, 1);
    count_one(&answers);
}

static const char *below(const char *name) {
    static char paths[8][128];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof *paths, "%s%s", root, name);
    return path;
}

/* All at once; answers come in the order of requests, each as the one before has left the tree. */
static void pipeline(void) {
    const char *a = below("/a");
    zoo_acreate(zk, a, "0", 1, &ZOO_OPEN_ACL_UNSAFE, 0, (string_completion_t)on_path, a);
    zoo_aset(zk, a, "one", 3, 0, on_stat, (void *)1L);
    zoo_aget(zk, a, 0, on_data, "one");
    zoo_aset(zk, a, "two", 3, 1, on_stat, (void *)2L);
    zoo_aexists(zk, a, 0, on_stat, (void *)2L);
    zoo_aget(zk, a, 0, on_data, "two");
    zoo_aget_children2(zk, root, 0, on_names, (void *)1L);
    zoo_aget_acl(zk, a, on_acl, (void *)0L);
    zoo_aset_acl(zk, a, 0, &ZOO_READ_ACL_UNSAFE, on_rc, (void *)(long)ZOK);
    zoo_async(zk, a, (string_completion_t)on_path, a);
    zoo_aget_acl(zk, a, on_acl, (void *)1L);
    zoo_adelete(zk, a, 1, on_rc, (void *)(long)ZBADVERSION);
    zoo_adelete(zk, a, 2, on_rc, (void *)(long)ZOK);
    zoo_adelete(zk, a, -1, on_rc, (void *)(long)ZNONODE);
    wait_for("answers", &answers, 14);
}

static void kinds(void) {
    const char *kind = below("/kind-");
    zoo_acreate2(zk, kind, "x", 1, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_SEQUENTIAL, on_path_and_stat, kind);
    zoo_acreate2(zk, kind, "x", 1, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL_SEQUENTIAL, on_path_and_stat, kind);
    zoo_acreate2(zk, below("/kind-c"), "x", 1, &ZOO_OPEN_ACL_UNSAFE, ZOO_CONTAINER, on_path_and_stat, kind);
    zoo_acreate2_ttl(zk, below("/kind-t"), "x", 1, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_WITH_TTL, 600000,
                     on_path_and_stat, kind);
    wait_for("answers", &answers, 4);
}

static void multi(void) {
    zoo_op_t operations[4];
    zoo_op_result_t results[4];
    struct Stat stat;
    const char *path = below("/multi");
    zoo_create_op_init(&operations[0], path, "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0);
    zoo_set_op_init(&operations[1], path, "1", 1, 0, &stat);
    zoo_check_op_init(&operations[2], path, 1);
    zoo_delete_op_init(&operations[3], path, 1);
    expect("amulti", zoo_amulti(zk, 4, operations, results, on_rc, (void *)(long)ZOK), ZOK);
    wait_for("answer", &answers, 1);
    expect("version within", stat.version, 1);
    zoo_check_op_init(&operations[0], root, 7);
    expect("amulti", zoo_amulti(zk, 2, operations, results, on_rc, (void *)(long)ZBADVERSION), ZOK);
    wait_for("answer", &answers, 1);
}

/* A watch that is removed does not fire; one that is left does. */
static void remove_watches(void) {
    const char *path = below("/watched");
    zoo_acreate(zk, path, "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, (string_completion_t)on_path, path);
    zoo_awget(zk, path, on_event, NULL, on_data, "");
    zoo_awget_children2(zk, path, on_event, NULL, on_names, (void *)0L);
    wait_for("answers", &answers, 3);
    expect("remove", zoo_remove_watches(zk, path, ZWATCHTYPE_DATA, on_event, NULL, 0), ZOK);
    expect("remove again", zoo_remove_watches(zk, path, ZWATCHTYPE_DATA, on_event, NULL, 0), ZNOWATCHER);
    expect("set", zoo_set(zk, path, "x", 1, -1), ZOK);
    expect("events of a removed watch", events, 0);
    zoo_adelete(zk, path, -1, on_rc, (void *)(long)ZOK);
    wait_for("events", &events, 1);
    expect("type of the event", last_event, 2 /* deleted */);
    wait_for("answers", &answers, 1);
}

static void identities(void) {
    static struct Id authenticated = {"auth", ""};
    struct ACL entry = {ZOO_PERM_ALL, authenticated};
    struct ACL_vector own = {1, &entry};
    const char *path = below("/private");
    expect("add_auth", zoo_add_auth(zk, "digest", "ann:secret", 10, on_rc, (void *)(long)ZOK), ZOK);
    wait_for("answer", &answers, 1);
    zoo_acreate(zk, path, "x", 1, &own, 0, (string_completion_t)on_path, path);
    zoo_aget(zk, path, 0, on_data, "x");
    wait_for("answers", &answers, 2);
    zhandle_t *mine = zk;
    zk = zookeeper_init(zoo_get_current_server(mine), on_event, 10000, NULL, NULL, 0);
    wait_for("connection", &connected, 1);
    char buffer[8];
    int length = sizeof buffer;
    expect("a stranger's get", zoo_get(zk, path, 0, buffer, &length, NULL), ZNOAUTH);
    expect("a stranger's set", zoo_set(zk, path, "y", 1, -1), ZNOAUTH);
    expect("close", zookeeper_close(zk), ZOK);
    zk = mine;
}

static void clean_up(void) {
    struct String_vector names;
    expect("children", zoo_get_children(zk, root, 0, &names), ZOK);
    for (int i = 0; i < names.count; i++) {
        char name[80];
        snprintf(name, sizeof name, "/%s", names.data[i]);
        zoo_adelete(zk, below(name), -1, on_rc, (void *)(long)ZOK);
    }
    wait_for("answers", &answers, names.count);
    deallocate_String_vector(&names);
    expect("delete", zoo_delete(zk, root, -1), ZOK);
    expect("close", zookeeper_close(zk), ZOK);
}

int main(int argc, char **arguments) {
    if (argc != 2) fail("usage: c_async_tour HOST:PORT", argc);
    setvbuf(stdout, NULL, _IOLBF, 0);
    zoo_set_debug_level(ZOO_LOG_LEVEL_ERROR);
    zk = zookeeper_init(arguments[1], on_event, 10000, NULL, NULL, 0);
    wait_for("connection", &connected, 1);
    snprintf(root, sizeof root, "/c-async-%llx", (unsigned long long)zoo_client_id(zk)->client_id);
    expect("create", zoo_create(zk, root, "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0), ZOK);
    pipeline();
    kinds();
    multi();
    remove_watches();
    identities();
    clean_up();
    printf("c async tour: passed\n");
    return 0;
}
