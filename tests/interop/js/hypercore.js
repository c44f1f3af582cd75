'use strict'
// Cores of the real hypercore 10, in a folder that seckel uses too: one operation per line.
const Hypercore = require('hypercore-v10')
const sodium = require('sodium-universal')
const { serve } = require('./common')

let core = null

const bytes = (hex) => Buffer.from(hex, 'hex')
const hex = (buffer) => (buffer ? buffer.toString('hex') : null)

function pair (seed) {
  const publicKey = Buffer.alloc(32)
  const secretKey = Buffer.alloc(64)
  sodium.crypto_sign_seed_keypair(publicKey, secretKey, bytes(seed))
  return { publicKey, secretKey }
}

function options (message) {
  const encryption = message.encryption
    ? { encryptionKey: bytes(message.encryption.key), isBlockKey: message.encryption.block }
    : {}
  if (!message.seed) return { createIfMissing: false, ...encryption }
  const keyPair = pair(message.seed)
  if (message.version === null) return { keyPair, compat: true, ...encryption }
  return { keyPair, compat: false, ...encryption, manifest: { version: message.version, signers: [{ publicKey: keyPair.publicKey }] } }
}

async function state () {
  const blocks = []
  for (let i = 0; i < core.length; i++) {
    blocks.push((await core.has(i)) ? hex(await core.get(i, { wait: false })) : null)
  }
  return {
    key: hex(core.key),
    discoveryKey: hex(core.discoveryKey),
    length: core.length,
    fork: core.fork,
    byteLength: core.byteLength,
    contiguousLength: core.contiguousLength,
    writable: core.writable,
    treeHash: hex(core.core.tree.hash()),
    signature: hex(core.core.tree.signature),
    blocks
  }
}

const digest = (all) => {
  const out = Buffer.alloc(32)
  sodium.crypto_generichash(out, Buffer.from(all.join(',')))
  return hex(out)
}

const operations = {
  async open (message) {
    core = new Hypercore(message.folder, options(message))
    await core.ready()
    return state()
  },
  async append (message) {
    for (const batch of message.batches) await core.append(batch.map(bytes))
    return { length: core.length }
  },
  async fill (message) {
    const batch = []
    for (let i = 0; i < message.count; i++) batch.push(Buffer.from('block ' + i))
    await core.append(batch)
    return { length: core.length }
  },
  async truncate (message) {
    await core.truncate(message.length)
    return state()
  },
  async clear (message) {
    await core.clear(message.start, message.end)
    return state()
  },
  async note (message) {
    await core.setUserData(message.key, Buffer.from(message.value))
    return { value: String(await core.getUserData(message.key)) }
  },
  async seek (message) {
    return core.seek(message.bytes)
  },
  // The names of hypercore 11.
  async interface () {
    const Newest = require('hypercore')
    const own = ['length', 'name', 'prototype', 'constructor']
    const names = [...Object.getOwnPropertyNames(Newest), ...Object.getOwnPropertyNames(Newest.prototype)]
    return names.filter((name) => !name.startsWith('_') && !own.includes(name)).concat('length')
  },
  async read () {
    return state()
  },
  async digest () {
    const all = (await state()).blocks
    return { length: all.length, digest: digest(all) }
  },
  async close () {
    await core.close()
    return {}
  },
  // Ends without closing anything, some way into an append.
  async die (message) {
    core.append(message.batches[0].map(bytes))
    await new Promise((resolve) => setImmediate(resolve))
    process.kill(process.pid, 'SIGKILL')
  }
}

serve((message) => operations[message.do](message).catch((err) => ({ error: err.code || err.message })))
