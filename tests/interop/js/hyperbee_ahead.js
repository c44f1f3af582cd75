'use strict'
// A hyperbee with its core extension, exchanged over TCP on loopback, inside a secret stream.
const fs = require('fs')
const net = require('net')
const os = require('os')
const path = require('path')
const SecretStream = require('@hyperswarm/secret-stream')
const Hypercore = require('hypercore')
const Hyperbee = require('hyperbee')
const { serve } = require('./common.js')

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'seckel-hyperbee-ahead-'))
// Nobody waits longer for an answer.
setTimeout(() => process.exit(1), 90000).unref()
process.on('exit', () => fs.rmSync(folder, { recursive: true, force: true }))

let core = null
let bee = null
// What came by the extension: gets and iterators asked of us, blocks that were named to us.
const heard = { gets: 0, iterators: 0, hints: 0 }

const steps = {
  async open ({ key }) {
    core = new Hypercore(folder, key ? Buffer.from(key, 'hex') : null)
    bee = new Hyperbee(core, { keyEncoding: 'utf-8', valueEncoding: 'utf-8' })
    await bee.ready()
    for (const [name, count] of [
      ['onget', () => heard.gets++],
      ['oniterator', () => heard.iterators++],
      ['oncache', (message) => { heard.hints += message.blocks.length }]
    ]) {
      const method = bee.extension[name]
      bee.extension[name] = function (message, from) {
        count(message)
        return method.call(this, message, from)
      }
    }
    const server = net.createServer((socket) => {
      const stream = new SecretStream(false, socket)
      stream.on('error', () => {})
      core.replicate(stream)
    })
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
    return { key: core.key.toString('hex'), port: server.address().port }
  },
  // Keys 00000, 00001, ... in an order of their own.
  async fill ({ count, step }) {
    const batch = bee.batch()
    for (let i = 0; i < count; i++) await batch.put(String((i * step) % count).padStart(5, '0'), 'value ' + i)
    await batch.flush()
    return { length: core.length }
  },
  async length ({ length }) {
    // By events: an update without peers ends at once, and a loop of those leaves no turn for anything else.
    while (core.length < length) await new Promise((resolve) => core.once('append', resolve))
    return { length: core.length }
  },
  async get ({ key }) {
    const entry = await bee.get(key)
    return { entry: entry && [entry.seq, entry.key, entry.value], heard }
  },
  async range (range) {
    const entries = []
    for await (const entry of bee.createReadStream(range)) entries.push([entry.seq, entry.key, entry.value])
    return { entries, heard }
  },
  heard () {
    return heard
  }
}

serve((todo) => {
  const [name] = Object.keys(todo)
  return steps[name](todo[name])
})
