'use strict'
// Stores of the real hypercore 10 and corestore 6, with whatever can happen to them; one store per line.
const path = require('path')
const Hypercore = require('hypercore-v10')
const Hyperbee = require('hyperbee')
const Corestore = require('corestore-v6')
const { serve } = require('./common')

const block = (n) => Buffer.alloc((n * 37) % 600, n % 251)
const blocks = (from, count) => Array.from({ length: count }, (_, i) => block(from + i))

async function core (folder, act, options) {
  const core = new Hypercore(folder, options)
  await core.ready()
  await act(core)
  await core.close()
}

async function replica (folder, act) {
  const source = new Hypercore(folder + '-source', { compat: false })
  await source.ready()
  const copy = new Hypercore(folder, source.key)
  await copy.ready()
  const [one, other] = [source.replicate(true), copy.replicate(false)]
  one.pipe(other).pipe(one)
  await act(source, copy)
  one.destroy()
  await source.close()
  await copy.close()
}

const kinds = {
  one: (folder) => core(folder, async (core) => {
    for (let n = 0; n < 60; n++) await core.append(block(n))
  }),
  batches: (folder) => core(folder, async (core) => {
    for (const count of [1, 20, 3, 9, 14]) await core.append(blocks(count, count))
  }, { compat: false }),
  empty: (folder) => core(folder, async () => {}),
  // Ends with entries that are not flushed: hypercore flushes at the first change and each fourth.
  unflushed: (folder) => core(folder, async (core) => {
    for (let n = 0; n < 8; n++) await core.append(blocks(n, 3))
  }),
  cleared: (folder) => core(folder, async (core) => {
    await core.append(blocks(0, 60))
    await core.clear(5, 9)
    await core.clear(31, 32)
    for (let n = 0; n < 9; n++) await core.append(block(n))
  }),
  // A contiguous length that is too high: an unflushed clear is read again when the core is opened.
  reopened: async (folder) => {
    await core(folder, async (core) => {
      await core.append(blocks(0, 30))
      await core.append(block(30))
      await core.clear(5, 9)
    })
    await core(folder, async (core) => {
      for (let n = 0; n < 9; n++) await core.append(block(n))
    }, { createIfMissing: false })
  },
  // The same, with entries behind it that speak of the same word of bits.
  'reopened, unflushed': async (folder) => {
    await kinds.reopened(folder)
    await core(folder, async (core) => {
      for (let n = 0; n < 3; n++) await core.append(block(n))
    }, { createIfMissing: false })
  },
  truncated: (folder) => core(folder, async (core) => {
    await core.append(blocks(0, 40))
    await core.truncate(21)
    await core.append(blocks(50, 20))
    await core.truncate(33)
    await core.append(block(7))
  }),
  emptied: (folder) => core(folder, async (core) => {
    await core.append(blocks(0, 9))
    await core.truncate(0)
  }),
  pending: (folder) => core(folder, async (core) => {
    await core.append(blocks(0, 9))
    await core.core.insertBatch(await pendingBatch(core, blocks(20, 3)), blocks(20, 3), { pending: true, treeLength: 9 })
    await core.core.flush()
  }),
  'user data': (folder) => core(folder, async (core) => {
    await core.setUserData('note', Buffer.from('short'))
    await core.append(blocks(0, 9))
    for (let n = 0; n < 9; n++) await core.setUserData('note', Buffer.alloc(6000, n))
    await core.append(blocks(9, 9))
  }),
  'user data gone': (folder) => core(folder, async (core) => {
    for (let n = 0; n < 9; n++) await core.setUserData('note', Buffer.alloc(900, n))
    for (let n = 0; n < 9; n++) await core.setUserData('note', Buffer.alloc(9, n))
    await core.append(blocks(0, 9))
  }),
  sparse: (folder) => replica(folder, async (source, copy) => {
    for (let n = 0; n < 60; n++) await source.append(block(n))
    await copy.update({ wait: true })
    for (const n of [3, 17, 18, 33, 40, 59]) await copy.get(n)
    await source.append(blocks(60, 30))
    await copy.update({ wait: true })
    for (const n of [70, 2]) await copy.get(n)
  }),
  reorganised: (folder) => replica(folder, async (source, copy) => {
    await source.append(blocks(0, 40))
    await copy.update({ wait: true })
    for (const n of [1, 20, 35]) await copy.get(n)
    const changed = new Promise((resolve) => copy.once('truncate', resolve))
    await source.truncate(30)
    await source.append(blocks(90, 20))
    await changed
    await copy.get(31)
  }),
  full: (folder) => replica(folder, async (source, copy) => {
    await source.append(blocks(0, 70))
    await copy.update({ wait: true })
    await copy.download({ start: 0, end: 70 }).done()
  }),
  bee: (folder) => core(folder, async (core) => {
    const bee = new Hyperbee(core, { extension: false })
    await bee.ready()
    for (let n = 0; n < 90; n++) await bee.put('k' + (n * 7919 % 400), 'v' + n)
    const batch = bee.batch()
    for (let n = 0; n < 90; n++) {
      if (n % 3) await batch.put('k' + (n * 31 % 400), 'w' + n)
      else await batch.del('k' + (n * 7919 % 400))
    }
    await batch.flush()
    for (let n = 0; n < 30; n++) await bee.del('k' + (n * 31 % 400))
  })
}

async function pendingBatch (core, values) {
  const batch = core.core.tree.batch()
  for (const value of values) batch.append(value)
  return batch
}

const operations = {
  kinds: async () => ({ kinds: Object.keys(kinds) }),
  make: async ({ kind, folder }) => {
    await kinds[kind](folder)
    return {}
  },
  store: async ({ folder }) => {
    const store = new Corestore(folder)
    await store.ready()
    for (const name of ['a', 'b']) await store.get({ name }).append(blocks(3, 20))
    await store.namespace('inner').get({ name: 'a' }).append(blocks(9, 9))
    const named = store.get({ name: 'b' })
    await named.ready()
    await store.close()
    return { cores: 3 }
  },
  busy: async ({ folder }) => {
    const core = new Hypercore(folder)
    await core.ready()
    for (let n = 0; n < 40; n++) await core.append(block(n))
    return { length: core.length, open: path.basename(folder) }
  }
}

serve((message) => operations[message.do](message).catch((err) => ({ error: err.stack })))
