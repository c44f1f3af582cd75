'use strict'
// A Hyperbee of the real package that is told what to do, one operation per line.
const fs = require('fs')
const os = require('os')
const path = require('path')
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

async function open () {
  if (core !== null) await core.close()
  core = new Hypercore(path.join(folder, String(trees++)))
  bee = new Hyperbee(core, { extension: false })
  await bee.ready()
}

async function apply (target, [kind, key, value]) {
  if (kind === 'put') return target.put(bytes(key), bytes(value))
  if (kind === 'refused') return target.put(bytes(key), bytes(value), { cas: () => false })
  if (kind === 'del') return target.del(bytes(key))
  const batch = target.batch()
  for (const op of key) await apply(batch, op)
  await batch.flush()
}

const commands = {
  // A fresh tree; all operations; all blocks.
  async blocks ({ ops }) {
    await open()
    for (const op of ops) await apply(bee, op)
    const blocks = []
    for (let i = 0; i < core.length; i++) blocks.push(hex(await core.get(i)))
    return { blocks }
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
