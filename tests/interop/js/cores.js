'use strict'
// Stores of corestore 6 and cores of hypercore 10 on disk; seeders and readers with corestore 7 and hyperswarm.
const fs = require('fs')
const os = require('os')
const path = require('path')
const Corestore = require('corestore')
const Hyperbee = require('hyperbee')
const Hyperswarm = require('hyperswarm')
const { serve } = require('./common')

const hex = (buffer) => Buffer.from(buffer).toString('hex')
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'seckel-cores-'))
setTimeout(() => process.exit(1), 120000).unref()
process.on('exit', () => fs.rmSync(folder, { recursive: true, force: true }))

let store = null
let swarm = null

async function meet (bootstrap) {
  if (swarm) return
  const [host, port] = bootstrap.split(':')
  store = new Corestore(folder)
  await store.ready()
  swarm = new Hyperswarm({ bootstrap: [{ host, port: Number(port) }] })
  swarm.on('connection', (conn) => {
    conn.on('error', () => {})
    store.replicate(conn)
  })
}

const steps = {
  // A store with a log that was cut and a map, and a core of its own.
  async write ({ dir, single, lines, entries }) {
    const Old = require('corestore-v6')
    const Core = require('hypercore-v10')
    const old = new Old(dir)
    const log = old.get({ name: 'log' })
    await log.append(lines.map((line) => Buffer.from(line)))
    await log.append(['to', 'be', 'cut'].map((line) => Buffer.from(line)))
    await log.truncate(lines.length)
    const map = old.get({ name: 'names' })
    const bee = new Hyperbee(map, { keyEncoding: 'utf-8', valueEncoding: 'utf-8' })
    for (const [key, value] of entries) await bee.put(key, value)
    await bee.del(entries[0][0])
    const keys = { log: hex(log.key), names: hex(map.key), length: map.length }
    const app = old.namespace('app')
    const spaces = { app, inner: app.namespace('inner') }
    for (const name of Object.keys(spaces)) {
      const core = spaces[name].get({ name: 'log' })
      await core.append(Buffer.from(name + ' one'))
      keys[name] = hex(core.key)
    }
    await old.close()
    const own = new Core(single)
    await own.append(lines.map((line) => Buffer.from(line)))
    keys.single = hex(own.key)
    await own.close()
    return keys
  },
  // What hypercore 10 finds in a folder.
  async open ({ single }) {
    const Core = require('hypercore-v10')
    const core = new Core(single)
    await core.ready()
    const blocks = []
    for (let i = 0; i < core.length; i++) blocks.push((await core.get(i)).toString())
    const answer = { key: hex(core.key), fork: core.fork, blocks, writable: core.writable }
    await core.close()
    return answer
  },
  async seed ({ bootstrap, lines, entries }) {
    await meet(bootstrap)
    const log = store.get({ name: 'log' })
    await log.append(lines.map((line) => Buffer.from(line)))
    const map = store.get({ name: 'names' })
    const bee = new Hyperbee(map, { keyEncoding: 'utf-8', valueEncoding: 'utf-8' })
    await bee.ready()
    const batch = bee.batch()
    for (const [key, value] of entries) await batch.put(key, value)
    await batch.flush()
    const users = bee.sub('users')
    for (const key of ['ada', 'bob']) await users.put(key, key + ' of users')
    await users.sub('more').put('eve', 'deep')
    const secret = store.get({ name: 'secret', encryption: { key: Buffer.alloc(32, 7) } })
    await secret.append(lines.slice(0, 3).map((line) => Buffer.from(line)))
    for (const core of [log, map, secret]) await swarm.join(core.discoveryKey).flushed()
    return { log: hex(log.key), names: hex(map.key), secret: hex(secret.key) }
  },
  async read ({ bootstrap, log, names, key }) {
    await meet(bootstrap)
    const core = store.get({ key: Buffer.from(log, 'hex') })
    const map = store.get({ key: Buffer.from(names, 'hex') })
    const bee = new Hyperbee(map, { keyEncoding: 'utf-8', valueEncoding: 'utf-8' })
    for (const each of [core, map]) {
      await each.ready()
      const done = each.findingPeers()
      swarm.join(each.discoveryKey, { server: false, client: true })
      swarm.flush().then(done, done)
      await each.update()
    }
    const blocks = []
    for (let i = 0; i < core.length; i++) blocks.push((await core.get(i)).toString())
    const entry = await bee.get(key)
    const map2 = []
    for await (const { key, value } of bee.createReadStream()) map2.push([key, value])
    return { blocks, value: entry && entry.value, entries: map2 }
  },
  async leave () {
    await swarm.destroy()
    await store.close()
    swarm = null
    return {}
  }
}

serve((message) => steps[message.do](message))
