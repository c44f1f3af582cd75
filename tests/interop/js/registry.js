'use strict'
// The registry on the real packages: a bootstrap node, a server, a client. `node registry.js ROLE [OPTIONS as JSON]`.
const fs = require('fs')
const os = require('os')
const path = require('path')
const DHT = require('hyperdht')
const Hyperswarm = require('hyperswarm')
const Corestore = require('corestore')
const Hyperbee = require('hyperbee')
const RPC = require('@hyperswarm/rpc')
const c = require('compact-encoding')
const b4a = require('b4a')
const { serve, say } = require('./common')

const HOST = '127.0.0.1'
const strings = { requestEncoding: c.string, responseEncoding: c.string }

function folder (options) {
  if (options.storage) return options.storage
  const made = fs.mkdtempSync(path.join(os.tmpdir(), 'seckel-registry-'))
  process.on('exit', () => fs.rmSync(made, { recursive: true, force: true }))
  return made
}

function openBee (core) {
  return new Hyperbee(core, { keyEncoding: 'utf-8', valueEncoding: 'binary' })
}

async function dht ({ nodes = 1 }) {
  const node = DHT.bootstrapper(await freePort(), HOST)
  await node.ready()
  const bootstrap = [{ host: HOST, port: node.address().port }]
  for (let i = 1; i < nodes; i++) {
    await new DHT({ bootstrap, host: HOST, ephemeral: false, firewalled: false }).fullyBootstrapped()
  }
  say({ bootstrap: `${HOST}:${node.address().port}` })
  serve(() => ({}))
}

function freePort () {
  return new Promise((resolve, reject) => {
    const socket = require('dgram').createSocket('udp4')
    socket.once('error', reject)
    socket.bind(0, HOST, () => {
      const { port } = socket.address()
      socket.close(() => resolve(port))
    })
  })
}

function bootstrapOf (options) {
  return options.bootstrap.split(',').map((text) => {
    const [host, port] = text.split(':')
    return { host, port: Number(port) }
  })
}

async function server (options) {
  const store = new Corestore(folder(options))
  const bee = openBee(store.get({ name: 'registry' }))
  await bee.ready()
  const keyPair = await store.createKeyPair('server')
  const dht = new DHT({ bootstrap: bootstrapOf(options), keyPair })
  const swarm = new Hyperswarm({ dht, keyPair: DHT.keyPair() })
  swarm.on('connection', (conn) => {
    conn.on('error', () => {})
    store.replicate(conn)
  })
  const rpc = new RPC({ dht, keyPair })
  const server = rpc.createServer()
  let last = Promise.resolve()
  const inTurn = (act) => (name, request) => {
    const run = last.then(() => act(name, request.stream.remotePublicKey))
    last = run.catch(() => {})
    return run
  }
  // What the bee holds, by a walk: its get may show a deleted entry.
  const find = async (name) => {
    for await (const node of bee.createReadStream({ gte: name, lte: name })) return node
    return null
  }
  server.respond('register', strings, inTurn(async (name, caller) => {
    const node = await find(name)
    if (node) return b4a.equals(node.value, caller) ? 'IDEMPOTENT' : 'ERR:Username already taken'
    await bee.put(name, caller)
    return 'OK'
  }))
  server.respond('delete', strings, inTurn(async (name, caller) => {
    const node = await find(name)
    if (!node) return 'ERR:Username not found'
    if (!b4a.equals(node.value, caller)) return 'ERR:Unauthorized: only the owner can delete this username'
    await bee.del(name)
    return 'OK'
  }))
  await server.listen(keyPair)
  swarm.join(bee.core.discoveryKey, { server: true, client: false })
  await swarm.flush()
  say({ server: server.publicKey.toString('hex'), core: bee.core.key.toString('hex') })
  serve(async ({ leave }) => {
    if (!leave) return {}
    await rpc.destroy()
    await swarm.destroy()
    await store.close()
    return {}
  })
}

async function client (options) {
  const store = new Corestore(folder(options))
  const core = store.get({ key: Buffer.from(options.core, 'hex') })
  const bee = openBee(core)
  await bee.ready()
  const keyPair = await store.createKeyPair('client')
  const dht = new DHT({ bootstrap: bootstrapOf(options), keyPair })
  const swarm = new Hyperswarm({ dht, keyPair: DHT.keyPair() })
  swarm.on('connection', (conn) => {
    conn.on('error', () => {})
    store.replicate(conn)
  })
  swarm.join(core.discoveryKey, { server: !!options.serve, client: true })
  if (options.serve) await swarm.flush()
  core.download({ start: 0, end: -1 })
  const rpc = new RPC({ dht, keyPair })
  const conn = options.server ? rpc.connect(Buffer.from(options.server, 'hex')) : null
  const me = keyPair.publicKey

  const find = async (name) => {
    for await (const node of bee.createReadStream({ gte: name, lte: name })) return node
    return null
  }
  // Until the replica shows it.
  const settle = async (name, present) => {
    for (;;) {
      const appended = new Promise((resolve) => core.once('append', resolve))
      if (core.length > 0) {
        const node = await find(name)
        if ((node !== null) === present) return
      }
      await appended
    }
  }
  const write = async (method, name) => {
    const answer = await conn.request(method, name, strings)
    if (answer.startsWith('ERR:')) return `Error: ${answer.slice(4)}`
    if (answer === 'IDEMPOTENT') return `Already registered by you: ${name}`
    await settle(name, method === 'register')
    return method === 'register' ? `Registered: ${name}` : `Deleted: ${name}`
  }
  const commands = {
    register: (name) => write('register', name),
    delete: (name) => write('delete', name),
    async lookup (name) {
      const node = await find(name)
      return node ? `${name} -> ${node.value.toString('hex')}` : 'Not found'
    },
    async list () {
      const lines = []
      for await (const node of bee.createReadStream()) lines.push(`${node.key}: ${node.value.toString('hex')}`)
      return lines.join('\n')
    },
    whoami: () => me.toString('hex'),
    // The replica holds every one of `length` blocks.
    async complete (length) {
      while (core.length < Number(length)) await new Promise((resolve) => core.once('append', resolve))
      for (let i = 0; i < core.length; i++) await core.get(i)
      return String(core.length)
    },
    length: () => String(core.length)
  }
  say({ ready: true })
  serve(async ({ line }) => {
    const [command, ...rest] = line.split(' ')
    return { text: await commands[command](rest.join(' ')) }
  })
}

const roles = { dht, server, client }
roles[process.argv[2]](JSON.parse(process.argv[3] || '{}')).catch((error) => {
  console.error(error)
  process.exit(1)
})
