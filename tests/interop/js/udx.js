'use strict'
// Streams of udx-native on one socket of 127.0.0.1, driven line by line. Events come as lines with `event`.
const UDX = require('udx-native')
const { serve } = require('./common')

const udx = new UDX()
const socket = udx.createSocket()
socket.bind(0, '127.0.0.1')
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

function make ({ id, seq, hash, echo, quiet }) {
  const s = udx.createStream(id, { seq, firewall: () => false })
  let bytes = 0
  let right = true
  streams.set(id, s)
  s.on('data', (data) => {
    if (hash && right) right = matches(data, bytes)
    bytes += data.length
    if (hash) return
    if (echo) s.write(data)
    else if (!quiet) note({ event: 'data', id, hex: data.toString('hex') })
  })
  s.on('end', () => {
    note({ event: 'end', id, bytes, right, at: Date.now() })
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

serve(async (ask) => {
  const s = streams.get(ask.id)
  switch (ask.op) {
    case 'wait': return wait({ event: ask.event, id: ask.id })
    case 'port': return { port: socket.address().port }
    case 'stream': make(ask); return { ok: true }
    case 'connect': s.connect(socket, ask.remote, ask.port, '127.0.0.1', { ack: ask.ack }); return { ok: true }
    case 'write': s.write(Buffer.from(ask.hex, 'hex')); return { ok: true }
    case 'flush': return { flushed: await s.flush() }
    case 'end': s.end(); return { ok: true }
    case 'destroy': s.destroy(); return { ok: true }
    case 'message': s.trySend(Buffer.from(ask.hex, 'hex')); return { ok: true }
    case 'pause': s.pause(); return { ok: true }
    case 'resume': s.resume(); return { ok: true }
    case 'bulk': return bulk(s, ask.total)
    case 'change': await s.changeRemote(socket, ask.remote, ask.port, '127.0.0.1'); return { changed: true }
    case 'stats': return { retransmits: s.retransmits, rto: s.rtoCount, cwnd: s.cwnd, rtt: s.rtt, mtu: s.mtu }
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
