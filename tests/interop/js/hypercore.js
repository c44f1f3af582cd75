'use strict'
// Cores of the real hypercore 10, in a folder that seckel uses too, and of hypercore 11, in one of its own: one
// operation per line.
const Hypercore10 = require('hypercore-v10')
const Hypercore11 = require('hypercore')
const c = require('compact-encoding')
const multisig = require('hypercore/lib/multisig')
const sodium = require('sodium-universal')
const { serve } = require('./common')

let core = null
let newest = false
const logs = []

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
    treeHash: hex(newest ? core.state.hash() : core.core.tree.hash()),
    signature: hex(newest ? core.state.signature : core.core.tree.signature) || '',
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
    newest = message.newest === true
    const Hypercore = newest ? Hypercore11 : Hypercore10
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
    await core.truncate(message.length, message.fork === undefined ? {} : { fork: message.fork })
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
  // A core of several signers (hypercore 11), and a log of each of them.
  async several (message) {
    newest = true
    const pairs = message.seeds.map(pair)
    const manifest = {
      version: message.version,
      allowPatch: true,
      quorum: message.quorum,
      signers: pairs.map(({ publicKey }) => ({ publicKey })),
      prologue: message.prologue ? { hash: bytes(message.prologue.hash), length: message.prologue.length } : null
    }
    core = new Hypercore11(message.folder, { manifest, compat: false })
    await core.ready()
    logs.length = 0
    for (let n = 0; n < pairs.length; n++) {
      const log = new Hypercore11(message.folder + '-' + n, { keyPair: pairs[n] })
      await log.ready()
      logs.push({ log, pair: pairs[n] })
    }
    return { key: hex(core.key) }
  },
  // What the signers have, and what those with these numbers sign of it together.
  async sign (message) {
    for (let n = 0; n < logs.length; n++) await logs[n].log.append(message.blocks[n].map(bytes))
    const parts = []
    for (const n of message.signers) {
      const { log, pair } = logs[n]
      const signature = core.core.verifier.sign(log.state.createTreeBatch(), pair)
      parts.push(await multisig.partialSignature(log.core, n, message.length, log.length, signature))
    }
    return { signature: hex(message.version === 0 ? multisig.assemblev0(parts) : multisig.assemble(parts)) }
  },
  async take (message) {
    try {
      await core.append(message.blocks.map(bytes), { signature: bytes(message.signature) })
    } catch (error) {
      return { refused: error.code }
    }
    return state()
  },
  async proof (message) {
    const { proof } = require('hypercore/lib/fully-remote-proof')
    const options = message.block === null ? {} : { index: message.block, block: await core.get(message.block, { raw: true }) }
    return { proof: hex(await proof(core, options)) }
  },
  async check (message) {
    const { verify } = require('hypercore/lib/fully-remote-proof')
    const told = await verify(core.state.storage.store, bytes(message.proof))
    return told && { length: told.length, newer: told.newer, block: told.block && hex(told.block.value) }
  },
  // The bytes of an answer to a request, or that there is none. Made as for a peer: `core.proof` fails for seeks.
  async prove ({ request }) {
    const { wire } = require('hypercore/lib/messages')
    const { MerkleTree } = require('hypercore/lib/merkle-tree')
    try {
      const reads = core.state.storage.read()
      const made = await MerkleTree.proof(core.state, reads, request)
      const block = request.block ? reads.getBlock(request.block.index) : null
      reads.tryFlush()
      const [proof, value] = await Promise.all([made.settle(), block])
      if (block) proof.block.value = value
      return { proof: hex(c.encode(wire.data, { request: 0, ...proof })) }
    } catch (error) {
      return { none: error.code || error.message }
    }
  },
  async seek (message) {
    return core.seek(message.bytes)
  },
  // The names of hypercore 11.
  async interface () {
    const own = ['length', 'name', 'prototype', 'constructor']
    const names = [...Object.getOwnPropertyNames(Hypercore11), ...Object.getOwnPropertyNames(Hypercore11.prototype)]
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
