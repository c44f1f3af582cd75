'use strict'
// A secret stream over a stream of udx-native on 127.0.0.1, driven line by line. Events wait until they are asked for.
const crypto = require('crypto')
const UDX = require('udx-native')
const SecretStream = require('@hyperswarm/secret-stream')
const { serve } = require('./common')

const udx = new UDX()
const socket = udx.createSocket()
socket.bind(0, '127.0.0.1')

const events = []
const waiting = []
const hasher = crypto.createHash('blake2b512')
let raw = null
let stream = null
let bytes = 0
let count = 0

function note (event) {
  const at = waiting.findIndex((wait) => wait.event === event.event)
  if (at >= 0) waiting.splice(at, 1)[0].resolve(event)
  else events.push(event)
}

function wait (event) {
  const at = events.findIndex((known) => known.event === event)
  if (at >= 0) return events.splice(at, 1)[0]
  return new Promise((resolve) => waiting.push({ event, resolve }))
}

function start ({ initiator, port, keepAlive }) {
  raw = udx.createStream(2)
  raw.connect(socket, 1, port, '127.0.0.1')
  stream = new SecretStream(initiator, raw, { keepAlive })
  stream.on('connect', () => note({ event: 'open', hash: stream.handshakeHash.toString('hex') }))
  stream.on('data', (data) => {
    bytes += data.length
    count++
    hasher.update(data)
  })
  stream.on('end', () => note({ event: 'end', bytes, count, sum: hasher.digest('hex') }))
  stream.on('message', (data) => note({ event: 'message', hex: data.toString('hex') }))
  stream.on('error', (error) => note({ event: 'error', code: error.code || error.message }))
  stream.on('close', () => note({ event: 'close' }))
}

// Messages of all sorts of lengths; answers with the hash of all.
async function pump (total) {
  const hash = crypto.createHash('blake2b512')
  for (let sent = 0, n = 0; sent < total; n++) {
    const message = Buffer.alloc(Math.min(total - sent, 1 + (n * 7919) % 65536), n)
    hash.update(message)
    sent += message.length
    if (!stream.write(message)) await new Promise((resolve) => stream.once('drain', resolve))
  }
  return { sum: hash.digest('hex') }
}

serve(async (ask) => {
  switch (ask.op) {
    case 'port': return { port: socket.address().port }
    case 'start': start(ask); return { ok: true }
    case 'wait': return wait(ask.event)
    case 'pump': return pump(ask.total)
    case 'end': stream.end(); return { ok: true }
    case 'destroy': stream.destroy(); return { ok: true }
    case 'timeout': stream.setTimeout(ask.after); return { ok: true }
    case 'unordered': stream.trySend(Buffer.from(ask.hex, 'hex')); return { ok: true }
    case 'stats': return { bytes, count, packetsReceived: raw.packetsReceived, timeout: stream.timeout }
  }
})
