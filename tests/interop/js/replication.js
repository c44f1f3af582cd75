'use strict'
// A hypercore that is exchanged over TCP on loopback, inside a secret stream.
const fs = require('fs')
const net = require('net')
const os = require('os')
const path = require('path')
const SecretStream = require('@hyperswarm/secret-stream')
const crypto = require('hypercore-crypto')
const { serve } = require('./common.js')

const hex = (buffer) => Buffer.from(buffer).toString('hex')
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'seckel-replication-'))
// Nobody waits longer for an answer.
setTimeout(() => process.exit(1), 90000).unref()
process.on('exit', () => fs.rmSync(folder, { recursive: true, force: true }))

let core = null
let server = null
const extensions = new Map()
const errors = []
const conflicts = []
const heard = []
const made = (n, size) => Buffer.from(`block ${n} `.padEnd(size || 7 + (n % 40), '.'))

const steps = {
  async open ({ key, seed, compat, version, v10, initiator }) {
    const Hypercore = v10 ? require('hypercore-v10') : require('hypercore')
    const opts = compat === undefined ? {} : { compat }
    if (seed) {
      opts.keyPair = crypto.keyPair(Buffer.from(seed, 'hex'))
      if (version !== undefined) {
        opts.manifest = { version, signers: [{ publicKey: opts.keyPair.publicKey }] }
      }
    }
    core = key ? new Hypercore(folder, Buffer.from(key, 'hex'), opts) : new Hypercore(folder, opts)
    core.on('verification-error', (err) => errors.push(err.message))
    core.on('conflict', (length, fork) => conflicts.push({ length, fork }))
    await core.ready()
    server = net.createServer((socket) => {
      const stream = new SecretStream(!!initiator, socket)
      stream.on('error', (err) => errors.push(err.message))
      core.replicate(stream)
    })
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
    return { key: hex(core.key), port: server.address().port }
  },
  async append ({ from, count, size, other }) {
    const blocks = []
    for (let i = 0; i < count; i++) blocks.push(other ? Buffer.from(`other ${i}`) : made(from + i, size))
    await core.append(blocks)
    return { length: core.length }
  },
  async truncate ({ length }) {
    await core.truncate(length)
    return { length: core.length, fork: core.fork }
  },
  async update ({ length }) {
    if (core.length < length) {
      await new Promise((resolve) => core.on('append', () => core.length >= length && resolve()))
    }
    return { length: core.length, fork: core.fork }
  },
  async fork ({ fork, length }) {
    if (core.fork < fork || core.length < length) {
      await new Promise((resolve) => {
        const look = () => core.fork >= fork && core.length >= length && resolve()
        core.on('append', look)
        core.on('truncate', look)
      })
    }
    return { length: core.length, fork: core.fork }
  },
  // Gets every block and compares it with what was appended.
  async check ({ from, count, size }) {
    const range = core.download({ start: from, end: from + count })
    await range.done()
    for (let i = from; i < from + count; i++) {
      const block = await core.get(i)
      if (!block.equals(made(i, size))) return { wrong: i }
    }
    return { ok: count }
  },
  async get ({ index }) {
    return { block: hex(await core.get(index, { timeout: 10000 })) }
  },
  async seek ({ bytes }) {
    return { at: await core.seek(bytes, { timeout: 10000 }) }
  },
  async conflict () {
    while (conflicts.length === 0) await new Promise((resolve) => setTimeout(resolve, 20))
    return conflicts[0]
  },
  // Messages by name: what comes is kept, and answered with the same and a mark.
  extend ({ name, answer }) {
    const extension = core.registerExtension(name, {
      encoding: 'binary',
      onmessage (message, peer) {
        heard.push({ name, message: hex(message) })
        if (answer) extension.send(Buffer.concat([message, Buffer.from('!')]), peer)
      }
    })
    extensions.set(name, extension)
    return {}
  },
  tell ({ name, message }) {
    extensions.get(name).broadcast(Buffer.from(message))
    return {}
  },
  async heard ({ count }) {
    while (heard.length < count) await new Promise((resolve) => setTimeout(resolve, 20))
    return heard
  },
  // A range without an end, which follows the core.
  live ({ start }) {
    core.download({ start, end: -1 })
    return {}
  },
  async has ({ start, end }) {
    while (!(await core.has(start, end))) await new Promise((resolve) => setTimeout(resolve, 20))
    return {}
  },
  async missing ({ index }) {
    try {
      await core.get(index, { timeout: 300 })
      return { code: null }
    } catch (err) {
      return { code: err.code }
    }
  },
  async connect ({ port }) {
    const socket = net.connect(port, '127.0.0.1')
    const stream = new SecretStream(true, socket)
    stream.on('error', (err) => errors.push(err.message))
    core.replicate(stream)
    return {}
  },
  push ({ allow }) {
    core.replicator.setAllowPush(allow)
    return {}
  },
  async pushed ({ index }) {
    await core.replicator.push(index)
    return {}
  },
  async clear ({ start, end }) {
    await core.clear(start, end)
    return {}
  },
  state () {
    return {
      length: core.length,
      contiguous: core.contiguousLength,
      manifest: !!core.manifest,
      peers: core.peers.map((p) => ({ length: p.remoteLength, contiguous: p.remoteContiguousLength, paused: !!p.paused })),
      errors
    }
  }
}

serve((todo) => {
  const [name] = Object.keys(todo)
  return steps[name](todo[name])
})
