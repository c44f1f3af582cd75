'use strict'
// Nodes, servers and clients of hyperdht, driven line by line.
const HyperDHT = require('hyperdht')
const { createHash } = require('crypto')
const Relay = require('blind-relay')
const Holepuncher = require('hyperdht/lib/holepuncher')
const { serve } = require('./common')

const HyperDHTAddress = require('hyperdht-address')
const Plugin = require('hyperdht/lib/plugin')

const nodes = []
const held = new Set()
const servers = new Map()
const clients = new Map()

const at = (port) => ({ host: '127.0.0.1', port })

// A client or server of default options, but for the bootstrap; `open`: reachable, bound to loopback.
function make (message) {
  const options = { bootstrap: [at(message.bootstrap)] }
  if (message.open) Object.assign(options, { host: '127.0.0.1', firewalled: false })
  if (message.options) Object.assign(options, message.options)
  return new HyperDHT(options)
}

function client (message) {
  const name = message.name || 'client'
  if (!clients.has(name)) clients.set(name, make(message))
  return clients.get(name)
}

class Echo extends Plugin {
  onrequest (request, outer) { outer.reply(request.value) }
  onpersistent () {}
  destroy () {}
}

const pools = new Map()
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

// Options of a connection under a key pair of its own.
function as (message) {
  if (!message.as) return message.connect
  return { ...message.connect, keyPair: HyperDHT.keyPair(Buffer.alloc(32, message.as)) }
}

// Says hello, waits for the echo, and goes on.
function greet (socket) {
  return new Promise((resolve) => {
    socket.setKeepAlive(5000)
    socket.on('error', (error) => resolve({ error: error.code || error.message }))
    socket.once('data', (data) => resolve({ data: data.toString(), initiator: socket.isInitiator }))
    socket.write(Buffer.from('hello'))
  })
}

// Says hello and waits for the echo.
function hello (socket) {
  return new Promise((resolve) => {
    const start = Date.now()
    socket.setKeepAlive(5000)
    socket.on('error', (error) => resolve({ error: error.code || error.message }))
    socket.on('data', (data) => {
      socket.end()
      resolve({ data: data.toString(), key: socket.remotePublicKey.toString('hex'), ms: Date.now() - start })
    })
    socket.write(Buffer.from('hello'))
  })
}

async function all (query) {
  const found = []
  for await (const data of query) {
    for (const peer of data.peers || [data.peer]) {
      found.push({ key: peer.publicKey.toString('hex'), relays: peer.relayAddresses, from: data.from.port })
    }
  }
  return found
}

// Options of servers and clients as JSON has them: keys in hex, `noPunch` for a veto.
function options (given = {}) {
  const made = { ...given }
  if (given.relayThrough) made.relayThrough = Buffer.from(given.relayThrough, 'hex')
  if (given.noPunch) made.holepunch = () => false
  if (given.denied) made.firewall = (key) => key.toString('hex') === given.denied
  return made
}

// Where packets of a connection go.
const remote = (socket) => `${socket.rawStream.remoteHost}:${socket.rawStream.remotePort}`

// Sends `count` numbered pieces, one every ten milliseconds, and waits for all of them to come back.
function converse (socket, count) {
  return new Promise((resolve) => {
    const sent = createHash('sha256')
    const came = createHash('sha256')
    const size = 1000
    let first = null
    let bytes = 0
    socket.setKeepAlive(5000)
    socket.on('error', (error) => resolve({ error: error.code || error.message, bytes }))
    socket.on('open', () => { first = remote(socket) })
    socket.on('data', (data) => {
      came.update(data)
      bytes += data.length
      if (bytes < count * size) return
      const moved = first !== remote(socket)
      socket.destroy()
      resolve({ bytes, moved, whole: sent.digest('hex') === came.digest('hex') })
    })
    let n = 0
    const timer = setInterval(() => {
      if (n === count || socket.destroyed) return clearInterval(timer)
      const piece = Buffer.alloc(size, n++ & 255)
      sent.update(piece)
      socket.write(piece)
    }, 10)
  })
}

