'use strict'
// Two nodes on the npm packages over a small private DHT: values, topics, calls, a replicated tree, and a plain
// connection with a message beside it. Nothing here is to be seen; it is captured (make.sh).
const fs = require('fs')
const os = require('os')
const path = require('path')
const DHT = require('hyperdht')
const createTestnet = require('hyperdht/testnet')
const Hyperswarm = require('hyperswarm')
const Corestore = require('corestore')
const Hyperbee = require('hyperbee')
const RPC = require('@hyperswarm/rpc')
const c = require('compact-encoding')

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'captured-'))
const strings = { requestEncoding: c.string, responseEncoding: c.string }
const once = (emitter, event) => new Promise((resolve) => emitter.once(event, resolve))

async function values (here, there) {
  const pair = DHT.keyPair(Buffer.alloc(32, 9))
  await here.mutablePut(pair, Buffer.from('a mutable value'))
  await there.mutableGet(pair.publicKey)
  const { hash } = await here.immutablePut(Buffer.from('an immutable value'))
  await there.immutableGet(hash)
}

async function topics (here, there) {
  const topic = Buffer.alloc(32, 7)
  const pair = DHT.keyPair(Buffer.alloc(32, 8))
  await here.announce(topic, pair).finished()
  for await (const found of there.lookup(topic)) void found
  await here.unannounce(topic, pair)
}

async function calls (here, there) {
  const rpc = new RPC({ dht: here, keyPair: DHT.keyPair(Buffer.alloc(32, 1)) })
  const server = rpc.createServer()
  server.respond('echo', strings, (text) => text + '!')
  server.respond('fail', strings, () => { throw new Error('it cannot be') })
  server.respond('register', strings, (name) => name === 'alice' ? 'OK' : 'ERR:Username already taken')
  await server.listen()
  const client = new RPC({ dht: there }).connect(server.publicKey)
  await client.request('echo', 'hello over the wire', strings)
  await client.request('fail', 'now', strings).catch(() => {})
  await client.request('register', 'alice', strings)
  client.event('note', 'nobody answers', strings)
  await client.request('echo', 'once more', strings)
  await client.end()
  await server.close()
}

async function tree (here, there) {
  const store = new Corestore(path.join(folder, 'a'))
  const bee = new Hyperbee(store.get({ name: 'tree' }), { keyEncoding: 'utf-8', valueEncoding: 'utf-8' })
  await bee.ready()
  for (let n = 0; n < 12; n++) await bee.put(`key ${n}`, `value ${n}`)
  const copy = new Corestore(path.join(folder, 'b'))
  const core = copy.get({ key: bee.core.key })
  await core.ready()
  const swarms = [here, there].map((dht, n) => new Hyperswarm({ dht, keyPair: DHT.keyPair(Buffer.alloc(32, 20 + n)) }))
  swarms[0].on('connection', (conn) => store.replicate(conn))
  swarms[1].on('connection', (conn) => copy.replicate(conn))
  await swarms[0].join(core.discoveryKey, { server: true, client: false }).flushed()
  swarms[1].join(core.discoveryKey, { server: false, client: true })
  while (core.length < 13) await once(core, 'append')
  for (let n = 0; n < core.length; n++) await core.get(n)
  await bee.del('key 3')
  while (core.length < 14) await once(core, 'append')
  await core.get(13)
  await swarms[1].clear()
}

async function plain (here, there) {
  const server = here.createServer((conn) => {
    conn.on('data', (data) => conn.end(data))
    conn.on('error', () => {})
  })
  await server.listen(DHT.keyPair(Buffer.alloc(32, 30)))
  const conn = there.connect(server.publicKey)
  await once(conn, 'open')
  await conn.send(Buffer.from('beside the stream'))
  conn.write(Buffer.alloc(3000, 'x'))
  await once(conn, 'data')
  conn.end()
  await once(conn, 'close')
  await server.close()
}

async function main () {
  const testnet = await createTestnet(3, { host: '127.0.0.1' })
  const [here, there] = [testnet.createNode(), testnet.createNode()]
  await Promise.all([here.fullyBootstrapped(), there.fullyBootstrapped()])
  for (const part of [values, topics, calls, tree, plain]) await part(here, there)
  fs.rmSync(folder, { recursive: true, force: true })
  process.exit()
}

main().catch((error) => {
  console.error(error)
  process.exit(1)
})
