// A tour of what applications do with Node's client (node-zookeeper-client), against any ZooKeeper-compatible server.
'use strict';

const assert = require('node:assert');
const zookeeper = require('node-zookeeper-client');

const PATIENCE_MS = 30000;
const { CreateMode, Event, Exception, ACL, Permission, Id } = zookeeper;

function connect(host) {
    const client = zookeeper.createClient(host, { sessionTimeout: 10000 });
    const connected = happening(client, 'connected');
    client.connect();
    return connected.then(() => client);
}

function happening(client, name) {
    return new Promise((resolve) => client.once(name, resolve));
}

// Calls a method with a callback at its end, and returns its result; of several, all.
function call(client, method, ...parameters) {
    return new Promise((resolve, reject) => {
        client[method](...parameters, (error, ...results) => {
            if (error) reject(error);
            else resolve(results.length > 1 ? results : results[0]);
        });
    });
}

async function fails(code, promise) {
    await assert.rejects(promise, (error) => error.getCode() === code);
}

// Sets a watch by a read, and returns a promise of its event.
async function watch(client, method, path) {
    let tell;
    const event = new Promise((resolve) => { tell = resolve; });
    await call(client, method, path, tell);
    return event;
}

async function main(host) {
    const one = await connect(host);
    const two = await connect(host);
    const root = `/node-tour-${one.getSessionId().toString('hex')}`;
    const create = (name, mode = CreateMode.PERSISTENT) => call(one, 'create', root + name, Buffer.from('x'), mode);
    await create('');

    await create('/a');
    await fails(Exception.NODE_EXISTS, create('/a'));
    assert.equal((await call(one, 'setData', `${root}/a`, Buffer.from('two'), 0)).version, 1);
    await fails(Exception.BAD_VERSION, call(one, 'setData', `${root}/a`, Buffer.from('x'), 7));
    assert.equal((await call(one, 'getData', `${root}/a`))[0].toString(), 'two');
    assert.equal(await create('/s-', CreateMode.PERSISTENT_SEQUENTIAL), `${root}/s-0000000001`);
    assert.equal(await create('/s-', CreateMode.EPHEMERAL_SEQUENTIAL), `${root}/s-0000000002`);
    assert.deepEqual((await call(one, 'getChildren', root))[0].sort(), ['a', 's-0000000001', 's-0000000002']);
    await fails(Exception.NOT_EMPTY, call(one, 'remove', root, -1));

    const data = { event: watch(one, 'getData', `${root}/a`) };
    const children = { event: watch(one, 'getChildren', root) };
    const exists = { event: watch(one, 'exists', `${root}/new`) };
    // The reads go out before these, on another connection only once they were answered.
    await call(one, 'exists', root);
    await call(two, 'setData', `${root}/a`, Buffer.from('3'), -1);
    assert.equal((await data.event).getType(), Event.NODE_DATA_CHANGED);
    await call(two, 'create', `${root}/new`, Buffer.from('x'), CreateMode.PERSISTENT);
    assert.equal((await exists.event).getType(), Event.NODE_CREATED);
    assert.equal((await children.event).getType(), Event.NODE_CHILDREN_CHANGED);

    await call(one.transaction().create(`${root}/m`).setData(`${root}/m`, Buffer.from('x'), 0).check(`${root}/m`, 1)
        .remove(`${root}/m`, 1), 'commit');
    await fails(Exception.BAD_VERSION, call(one.transaction().check(root, 9), 'commit'));

    one.addAuthInfo('digest', Buffer.from('ann:secret'));
    await call(one, 'create', `${root}/private`, Buffer.from('x'), ACL.CREATOR_ALL_ACL, CreateMode.PERSISTENT);
    await fails(Exception.NO_AUTH, call(two, 'getData', `${root}/private`));
    const everybody = [new ACL(Permission.ALL, Id.ANYONE_ID_UNSAFE)];
    await call(one, 'setACL', `${root}/private`, everybody, -1);
    await call(two, 'getData', `${root}/private`);

    await create('/ephemeral', CreateMode.EPHEMERAL);
    const missed = { event: watch(one, 'getData', `${root}/a`) };
    const later = { event: watch(one, 'getData', `${root}/new`) };
    await call(one, 'exists', root);
    const session = one.getSessionId().toString('hex');
    const back = happening(one, 'connected');
    one.connectionManager.socket.destroy();
    await call(two, 'setData', `${root}/a`, Buffer.from('4'), -1);
    await back;
    assert.equal(one.getSessionId().toString('hex'), session);
    assert.equal((await missed.event).getType(), Event.NODE_DATA_CHANGED);
    await call(two, 'setData', `${root}/new`, Buffer.from('4'), -1);
    assert.equal((await later.event).getType(), Event.NODE_DATA_CHANGED);
    const gone = { event: watch(two, 'exists', `${root}/ephemeral`) };
    await call(two, 'exists', root);
    one.close();
    assert.equal((await gone.event).getType(), Event.NODE_DELETED);
    two.close();
}

const patience = setTimeout(() => {
    console.log(`node tour: not finished within ${PATIENCE_MS} ms`);
    process.exit(1);
}, PATIENCE_MS);
main(process.argv[2]).then(
    () => {
        clearTimeout(patience);
        console.log('node tour: passed');
    },
    (error) => {
        console.log('node tour:', error);
        process.exit(1);
    },
);
