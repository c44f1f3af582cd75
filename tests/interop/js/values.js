'use strict'
// A network of hyperdht, and a client of it that stores and finds values, driven line by line.
const HyperDHT = require('hyperdht')
const createTestnet = require('hyperdht/testnet')
const { serve } = require('./common')

let network = null
let client = null

const bytes = (hex) => Buffer.from(hex, 'hex')
const hex = (buffer) => (buffer ? Buffer.from(buffer).toString('hex') : null)

serve(async (message) => {
  switch (message.do) {
    case 'start': {
      network = await createTestnet(message.count)
      const bootstrap = message.bootstrap ? [{ host: '127.0.0.1', port: message.bootstrap }] : network.bootstrap
      client = new HyperDHT({ bootstrap })
      await client.fullyBootstrapped()
      return { port: network.bootstrap[0].port }
    }
    case 'put': {
      const { hash } = await client.immutablePut(bytes(message.value))
      return { hash: hex(hash) }
    }
    case 'get': {
      const found = await client.immutableGet(bytes(message.hash))
      return { value: hex(found && found.value) }
    }
    case 'put mutable': {
      const pair = HyperDHT.keyPair(bytes(message.seed))
      await client.mutablePut(pair, bytes(message.value), { seq: message.seq })
      return { key: hex(pair.publicKey) }
    }
    case 'get mutable': {
      const found = await client.mutableGet(bytes(message.key))
      return { value: hex(found && found.value), seq: found && found.seq }
    }
    case 'stop':
      await client.destroy({ force: true })
      await network.destroy()
      return { done: true }
  }
})
