'use strict'
// A small network of hyperdht nodes with @hyperswarm/rpc on it, driven line by line.
const createTestnet = require('hyperdht/testnet')
const RPC = require('@hyperswarm/rpc')
const { serve } = require('./common')

let testnet, rpc, server, client
const answers = []

const commands = {
  async net() {
    testnet = await createTestnet(3)
    rpc = new RPC({ dht: testnet.createNode(), seed: Buffer.alloc(32, 9) })
    return { port: testnet.bootstrap[0].port }
  },
  async listen() {
    server = rpc.createServer()
    server.respond('echo', (value) => value)
    server.respond('throws', () => {
      throw Object.assign(new Error('it broke'), { code: 'BROKEN' })
    })
    // asks back over the connection that asked
    server.respond('ask back', async (value, from) => from.request('echo', value))
    await server.listen()
    return { key: Buffer.from(server.publicKey).toString('hex') }
  },
  connect({ key }) {
    client = rpc.connect(Buffer.from(key, 'hex'))
    client.on('close', () => answers.push({ closed: true }))
    return {}
  },
  request({ method, value }) {
    client.request(method, Buffer.from(value, 'hex')).then(
      (value) => answers.push({ value: Buffer.from(value || []).toString('hex') }),
      (error) => answers.push({ code: error.code, cause: error.cause && error.cause.message })
    )
    return {}
  },
  answers: () => ({ answers: answers.splice(0) }),
  end() {
    client.end()
    return {}
  }
}

serve((command) => commands[command.do](command))
