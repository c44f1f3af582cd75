'use strict'
// Nodes of hyperdht that make up a network, or a part of one, and clients that make every call of its interface.
const assert = require('assert')
const HyperDHT = require('hyperdht')
const c = require('compact-encoding')
const messages = require('hyperdht/lib/messages')
const Persistent = require('hyperdht/lib/persistent')
const { COMMANDS } = require('hyperdht/lib/constants')
const { serve } = require('./common')

const at = (port) => ({ host: '127.0.0.1', port })
const hex = (buffer) => Buffer.from(buffer).toString('hex')
const bytes = (text) => Buffer.from(text, 'hex')
const pair = (seed) => HyperDHT.keyPair(Buffer.alloc(32, seed))
const open = (bootstrap) => new HyperDHT({ bootstrap: [at(bootstrap)], host: '127.0.0.1', firewalled: false })

const nodes = []

async function lasting (bootstrap) {
  const options = { bootstrap: [at(bootstrap)], host: '127.0.0.1', firewalled: false, ephemeral: false }
  const node = new HyperDHT(options)
  await node.fullyBootstrapped()
  nodes.push(node)
}

async function all (query) {
  const found = []
  for await (const data of query) found.push(data)
  return found
}

const told = (found) => found.flatMap((data) => data.peers || [data.peer]).map((peer) => hex(peer.publicKey))

function echo (socket) {
  return new Promise((resolve, reject) => {
    socket.on('error', reject)
    socket.once('data', (data) => {
      socket.end()
      resolve(data.toString())
    })
    socket.write('hello')
  })
}

// Every call, one after the other; the names of those that did what the interface says.
async function every (bootstrap) {
  const a = open(bootstrap)
  const b = open(bootstrap)
  const done = []
  const call = async (name, act) => {
    try {
      await act()
      done.push(name)
    } catch (error) {
      throw new Error(`${name}: ${error.stack}`)
    }
  }
  await call('fullyBootstrapped', async () => {
    await a.fullyBootstrapped()
    await b.fullyBootstrapped()
    assert(a.toArray().length > 0)
    assert.strictEqual(a.address().port, a.port)
  })
  await call('ping', async () => {
    const pong = await a.ping(at(bootstrap))
    assert.strictEqual(pong.from.port, bootstrap)
    assert.strictEqual(pong.to.host, '127.0.0.1')
  })
  await call('delayedPing', async () => {
    const begin = Date.now()
    await a.delayedPing(at(bootstrap), 300)
    assert(Date.now() - begin >= 290)
  })
  await call('findNode', async () => {
    const found = await all(a.findNode(Buffer.alloc(32, 1)))
    assert(found.length > 2 && found.every((reply) => reply.error === 0))
  })
  await call('addNode', async () => a.addNode(at(bootstrap)))
  await call('request, unknown', async () => {
    const reply = await a.request({ command: 200, target: Buffer.alloc(32) }, at(bootstrap))
    assert.strictEqual(reply.error, 1)
  })
  await call('request, wrong token', async () => {
    const wrong = { command: COMMANDS.LOOKUP, target: Buffer.alloc(32), token: Buffer.alloc(32) }
    const reply = await a.request(wrong, at(bootstrap))
    assert.strictEqual(reply.error, 2)
    assert.strictEqual(reply.token.length, 32)
  })
  await call('session', async () => {
    const session = a.session()
    const reply = await session.request({ command: COMMANDS.LOOKUP, target: Buffer.alloc(32) }, at(bootstrap))
    assert.strictEqual(reply.error, 0)
    session.destroy()
  })
  await call('immutablePut and immutableGet', async () => {
    for (const value of [Buffer.from('x'), Buffer.alloc(900, 7)]) {
      const { hash, closestNodes } = await a.immutablePut(value)
      assert(closestNodes.length > 2)
      const found = await b.immutableGet(hash)
      assert(found.value.equals(value))
    }
    assert.strictEqual(await b.immutableGet(Buffer.alloc(32, 3)), null)
  })
  await call('mutablePut and mutableGet', async () => {
    const owner = pair(40)
    assert.strictEqual(await b.mutableGet(owner.publicKey), null)
    for (const [seq, text] of [[0, 'zero'], [3, 'three'], [7, 'seven']]) {
      const put = await a.mutablePut(owner, Buffer.from(text), { seq })
      assert.strictEqual(put.seq, seq)
      const found = await b.mutableGet(owner.publicKey)
      assert.strictEqual(found.value.toString(), text)
      assert.strictEqual(found.seq, seq)
    }
    const some = await b.mutableGet(owner.publicKey, { seq: 5, latest: false })
    assert.strictEqual(some.seq, 7)
    assert.strictEqual(await b.mutableGet(owner.publicKey, { seq: 8 }), null)
    const kept = await b.mutableGet(owner.publicKey, { refresh: () => true })
    assert.strictEqual(kept.seq, 7)
  })
  await call('storage errors', async () => {
    const owner = pair(40)
    const target = HyperDHT.hash(owner.publicKey)
    const put = async (reply, seq, text, signer = owner) => {
      const value = Buffer.from(text)
      const signature = await Persistent.signMutable(seq, value, signer)
      const signed = c.encode(messages.mutablePutRequest, { publicKey: owner.publicKey, seq, value, signature })
      return a.request({ token: reply.token, target, command: COMMANDS.MUTABLE_PUT, value: signed }, reply.from)
    }
    const asked = { target, command: COMMANDS.MUTABLE_GET, value: c.encode(c.uint, 0) }
    let count = 0
    const forged = []
    for (const reply of await all(a.query(asked))) {
      if (!reply.value) continue
      count++
      assert.strictEqual((await put(reply, 7, 'other')).error, 16)
      assert.strictEqual((await put(reply, 6, 'older')).error, 17)
      assert.strictEqual((await put(reply, 7, 'seven')).error, 0)
      forged.push(put(reply, 9, 'forged', pair(41)).catch((error) => error))
    }
    assert(count > 1)
    // Not answered; or, after some seconds, the token counts no more.
    for (const answer of await Promise.all(forged)) assert(answer.code === 'REQUEST_TIMEOUT' || answer.error === 2)
    assert.strictEqual((await b.mutableGet(owner.publicKey)).value.toString(), 'seven')
  })
  const topic = Buffer.alloc(32, 50)
  await call('announce and lookup', async () => {
    assert.deepStrictEqual(told(await all(b.lookup(topic))), [])
    for (const seed of [51, 52]) await a.announce(topic, pair(seed), [at(9)]).finished()
    const found = await all(b.lookup(topic))
    const keys = new Set(told(found))
    assert(keys.has(hex(pair(51).publicKey)) && keys.has(hex(pair(52).publicKey)))
    assert.deepStrictEqual(found[0].peers[0].relayAddresses, [at(9)])
  })
  await call('lookupAndUnannounce', async () => {
    const keys = new Set(told(await all(a.lookupAndUnannounce(topic, pair(51)))))
    assert(keys.has(hex(pair(52).publicKey)))
    const left = new Set(told(await all(b.lookup(topic))))
    assert(!left.has(hex(pair(51).publicKey)) && left.has(hex(pair(52).publicKey)))
  })
  await call('unannounce', async () => {
    await a.unannounce(topic, pair(52))
    assert.deepStrictEqual(told(await all(b.lookup(topic))), [])
  })
  const server = a.createServer((socket) => {
    socket.on('error', () => {})
    socket.pipe(socket)
  })
  await call('createServer and listen', async () => {
    await server.listen(pair(60))
    assert(server.address().publicKey.equals(pair(60).publicKey))
    await server.refresh()
  })
  await call('findPeer', async () => {
    assert(told(await all(b.findPeer(pair(60).publicKey))).includes(hex(pair(60).publicKey)))
    assert.deepStrictEqual(await all(b.findPeer(pair(61).publicKey)), [])
  })
  await call('connect', async () => {
    assert.strictEqual(await echo(b.connect(pair(60).publicKey)), 'hello')
    const nodes = b.toArray()
    assert.strictEqual(await echo(b.connect(pair(60).publicKey, { nodes, keyPair: pair(62) })), 'hello')
    await assert.rejects(echo(b.connect(pair(63).publicKey)), { code: 'PEER_NOT_FOUND' })
  })
  await call('pool', async () => {
    const pool = b.pool()
    const socket = b.connect(pair(60).publicKey, { pool })
    assert.strictEqual(await echo(socket), 'hello')
  })
  await call('suspend and resume', async () => {
    await b.suspend()
    await b.resume()
    assert.strictEqual(await echo(b.connect(pair(60).publicKey)), 'hello')
  })
  await call('close', async () => {
    await server.close()
    assert.deepStrictEqual(await all(b.findPeer(pair(60).publicKey)), [])
  })
  await call('destroy', async () => {
    await a.destroy()
    await b.destroy({ force: true })
  })
  return { done }
}

