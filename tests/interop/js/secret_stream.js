'use strict'
// One end of a secret stream whose byte side is the conversation with the parent: what the stream writes comes out,
// what is told goes in. Also Noise handshakes, signatures and boxes, step by step.
const { Duplex } = require('streamx')
const SecretStream = require('@hyperswarm/secret-stream')
const Noise = require('noise-handshake')
const curve = require('noise-curve-ed')
const hypercoreCrypto = require('hypercore-crypto')
const { serve } = require('./common.js')

const hex = (buffer) => Buffer.from(buffer).toString('hex')
const bytes = (text) => Buffer.from(text, 'hex')

let out = []
let stream = null
let raw = null
let noise = null

// Stands where a UDX stream would.
class Raw extends Duplex {
  _write (data, done) {
    out.push({ write: hex(data) })
    done(null)
  }

  _final (done) {
    out.push({ end: true })
    done(null)
  }

  _destroy (done) {
    out.push({ destroy: true })
    done(null)
  }

  async send (datagram) {
    out.push({ send: hex(datagram) })
    return true
  }
}

function start ({ initiator, seed, keys, keepAlive }) {
  raw = new Raw()
  const opts = {}
  if (seed) opts.keyPair = SecretStream.keyPair(bytes(seed))
  if (keepAlive) opts.keepAlive = keepAlive
  if (keys) {
    opts.handshake = {
      tx: bytes(keys.tx),
      rx: bytes(keys.rx),
      hash: bytes(keys.hash),
      publicKey: bytes(keys.publicKey),
      remotePublicKey: bytes(keys.remotePublicKey)
    }
  }
  stream = new SecretStream(initiator, raw, opts)
  const opened = () => out.push({ open: hex(stream.remotePublicKey), hash: hex(stream.handshakeHash) })
  if (stream.connected) opened()
  else stream.on('connect', opened)
  stream.on('data', (data) => out.push({ message: hex(data) }))
  stream.on('message', (data) => out.push({ unordered: hex(data) }))
  stream.on('end', () => out.push({ ended: true }))
  stream.on('error', (error) => out.push({ error: error.message }))
  stream.on('close', () => out.push({ closed: true }))
}

const steps = {
  start,
  bytes: (data) => raw.push(bytes(data)),
  datagram: (data) => raw.emit('message', bytes(data)),
  rawEnd: () => raw.push(null),
  write: (data) => stream.write(bytes(data)),
  unordered: (data) => stream.send(bytes(data)),
  keepAlive: () => stream.sendKeepAlive(),
  end: () => stream.end(),
  destroy: () => stream.destroy(),
  counters: () => out.push({ read: stream.rawBytesRead, written: stream.rawBytesWritten }),

  noise: ({ pattern, initiator, seed, remote, prologue }) => {
    const keyPair = hypercoreCrypto.keyPair(bytes(seed))
    noise = new Noise(pattern, initiator, keyPair, { curve })
    noise.initialise(bytes(prologue), remote ? bytes(remote) : null)
  },
  noiseSend: (payload) => out.push({ message: hex(noise.send(bytes(payload))) }),
  noiseRecv: (message) => out.push({ payload: hex(noise.recv(bytes(message))) }),
  noiseKeys: () => out.push({ tx: hex(noise.tx), rx: hex(noise.rx), hash: hex(noise.hash), remote: hex(noise.rs) }),

  sign: ({ seed, message }) => {
    const keyPair = hypercoreCrypto.keyPair(bytes(seed))
    out.push({ publicKey: hex(keyPair.publicKey), signature: hex(hypercoreCrypto.sign(bytes(message), keyPair.secretKey)) })
  },
  verify: ({ publicKey, message, signature }) => {
    out.push({ valid: hypercoreCrypto.verify(bytes(message), bytes(signature), bytes(publicKey)) })
  },
  hash: (parts) => out.push({ hash: hex(hypercoreCrypto.hash(parts.map(bytes))) })
}

serve(async (todo) => {
  for (const [step, value] of todo) {
    try {
      steps[step](value)
    } catch (error) {
      out.push({ threw: error.message })
    }
  }
  // The stream does its work in microtasks; nothing here waits for a clock.
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve))
  const said = out
  out = []
  return said
})
