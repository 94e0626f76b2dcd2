/* Many watches outlive a cut connection, by Apache's C client: what changed meanwhile is told once, and the others stay.
 *
 * Usage: rewatch PROXY SERVER COUNT
 * The watches go through the proxy, the changes straight to the server. Watch i is of kind i % 3; of each kind, one in
 * ten is touched during the cut, and one in ten after it. Build with -DTHREADED -lzookeeper_mt -lpthread. */

#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zookeeper/zookeeper.h>

#define PATIENCE_S 60
#define BATCH 500
#define PATH 80

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int connections, answers, events, count;
static char root[PATH - 36];
static char *seen; /* the type of the event that each watch had */

static void fail(const char *what, long long detail) {
    printf("rewatch: %s: %lld\n", what, detail);
    exit(1);
}

static void path_of(int i, char *path) {
    snprintf(path, PATH, "%s/service-instance-%06d", root, i);
}

/* Waits until *counter >= wanted. */
static void wait_for(const char *what, const int *counter, int wanted) {
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += PATIENCE_S;
    pthread_mutex_lock(&mutex);
    while (*counter < wanted)
        if (pthread_cond_timedwait(&changed, &mutex, &deadline) != 0) fail(what, *counter);
    pthread_mutex_unlock(&mutex);
}

static void count_one(int *counter) {
    pthread_mutex_lock(&mutex);
    ++*counter;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
}

static void on_session(zhandle_t *handle, int type, int state, const char *path, void *context) {
    (void)handle, (void)path, (void)context;
    if (type == ZOO_SESSION_EVENT && state == ZOO_CONNECTED_STATE) count_one(&connections);
}

static void on_event(zhandle_t *handle, int type, int state, const char *path, void *context) {
    (void)handle, (void)state, (void)context;
    if (type == ZOO_SESSION_EVENT) return;
    int i = atoi(strrchr(path, '-') + 1);
    if (seen[i]) fail("two events for watch", i);
    seen[i] = type;
    count_one(&events);
}

static void on_data(int rc, const char *data, int length, const struct Stat *stat, const void *context) {
    (void)data, (void)length, (void)stat, (void)context;
    if (rc != ZOK) fail("get", rc);
    count_one(&answers);
}

static void on_stat(int rc, const struct Stat *stat, const void *context) {
    (void)stat, (void)context;
    if (rc != ZNONODE) fail("exists", rc);
    count_one(&answers);
}

static void on_names(int rc, const struct String_vector *names, const void *context) {
    (void)names, (void)context;
    if (rc != ZOK) fail("children", rc);
    count_one(&answers);
}

static void watch(zhandle_t *handle) {
    for (int i = 0; i < count; i++) {
        char path[PATH];
        int rc;
        path_of(i, path);
        if (i % 3 == 0) rc = zoo_awget(handle, path, on_event, NULL, on_data, NULL);
        else if (i % 3 == 1) rc = zoo_awexists(handle, path, on_event, NULL, on_stat, NULL);
        else rc = zoo_awget_children(handle, path, on_event, NULL, on_names, NULL);
        if (rc != ZOK) fail("watch", rc);
    }
    wait_for("answers", &answers, count);
}

/* Operations that go out in batches. */
static zoo_op_t batch[BATCH];
static char paths[BATCH][PATH + 8];
static int batched;

static void commit(zhandle_t *handle) {
    zoo_op_result_t results[BATCH];
    int rc = batched ? zoo_multi(handle, batched, batch, results) : ZOK;
    if (rc != ZOK) fail("multi", rc);
    batched = 0;
}

static void create(zhandle_t *handle, const char *path, const char *child) {
    if (batched == BATCH) commit(handle);
    snprintf(paths[batched], sizeof paths[batched], "%s%s", path, child);
    zoo_create_op_init(&batch[batched], paths[batched], "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0);
    batched++;
}

static void set(zhandle_t *handle, const char *path) {
    if (batched == BATCH) commit(handle);
    strcpy(paths[batched], path);
    zoo_set_op_init(&batch[batched], paths[batched], "x", 1, -1, NULL);
    batched++;
}

static void create_all(zhandle_t *handle) {
    create(handle, root, "");
    for (int i = 0; i < count; i++) {
        char path[PATH];
        path_of(i, path);
        if (i % 3 != 1) create(handle, path, "");
    }
    commit(handle);
}

/* Changes the tenth of the znodes that is in this group. */
static void touch(zhandle_t *handle, int group, int round) {
    for (int i = 0; i < count; i++) {
        char path[PATH];
        if (i / 3 % 10 != group) continue;
        path_of(i, path);
        if (i % 3 == 2) create(handle, path, round == 1 ? "/1" : "/2");
        else if (i % 3 == 1 && round == 1) create(handle, path, "");
        else set(handle, path);
    }
    commit(handle);
}

static void please(const char *what) {
    char answer[16];
    printf("please %s\n", what);
    if (!fgets(answer, sizeof answer, stdin) || strcmp(answer, "done\n") != 0) fail(what, 0);
}

int main(int argc, char **arguments) {
    static const int types[] = {3 /* changed */, 1 /* created */, 4 /* child */};
    if (argc != 4) fail("usage: rewatch PROXY SERVER COUNT", argc);
    count = atoi(arguments[3]);
    seen = calloc(count, 1);
    snprintf(root, sizeof root, "/rewatch-c-%x", (unsigned)getpid());
    setvbuf(stdout, NULL, _IOLBF, 0);
    zoo_set_debug_level(ZOO_LOG_LEVEL_ERROR);
    zhandle_t *other = zookeeper_init(arguments[2], on_session, 30000, NULL, NULL, 0);
    wait_for("connection", &connections, 1);
    zhandle_t *handle = zookeeper_init(arguments[1], on_session, 30000, NULL, NULL, 0);
    wait_for("connection", &connections, 2);
    create_all(other);
    watch(handle);
    long long session = zoo_client_id(handle)->client_id;
    please("cut");
    touch(other, 0, 1);
    please("restore");
    wait_for("reconnection", &connections, 3);
    if (zoo_client_id(handle)->client_id != session) fail("another session", session);
    wait_for("events of what changed during the cut", &events, count / 10);
    touch(other, 1, 1);
    touch(other, 0, 2);
    wait_for("events of what changed later", &events, count / 5);
    /* Whatever the server still has to tell comes before this. */
    struct Stat stat;
    if (zoo_exists(handle, root, 0, &stat) != ZOK) fail("exists", 0);
    if (events != count / 5) fail("events in all", events);
    for (int i = 0; i < count; i++)
        if (seen[i] != (i / 3 % 10 < 2 ? types[i % 3] : 0)) fail("wrong event for watch", i);
    zookeeper_close(handle);
    zookeeper_close(other);
    printf("rewatch: passed\n");
    return 0;
}
