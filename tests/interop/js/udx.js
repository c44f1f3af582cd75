'use strict'
// Streams of udx-native on sockets of 127.0.0.1, driven line by line. Events come as lines with `event`.
const crypto = require('crypto')
const UDX = require('udx-native')
const { serve } = require('./common')

const udx = new UDX()
const sockets = []

// The n-th socket, bound when it is first named.
function at (n = 0) {
  while (sockets.length <= n) {
    const socket = udx.createSocket()
    socket.bind(0, '127.0.0.1')
    sockets.push(socket)
  }
  return sockets[n]
}
at(0)

const streams = new Map()

const events = [] // what happened and nobody waited for
const waiting = []

function note (event) {
  const at = waiting.findIndex((wait) => wait.event === event.event && wait.id === event.id)
  if (at >= 0) waiting.splice(at, 1)[0].resolve(event)
  else events.push(event)
}

function wait ({ event, id }) {
  const at = events.findIndex((known) => known.event === event && known.id === id)
  if (at >= 0) return events.splice(at, 1)[0]
  return new Promise((resolve) => waiting.push({ event, id, resolve }))
}

// `expect` is the remote id of a stream that its first packet connects; `sum` hashes what comes.
function make ({ id, seq, hash, echo, quiet, expect, sum }) {
  const firewall = (socket, port, host) => {
    if (expect === undefined || s.connected) return false
    note({ event: 'firewall', id, port })
    s.connect(socket, expect, port, host)
    return false
  }
  const s = udx.createStream(id, { seq, firewall })
  let bytes = 0
  let right = true
  const hasher = sum ? crypto.createHash('blake2b512') : null
  streams.set(id, s)
  s.on('data', (data) => {
    if (hash && right) right = matches(data, bytes)
    bytes += data.length
    if (hasher) hasher.update(data)
    if (hash || sum) return
    if (echo) s.write(data)
    else if (!quiet) note({ event: 'data', id, hex: data.toString('hex') })
  })
  s.on('end', () => {
    note({ event: 'end', id, bytes, right, sum: hasher && hasher.digest('hex') })
    if (echo) s.end()
  })
  s.on('message', (data) => {
    if (echo) s.trySend(data)
    note({ event: 'message', id, hex: data.toString('hex') })
  })
  s.on('error', (err) => note({ event: 'error', id, code: err.code }))
  s.on('close', () => note({ event: 'close', id }))
  return s
}

// Deterministic bytes that the other side can make too: a counter as u32le.
function piece (from, len) {
  const words = new Uint32Array(len >> 2)
  for (let i = 0; i < words.length; i++) words[i] = from + i * 4
  return Buffer.from(words.buffer)
}

// Whether `data` is the piece that begins at `from`.
function matches (data, from) {
  const start = from & ~3
  const end = (from + data.length + 3) & ~3
  return piece(start, end - start).subarray(from - start, from - start + data.length).equals(data)
}

async function bulk (s, total) {
  for (let at = 0; at < total; at += 65536) {
    if (!s.write(piece(at, Math.min(65536, total - at)))) await new Promise((resolve) => s.once('drain', resolve))
  }
  s.end()
  return { written: total }
}

// Blocks of 64 KiB that begin with their number, `blocks` of them; answers with the hash of all.
async function pump (s, blocks, seed) {
  const hasher = crypto.createHash('blake2b512')
  const block = crypto.createHash('blake2b512').update(seed).digest()
  const filled = Buffer.alloc(65536)
  for (let at = 0; at < filled.length; at += block.length) block.copy(filled, at)
  for (let n = 0; n < blocks; n++) {
    const next = Buffer.from(filled)
    next.writeUInt32LE(n, 0)
    hasher.update(next)
    if (!s.write(next)) await new Promise((resolve) => s.once('drain', resolve))
  }
  s.end()
  return { sum: hasher.digest('hex') }
}

serve(async (ask) => {
  const s = streams.get(ask.id)
  switch (ask.op) {
    case 'wait': return wait({ event: ask.event, id: ask.id })
    case 'port': return { port: at(ask.socket).address().port }
    case 'stream': make(ask); return { ok: true }
    case 'connect': s.connect(at(ask.socket), ask.remote, ask.port, '127.0.0.1', { ack: ask.ack }); return { ok: true }
    case 'relay': s.relayTo(streams.get(ask.to)); return { ok: true }
    case 'keepalive': s.setKeepalive(ask.every); return { ok: true }
    case 'pump': return pump(s, ask.blocks, ask.seed)
    case 'write': s.write(Buffer.from(ask.hex, 'hex')); return { ok: true }
    case 'piece': s.write(piece(ask.from, ask.len)); return { ok: true }
    case 'flush': return { flushed: await s.flush() }
    case 'end': s.end(); return { ok: true }
    case 'destroy': s.destroy(); return { ok: true }
    case 'message': s.trySend(Buffer.from(ask.hex, 'hex')); return { ok: true }
    case 'pause': s.pause(); return { ok: true }
    case 'resume': s.resume(); return { ok: true }
    case 'bulk': return bulk(s, ask.total)
    case 'change': await s.changeRemote(at(ask.socket), ask.remote, ask.port, '127.0.0.1'); return { changed: true }
    case 'stats': {
      const { retransmits, rtoCount: rto, cwnd, rtt, mtu, packetsReceived, packetsTransmitted } = s
      return { retransmits, rto, cwnd, rtt, mtu, packetsReceived, packetsTransmitted }
    }
    case 'pingpong': {
      // rounds of `len` bytes against an echo; answers with the median in microseconds
      const times = []
      const bytes = Buffer.alloc(ask.len, 1)
      for (let n = 0; n < ask.rounds; n++) {
        const began = process.hrtime.bigint()
        let got = 0
        const done = new Promise((resolve) => {
          const on = (data) => { got += data.length; if (got >= ask.len) { s.off('data', on); resolve() } }
          s.on('data', on)
        })
        s.write(bytes)
        await done
        times.push(Number(process.hrtime.bigint() - began) / 1000)
      }
      times.sort((a, b) => a - b)
      return { median: times[times.length >> 1] }
    }
  }
})
