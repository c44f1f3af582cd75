'use strict'
// A small network of hyperdht nodes and swarms on it, driven line by line. Each connection carries protomux-rpc with
// the topic as its id and a method `echo`; each side calls the other once.
const createTestnet = require('hyperdht/testnet')
const Hyperswarm = require('hyperswarm')
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
  swarm({ name, seed, topic }) {
    const id = Buffer.from(topic, 'hex')
    const swarm = new Hyperswarm({ seed: Buffer.alloc(32, seed), dht: testnet.createNode() })
    const state = { swarm, open: 0, opened: 0, echoes: 0, calls: 0, flushed: 0 }
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
    const { open, opened, echoes, calls, flushed } = swarms.get(name)
    return { open, opened, echoes, calls, flushed }
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
