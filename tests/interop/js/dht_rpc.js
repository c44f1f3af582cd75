'use strict'
// Nodes of the real dht-rpc, by number. Command 7 stores a value under a target (it wants a token), and returns it.
const DHT = require('dht-rpc')
const { serve } = require('./common')

const nodes = []
const STORE = 7
const CODES = 8 // answers with the error in its value

function open (dht) {
  const stored = new Map()
  const seen = []
  dht.on('request', (req) => {
    seen.push({
      command: req.command,
      port: req.from.port,
      id: req.from.id ? req.from.id.toString('hex') : null,
      token: !!req.token,
      value: req.value ? req.value.toString('hex') : null,
      to: req.to.port
    })
    if (req.command === CODES) return req.error(req.value[0])
    if (req.command !== STORE) return req.error(DHT.ERROR_UNKNOWN_COMMAND)
    const key = req.target.toString('hex')
    if (req.token) stored.set(key, req.value)
    req.reply(stored.get(key) || null)
  })
  nodes.push({ dht, stored, seen })
  return nodes.length - 1
}

function about (n) {
  const { dht, stored, seen } = nodes[n]
  const remote = dht.remoteAddress()
  return {
    n,
    server: dht.io.serverSocket.address().port,
    client: dht.io.clientSocket.address().port,
    ephemeral: dht.ephemeral,
    firewalled: dht.firewalled,
    id: dht.id ? dht.id.toString('hex') : null,
    remote: remote ? remote.port : null,
    nodes: dht.toArray().map((node) => node.port),
    stored: [...stored.keys()],
    seen
  }
}

const hex = (text) => text ? Buffer.from(text, 'hex') : null
const told = (m) => ({
  from: m.from.port,
  id: m.from.id ? m.from.id.toString('hex') : null,
  to: m.to.port,
  token: m.token ? m.token.toString('hex') : null,
  error: m.error,
  closer: (m.closerNodes || []).map((node) => node.port),
  value: m.value ? m.value.toString('hex') : null
})

const ops = {
  async bootstrapper ({ port }) {
    const dht = DHT.bootstrapper(port, '127.0.0.1', { host: '127.0.0.1' })
    const n = open(dht)
    await dht.fullyBootstrapped()
    return about(n)
  },
  async node ({ bootstrap, options }) {
    const dht = new DHT({ bootstrap: bootstrap.map((port) => ({ host: '127.0.0.1', port })), host: '127.0.0.1', ...options })
    const n = open(dht)
    await dht.fullyBootstrapped()
    return about(n)
  },
  about: ({ n }) => about(n),
  async query ({ n, target, command, value, commit, find }) {
    const { dht } = nodes[n]
    const key = hex(target)
    const query = find ? dht.findNode(key) : dht.query({ target: key, command, value: hex(value) }, { commit })
    const replies = []
    query.on('data', (m) => replies.push(told(m)))
    try {
      await query.finished()
    } catch (error) {
      return { error: error.message }
    }
    return { replies, closest: query.closestReplies.map(told) }
  },
  async request ({ n, port, command, target, token, value }) {
    try {
      const to = { host: '127.0.0.1', port }
      return told(await nodes[n].dht.request({ command, target: hex(target), token: hex(token), value: hex(value) }, to, { retry: false }))
    } catch (error) {
      return { lost: error.code }
    }
  },
  async ping ({ n, port, size }) {
    return told(await nodes[n].dht.ping({ host: '127.0.0.1', port }, { size }))
  },
  async delayed ({ n, port, ms }) {
    const begin = Date.now()
    const reply = told(await nodes[n].dht.delayedPing({ host: '127.0.0.1', port }, ms))
    return { ...reply, took: Date.now() - begin }
  },
  async destroy ({ n }) {
    await nodes[n].dht.destroy()
    return {}
  }
}

serve((message) => ops[message.op](message))
