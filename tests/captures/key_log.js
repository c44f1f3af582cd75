'use strict'
// Loaded before a program on the npm packages (`node -r key_log.js`), writes the session keys of its process to the file
// that SECKEL_KEYS names, in the form of vendor-protocol-notes/key_log.md.
const fs = require('fs')
const Noise = require('noise-handshake')
const SecretStream = require('@hyperswarm/secret-stream')
const NoiseWrap = require('hyperdht/lib/noise-wrap')
const crypto = require('hypercore-crypto')

const hex = (bytes) => Buffer.from(bytes).toString('hex')
const log = (label, id, ...secrets) => {
  fs.appendFileSync(process.env.SECKEL_KEYS, [label, id, ...secrets].map((x) => Buffer.isBuffer(x) ? hex(x) : x).join(' ') + '\n', { mode: 0o600 })
}
const copy = (bytes) => Buffer.from(bytes)

function around (type, name, after) {
  const inner = type.prototype[name]
  type.prototype[name] = function (...args) {
    const result = inner.apply(this, args)
    after.call(this, args, result)
    return result
  }
}

// Each cipher key of a handshake, in the order in which they come.
around(Noise, 'initialiseKey', function ([key]) {
  if (!this.logged) this.logged = []
  if (key) this.logged.push(copy(key))
})

// Before the last step forgets them.
function logHandshake (noise) {
  if (noise.pattern !== 'IK' || !noise.logged) return
  const ephemeral = noise.initiator ? noise.e.publicKey : noise.re
  const responder = noise.initiator ? noise.rs : noise.s.publicKey
  const [fixed, request, , answer] = noise.logged
  if (!fixed || !request) return
  const keys = answer ? [fixed, request, answer] : [fixed, request]
  log('NOISE_IK', copy(ephemeral), copy(responder), ...keys)
}
const final = Noise.prototype.final
Noise.prototype.final = function () {
  logHandshake(this)
  return final.call(this)
}
around(Noise, 'send', function () {
  if (!this.complete) logHandshake(this)
})

around(NoiseWrap, 'final', function (_, keys) {
  const responder = keys.isInitiator ? keys.remotePublicKey : keys.publicKey
  log('HOLEPUNCH', crypto.hash(responder), copy(keys.holepunchSecret))
})

around(SecretStream, '_setupSecretStream', function ([tx, rx, handshakeHash]) {
  const ids = [this.isInitiator, !this.isInitiator].map((side) => SecretStream.id(handshakeHash, side))
  const keys = [tx, rx].map((key) => copy(key.subarray(0, 32)))
  const boxes = [this._sendState.subarray(0, 32), this._sendState.subarray(32, 64)].map(copy)
  for (const side of [0, 1]) {
    log('SECRET_STREAM', copy(ids[side]), keys[side])
    log('UNORDERED', copy(ids[side]), boxes[side])
  }
})