const commands = {
  // The first node of a network and more, or nodes that join one.
  async nodes ({ count, first, bootstrap }) {
    if (first) {
      const node = HyperDHT.bootstrapper(first, '127.0.0.1')
      await node.ready()
      nodes.push(node)
      bootstrap = first
    }
    for (let n = first ? 1 : 0; n < count; n++) await lasting(bootstrap)
    return { count: nodes.length }
  },
  async kill ({ count }) {
    for (const node of nodes.splice(nodes.length - count)) await node.destroy({ force: true })
    return { count: nodes.length }
  },
  every: ({ bootstrap }) => every(bootstrap),
  async put ({ bootstrap, from, count, topic }) {
    const node = open(bootstrap)
    for (let n = from; n < from + count; n++) {
      await node.immutablePut(Buffer.from('value ' + n))
      await node.mutablePut(pair(n), Buffer.from('mutable ' + n), { seq: n })
    }
    await node.announce(bytes(topic), pair(from), []).finished()
    await node.destroy({ force: true })
    return { done: true }
  },
  // What is not there, or wrong.
  async get ({ bootstrap, count, topic }) {
    const node = open(bootstrap)
    const missing = []
    for (let n = 0; n < count; n++) {
      const value = Buffer.from('value ' + n)
      const found = await node.immutableGet(HyperDHT.hash(value))
      if (!found || !found.value.equals(value)) missing.push('value ' + n)
      const newest = await node.mutableGet(pair(n).publicKey)
      if (!newest || newest.seq !== n || newest.value.toString() !== 'mutable ' + n) missing.push('mutable ' + n)
    }
    const keys = [...new Set(told(await all(node.lookup(bytes(topic)))))]
    await node.destroy({ force: true })
    return { missing, keys }
  }
}

serve(async (message) => {
  try {
    return await commands[message.do](message)
  } catch (error) {
    return { error: error.stack }
  }
})
