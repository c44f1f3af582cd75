'use strict'
// A small network of hyperdht nodes and swarms on it, driven line by line. Each connection carries protomux-rpc with
// the topic as its id and a method `echo`; each side calls the other once.
const createTestnet = require('hyperdht/testnet')
const DHT = require('hyperdht')
const Hyperswarm = require('hyperswarm')
const PeerInfo = require('hyperswarm/lib/peer-info')
const PeerDiscovery = require('hyperswarm/lib/peer-discovery')
const fs = require('fs')
const ProtomuxRPC = require('protomux-rpc')
const { serve } = require('./common')

let testnet
const swarms = new Map()

const hex = (bytes) => Buffer.from(bytes).toString('hex')

const commands = {
  async net() {
    testnet = await createTestnet(3)
    return { port: testnet.bootstrap[0].port }
  },
  // Swarms of this process are in the network of another.
  elsewhere({ port }) {
    const bootstrap = [{ host: '127.0.0.1', port }]
    testnet = { createNode: () => new DHT({ bootstrap, host: '127.0.0.1' }) }
    return {}
  },
  swarm({ name, seed, topic }) {
    const id = Buffer.from(topic, 'hex')
    const refused = new Set()
    const firewall = (key) => refused.has(hex(key))
    const swarm = new Hyperswarm({ seed: Buffer.alloc(32, seed), dht: testnet.createNode(), firewall })
    const state = { swarm, refused, open: 0, opened: 0, echoes: 0, calls: 0, flushed: 0, bans: 0, idle: 0 }
    swarm.on('ban', () => state.bans++)
    swarm.on('connection', (conn) => {
      state.open++
      state.opened++
      conn.on('error', () => {})
      conn.on('close', () => state.open--)
      const rpc = new ProtomuxRPC(conn, { id })
      rpc.respond('echo', (value) => {
        state.calls++
        return value
      })
      rpc.request('echo', Buffer.from('from node')).then(
        (value) => {
          if (value.toString() === 'from node') state.echoes++
        },
        () => {}
      )
    })
    swarms.set(name, state)
    return { key: hex(swarm.keyPair.publicKey) }
  },
  join({ name, topic, server, client }) {
    const { swarm } = swarms.get(name)
    const session = swarm.join(Buffer.from(topic, 'hex'), { server, client })
    session.flushed().then(() => swarms.get(name).flushed++)
    return {}
  },
  state({ name }) {
    const { open, opened, echoes, calls, flushed, bans, idle } = swarms.get(name)
    return { open, opened, echoes, calls, flushed, bans, idle }
  },
  // Refuses a key from now on, or takes that back; what is banned is forgotten then.
  refuse({ name, key, on }) {
    const { swarm, refused } = swarms.get(name)
    if (on) refused.add(key)
    else refused.delete(key)
    const info = swarm.peers.get(key)
    if (info && !on) info.ban(false)
    return {}
  },
  joinPeer({ name, key }) {
    swarms.get(name).swarm.joinPeer(Buffer.from(key, 'hex'))
    return {}
  },
  leavePeer({ name, key }) {
    swarms.get(name).swarm.leavePeer(Buffer.from(key, 'hex'))
    return {}
  },
  async leave({ name, topic }) {
    await swarms.get(name).swarm.leave(Buffer.from(topic, 'hex'))
    return {}
  },
  // Closes all connections of a swarm.
  cut({ name }) {
    for (const conn of swarms.get(name).swarm.connections) conn.destroy()
    return {}
  },
  suspend({ name }) {
    const state = swarms.get(name)
    state.swarm.suspend().then(() => state.idle++)
    return {}
  },
  resume({ name }) {
    swarms.get(name).swarm.resume()
    return {}
  },
  // What the package offers: names of methods, properties, options and events.
  interface() {
    const swarm = new Hyperswarm({ dht: testnet.createNode() })
    const discovery = new PeerDiscovery(swarm, Buffer.alloc(32), {})
    const session = discovery.session({ server: false, client: true, onerror() {} })
    const names = (object) => {
      const own = Object.getOwnPropertyNames(object)
      const inherited = Object.getOwnPropertyNames(Object.getPrototypeOf(object))
      return [...own, ...inherited].filter((name) => !/^_|^constructor$|domain|on$/.test(name))
    }
    const code = fs.readFileSync(require.resolve('hyperswarm'), 'utf8')
    const make = code.slice(code.indexOf('constructor(opts'), code.indexOf('_maybeRelayConnection(force)'))
    const taken = make.slice(make.indexOf('const {'), make.indexOf('} = opts'))
    const options = [...make.matchAll(/opts\.(\w+)/g), ...taken.matchAll(/^\s+(\w+)/gm)].map((match) => match[1])
    const emitted = [...code.matchAll(/emit\('(\w+)'/g)].map((match) => match[1])
    return {
      swarm: names(swarm),
      options: options.filter((name) => name !== 'const'),
      events: emitted,
      peer: names(new PeerInfo({ publicKey: Buffer.alloc(32), relayAddresses: [] })),
      session: names(session)
    }
  },
  async lookup({ topic }) {
    const found = new Set()
    for await (const { peers } of testnet.nodes[2].lookup(Buffer.from(topic, 'hex'))) {
      for (const peer of peers) found.add(hex(peer.publicKey))
    }
    return { found: [...found] }
  },
  async destroy({ name }) {
    await swarms.get(name).swarm.destroy()
    return {}
  }
}

serve((command) => commands[command.do](command))
