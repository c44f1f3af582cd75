'use strict'
// A Hyperbee of the real package that is told what to do, one operation per line.
const fs = require('fs')
const os = require('os')
const path = require('path')
const crypto = require('hypercore-crypto')
const Hypercore = require('hypercore')
const Hyperbee = require('hyperbee')
const { serve } = require('./common')

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'seckel-hyperbee-'))
process.on('exit', () => fs.rmSync(folder, { recursive: true, force: true }))

let trees = 0
let core = null
let bee = null

const bytes = (hex) => (hex === null || hex === undefined ? null : Buffer.from(hex, 'hex'))
const hex = (buffer) => (buffer === null ? null : buffer.toString('hex'))

async function open ({ seed, encryption } = {}) {
  if (core !== null) await core.close()
  const options = seed ? { keyPair: crypto.keyPair(bytes(seed)), encryptionKey: bytes(encryption) } : {}
  core = new Hypercore(path.join(folder, String(trees++)), options)
  bee = new Hyperbee(core, { extension: false })
  await bee.ready()
}

async function apply (target, [kind, key, value, op]) {
  if (kind === 'put') return target.put(bytes(key), bytes(value))
  if (kind === 'refused') return target.put(bytes(key), bytes(value), { cas: () => false })
  if (kind === 'changed') return target.put(bytes(key), bytes(value), { cas: (old) => hex(old.value) !== value })
  if (kind === 'del') return target.del(bytes(key))
  if (kind === 'sub') return apply(target.sub(bytes(key), value === null ? {} : { sep: bytes(value) }), op)
  if (kind === 'cut') return core.truncate(key)
  const batch = target.batch()
  for (const op of key) await apply(batch, op)
  await batch.flush()
}

const options = (range) => {
  const options = { ...range }
  for (const name of ['gt', 'gte', 'lt', 'lte']) if (range[name]) options[name] = bytes(range[name])
  return options
}

const shown = (entry) => entry && [entry.seq, hex(entry.key), hex(entry.value)]

const commands = {
  // A log with these blocks, for what follows.
  async load ({ blocks }) {
    await open()
    await core.append(blocks.map(bytes))
    return {}
  },
  async diff ({ left, right, range }) {
    const found = []
    const tree = bee.checkout(left)
    for await (const one of tree.createDiffStream(right, options(range))) {
      found.push([shown(one.left), shown(one.right)])
    }
    await tree.close()
    return { found }
  },
  async history ({ extent }) {
    const found = []
    for await (const one of bee.createHistoryStream(extent)) found.push([one.type, ...shown(one)])
    return { found }
  },
  async sub ({ names, range }) {
    const found = []
    const sub = names.reduce((tree, name) => tree.sub(bytes(name)), bee)
    for await (const one of sub.createReadStream(options(range))) found.push(shown(one))
    return { found }
  },
  // A fresh tree; all operations; all blocks.
  async blocks ({ ops, seed, encryption }) {
    await open({ seed, encryption })
    for (const op of ops) await apply(bee, op)
    const blocks = []
    for (let i = 0; i < core.length; i++) blocks.push(hex(await core.get(i)))
    const { fork, state } = core
    return { blocks, fork, treeHash: hex(state.hash()), signature: hex(state.signature) }
  },
  // A fresh tree; all operations; which blocks its last version does not need.
  async unlinked ({ ops }) {
    await open()
    for (const op of ops) await apply(bee, op)
    await bee.clearUnlinked()
    const gone = []
    for (let i = 0; i < core.length; i++) if (!(await core.has(i))) gone.push(i)
    return { gone }
  },
  // A log with these blocks; its entries in a range, and what it finds for some keys.
  async read ({ blocks, range, keys }) {
    await open()
    await core.append(blocks.map(bytes))
    const options = {}
    for (const name of ['gt', 'gte', 'lt', 'lte']) if (range[name]) options[name] = bytes(range[name])
    if (range.limit !== undefined) options.limit = range.limit
    options.reverse = !!range.reverse
    const entries = []
    for await (const entry of bee.createReadStream(options)) {
      entries.push([entry.seq, hex(entry.key), hex(entry.value)])
    }
    const found = []
    for (const key of keys) {
      const entry = await bee.get(bytes(key))
      found.push(entry && entry.seq)
    }
    return { entries, found }
  }
}

serve((message) => commands[message.do](message))
