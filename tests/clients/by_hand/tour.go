// A tour of what applications do with Go's client (samuel/go-zookeeper), against any ZooKeeper-compatible server.
package main

import (
	"fmt"
	"net"
	"os"
	"reflect"
	"sort"
	"sync"
	"time"

	"github.com/samuel/go-zookeeper/zk"
)

const patience = 30 * time.Second

var open = zk.WorldACL(zk.PermAll)

// A client whose TCP connection can be cut.
type client struct {
	*zk.Conn
	events <-chan zk.Event
	mutex  sync.Mutex
	socket net.Conn
}

type silent struct{}

func (silent) Printf(string, ...interface{}) {}

func connect(host string) *client {
	c := &client{}
	dial := func(network, address string, timeout time.Duration) (net.Conn, error) {
		socket, err := net.DialTimeout(network, address, timeout)
		c.mutex.Lock()
		c.socket = socket
		c.mutex.Unlock()
		return socket, err
	}
	var err error
	c.Conn, c.events, err = zk.Connect([]string{host}, 10*time.Second, zk.WithDialer(dial), zk.WithLogger(silent{}))
	check("connect", err)
	c.wait(zk.StateHasSession)
	return c
}

func (c *client) wait(state zk.State) {
	deadline := time.After(patience)
	for {
		select {
		case event := <-c.events:
			if event.Type == zk.EventSession && event.State == state {
				return
			}
		case <-deadline:
			fail("no " + state.String())
		}
	}
}

func (c *client) cut() {
	c.mutex.Lock()
	c.socket.Close()
	c.mutex.Unlock()
}

func fail(what string) {
	fmt.Println("go tour: " + what)
	os.Exit(1)
}

func check(what string, err error) {
	if err != nil {
		fail(what + ": " + err.Error())
	}
}

func expect(what string, seen, wanted interface{}) {
	if !reflect.DeepEqual(seen, wanted) {
		fail(fmt.Sprintf("%s: expected %v, saw %v", what, wanted, seen))
	}
}

func next(what string, events <-chan zk.Event) zk.Event {
	select {
	case event := <-events:
		return event
	case <-time.After(patience):
		fail(what + ": no event")
		panic("unreachable")
	}
}

func main() {
	one, two := connect(os.Args[1]), connect(os.Args[1])
	root := fmt.Sprintf("/go-tour-%x", one.SessionID())
	make := func(name string, flags int32) string {
		path, err := one.Create(root+name, []byte("x"), flags, open)
		check("create "+name, err)
		return path
	}
	make("", 0)
	znodes(one, root, make)
	watches(one, two, root, make)
	transactions(one, root)
	identities(one, two, root)
	lock(one, two, root)
	reconnect(one, two, root, make)
	fmt.Println("go tour: passed")
}

func znodes(one *client, root string, make func(string, int32) string) {
	make("/a", 0)
	_, err := one.Create(root+"/a", nil, 0, open)
	expect("create again", err, zk.ErrNodeExists)
	stat, err := one.Set(root+"/a", []byte("two"), 0)
	check("set", err)
	expect("version", stat.Version, int32(1))
	_, err = one.Set(root+"/a", nil, 7)
	expect("set with a wrong version", err, zk.ErrBadVersion)
	data, _, err := one.Get(root + "/a")
	check("get", err)
	expect("data", string(data), "two")
	expect("sequence", make("/s-", zk.FlagSequence), root+"/s-0000000001")
	expect("sequence", make("/s-", zk.FlagSequence|zk.FlagEphemeral), root+"/s-0000000002")
	names, stat, err := one.Children(root)
	check("children", err)
	sort.Strings(names)
	expect("children", names, []string{"a", "s-0000000001", "s-0000000002"})
	expect("numChildren", stat.NumChildren, int32(3))
	expect("delete with children", one.Delete(root, -1), zk.ErrNotEmpty)
	_, err = one.Sync(root)
	check("sync", err)
}

func watches(one, two *client, root string, make func(string, int32) string) {
	_, _, data, err := one.GetW(root + "/a")
	check("get", err)
	_, _, children, err := one.ChildrenW(root)
	check("children", err)
	_, _, exists, err := one.ExistsW(root + "/new")
	check("exists", err)
	_, err = two.Set(root+"/a", []byte("3"), -1)
	check("set", err)
	expect("event", next("data", data).Type, zk.EventNodeDataChanged)
	_, err = two.Create(root+"/new", nil, 0, open)
	check("create", err)
	expect("event", next("exists", exists).Type, zk.EventNodeCreated)
	expect("event", next("children", children).Type, zk.EventNodeChildrenChanged)
}

func transactions(one *client, root string) {
	results, err := one.Multi(
		&zk.CreateRequest{Path: root + "/m", Data: nil, Acl: open},
		&zk.SetDataRequest{Path: root + "/m", Data: []byte("x"), Version: 0},
		&zk.CheckVersionRequest{Path: root + "/m", Version: 1},
		&zk.DeleteRequest{Path: root + "/m", Version: 1})
	check("multi", err)
	expect("created", results[0].String, root+"/m")
	expect("version", results[1].Stat.Version, int32(1))
	_, err = one.Multi(&zk.CheckVersionRequest{Path: root, Version: 9})
	expect("a failing multi", err, zk.ErrBadVersion)
}

func identities(one, two *client, root string) {
	check("auth", one.AddAuth("digest", []byte("ann:secret")))
	_, err := one.Create(root+"/private", nil, 0, zk.DigestACL(zk.PermAll, "ann", "secret"))
	check("create", err)
	_, _, err = two.Get(root + "/private")
	expect("a stranger's get", err, zk.ErrNoAuth)
	acl, stat, err := one.GetACL(root + "/private")
	check("acl", err)
	expect("scheme", acl[0].Scheme, "digest")
	_, err = one.SetACL(root+"/private", open, stat.Aversion)
	check("set acl", err)
	_, _, err = two.Get(root + "/private")
	check("everybody's get", err)
}

func lock(one, two *client, root string) {
	first, second := zk.NewLock(one.Conn, root+"/lock", open), zk.NewLock(two.Conn, root+"/lock", open)
	check("lock", first.Lock())
	got := make(chan error, 1)
	go func() { got <- second.Lock() }()
	select {
	case <-got:
		fail("two holders of a lock")
	case <-time.After(100 * time.Millisecond):
	}
	check("unlock", first.Unlock())
	select {
	case err := <-got:
		check("lock", err)
	case <-time.After(patience):
		fail("the lock was not passed on")
	}
	check("unlock", second.Unlock())
}

// Watches are set again after a cut, and tell what was missed.
func reconnect(one, two *client, root string, make func(string, int32) string) {
	make("/ephemeral", zk.FlagEphemeral)
	session := one.SessionID()
	_, _, missed, err := one.GetW(root + "/a")
	check("get", err)
	_, _, later, err := one.GetW(root + "/new")
	check("get", err)
	one.cut()
	_, err = two.Set(root+"/a", []byte("4"), -1)
	check("set", err)
	expect("event", next("missed", missed).Type, zk.EventNodeDataChanged)
	expect("session", one.SessionID(), session)
	_, err = two.Set(root+"/new", []byte("4"), -1)
	check("set", err)
	expect("event", next("later", later).Type, zk.EventNodeDataChanged)
	_, _, gone, err := two.ExistsW(root + "/ephemeral")
	check("exists", err)
	one.Close()
	expect("event", next("the end of a session", gone).Type, zk.EventNodeDeleted)
}