const commands = {
  // A blind relay.
  async relay (message) {
    const node = make(message)
    const relay = new Relay.Server({ createStream: (opts) => node.createRawStream({ ...opts, framed: true }) })
    const server = node.createServer((socket) => {
      socket.on('error', () => {})
      relay.accept(socket, { id: socket.remotePublicKey }).on('error', () => {})
    })
    await server.listen(HyperDHT.keyPair(Buffer.alloc(32, message.seed)))
    servers.set(message.seed, { node, server, relay })
    return { key: server.publicKey.toString('hex') }
  },
  async relayed ({ seed }) {
    return servers.get(seed).relay.stats
  },
  // Punches begin so much later, so that a relay comes first.
  async slow ({ ms }) {
    const punch = Holepuncher.prototype.punch
    Holepuncher.prototype.punch = async function () {
      await new Promise((resolve) => setTimeout(resolve, ms))
      return punch.call(this)
    }
    return { done: true }
  },
  async converse (message) {
    const key = Buffer.from(message.key, 'hex')
    return converse(client(message).connect(key, options(message.connect)), message.count)
  },
  // `count` nodes that store and relay; the first one is the bootstrap, at `port`, unless one is named.
  async dht ({ count, bootstrap, port }) {
    for (let n = 0; n < count; n++) {
      let node
      if (!bootstrap) {
        node = HyperDHT.bootstrapper(port, '127.0.0.1')
        await node.fullyBootstrapped()
        bootstrap = node.address().port
      } else {
        node = new HyperDHT({ bootstrap: [at(bootstrap)], ephemeral: false, firewalled: false, host: '127.0.0.1' })
        await node.fullyBootstrapped()
      }
      nodes.push(node)
    }
    return { bootstrap }
  },
  async listen (message) {
    const node = make(message)
    const server = node.createServer(options(message.server), (socket) => {
      socket.on('error', () => {})
      socket.on('data', (data) => socket.write(data))
      socket.on('end', () => socket.end())
    })
    await server.listen(HyperDHT.keyPair(Buffer.alloc(32, message.seed)))
    servers.set(message.seed, { node, server })
    return { key: server.publicKey.toString('hex'), relays: server.relayAddresses.length }
  },
  async unlisten ({ seed }) {
    const { node, server } = servers.get(seed)
    await server.close()
    await node.destroy()
    return { done: true }
  },
  async connect (message) {
    return hello(client(message).connect(Buffer.from(message.key, 'hex'), as(message)))
  },
  // The same, and the connection stays open.
  async hold (message) {
    const node = client(message)
    const socket = node.connect(Buffer.from(message.key, 'hex'), as(message))
    held.add(socket)
    socket.on('close', () => held.delete(socket))
    const said = await greet(socket)
    return { ...said, sockets: node.stats.socketPool.socketsAdded }
  },
  // How many of those are open after a moment.
  async released () {
    for (let n = 0; n < 40 && held.size > 0; n++) await sleep(50)
    return { open: held.size }
  },
  // The nodes of the network answer what this plugin is asked with what they were told; the port of one of them.
  async plugin ({ name, version }) {
    for (const node of nodes) node.register(name, new Echo(name, version))
    return { asked: nodes[nodes.length - 1].address().port }
  },
  async 'plugin ask' (message) {
    const plugin = new Echo(message.name, message.version)
    client(message).register(message.name, plugin)
    const request = { command: message.command, value: Buffer.from(message.value) }
    const reply = await plugin.request(request, at(message.to), { retry: false })
    return { value: reply.value && reply.value.toString(), error: reply.error }
  },
  // A raw stream beside a connection: what is written comes back, then it ends.
  async raw (message) {
    const node = client(message)
    const socket = node.connect(Buffer.from(message.key, 'hex'))
    const raw = node.createRawStream()
    return new Promise((resolve) => {
      const fail = (error) => resolve({ error: error.code || error.message })
      const [sent, came] = [createHash('sha256'), createHash('sha256')]
      const said = { bytes: 0, message: null, ended: false }
      socket.on('error', fail)
      raw.on('error', fail)
      socket.on('open', () => socket.write(Buffer.from('raw ' + raw.id)))
      socket.once('data', (id) => {
        HyperDHT.connectRawStream(socket, raw, Number(id.toString()))
        for (let n = 0; n < message.count; n++) {
          const piece = Buffer.alloc(1000, n & 255)
          sent.update(piece)
          raw.write(piece)
        }
      })
      raw.on('message', (text) => {
        said.message = text.toString()
        raw.end()
      })
      raw.on('data', (data) => {
        came.update(data)
        said.bytes += data.length
        if (said.bytes === message.count * 1000) raw.send(Buffer.from('beside'))
      })
      raw.on('end', () => { said.ended = true })
      raw.on('close', () => {
        socket.destroy()
        const { bytes, message, ended } = said
        resolve({ bytes, whole: sent.digest('hex') === came.digest('hex'), message, ended })
      })
    })
  },
  async blob ({ key, nodes }) {
    return { blob: HyperDHTAddress.encode(Buffer.from(key, 'hex'), nodes).toString('hex') }
  },
  async suspend ({ seed }) {
    await servers.get(seed).node.suspend()
    return { done: true }
  },
  async resume ({ seed }) {
    await servers.get(seed).node.resume()
    return { done: true }
  },
  // A server in a pool.
  async pool (message) {
    const node = make(message)
    const pool = node.pool()
    const pair = HyperDHT.keyPair(Buffer.alloc(32, message.seed))
    const server = node.createServer({ pool }, (socket) => {
      socket.on('error', () => {})
      socket.on('data', () => {})
    })
    pool.on('connection', (socket) => socket.on('error', () => {}))
    await server.listen(pair)
    pools.set(message.seed, { node, pool, pair })
    return { key: server.publicKey.toString('hex') }
  },
  async 'pool connect' ({ seed, key, ms }) {
    const { node, pool, pair } = pools.get(seed)
    node.connect(Buffer.from(key, 'hex'), { pool, keyPair: pair }).on('error', () => {})
    await sleep(ms)
    return { count: [...pool.connections].length }
  },
  async 'pool greet' ({ seed, key }) {
    const { pool } = pools.get(seed)
    const socket = pool.get(Buffer.from(key, 'hex'))
    return socket ? greet(socket) : { error: 'no connection' }
  },
  async bump (message) {
    let bump = 0
    for await (const data of client(message).lookup(Buffer.from(message.topic, 'hex'))) bump = Math.max(bump, data.bump)
    return { bump }
  },
  // Several at once.
  async connects (message) {
    const each = () => hello(client(message).connect(Buffer.from(message.key, 'hex')))
    return { all: await Promise.all(Array.from({ length: message.count }, each)) }
  },
  async find (message) {
    return { peers: await all(client(message).findPeer(Buffer.from(message.key, 'hex'))) }
  },
  async lookup (message) {
    return { peers: await all(client(message).lookup(Buffer.from(message.topic, 'hex'))) }
  },
  async announce (message) {
    const pair = HyperDHT.keyPair(Buffer.alloc(32, message.seed))
    const query = client(message).announce(Buffer.from(message.topic, 'hex'), pair, message.relays || [])
    await query.finished()
    return { closest: query.closestNodes.length }
  },
  async unannounce (message) {
    const pair = HyperDHT.keyPair(Buffer.alloc(32, message.seed))
    await client(message).unannounce(Buffer.from(message.topic, 'hex'), pair)
    return { done: true }
  },
  async mutable (message) {
    const node = client(message)
    const pair = HyperDHT.keyPair(Buffer.alloc(32, message.seed))
    await node.mutablePut(pair, Buffer.from('first'), { seq: 1 })
    await node.mutablePut(pair, Buffer.from('second'), { seq: 2 })
    const { hash } = await node.immutablePut(Buffer.from('for ever'))
    const mutable = await node.mutableGet(pair.publicKey)
    const immutable = await node.immutableGet(hash)
    return {
      mutable: mutable && mutable.value.toString(),
      seq: mutable && mutable.seq,
      immutable: immutable && immutable.value.toString()
    }
  }
}

serve(async (message) => {
  try {
    return await commands[message.do](message)
  } catch (error) {
    return { error: error.code || error.stack }
  }
})
