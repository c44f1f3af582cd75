'use strict'
// A client of the auction on the real packages: it bids over RPC, follows the log as it grows, and computes and checks
// everything by itself. `node auction.js OPTIONS as JSON`; then a line of JSON for each command.
const DHT = require('hyperdht')
const Hyperswarm = require('hyperswarm')
const Corestore = require('corestore')
const RPC = require('@hyperswarm/rpc')
const crypto = require('hypercore-crypto')
const c = require('compact-encoding')
const b4a = require('b4a')
const { serve, say } = require('./common')

const LABEL = 'seckel auction'
const KINDS = ['open', 'create', 'bid', 'close', 'end']

function encode (...parts) {
  const state = { start: 0, end: 0, buffer: null }
  for (const [encoding, value] of parts) encoding.preencode(state, value)
  state.buffer = b4a.allocUnsafe(state.end)
  for (const [encoding, value] of parts) encoding.encode(state, value)
  return state.buffer
}

const nonce = c.fixed(16)

// What a step's signature is of.
function signable (core, kind, ...rest) {
  return encode([c.string, LABEL], [c.fixed32, core], [c.uint, KINDS.indexOf(kind)], ...rest)
}

function createParts (create) {
  return [[nonce, create.nonce], [c.string, create.title], [c.uint, create.reserve], [c.uint, create.ends]]
}

function termsOf (core, key, create) {
  return crypto.hash([signable(core, 'create', ...createParts(create)), key])
}

function decodeEntry (block) {
  const state = { start: 0, end: block.byteLength, buffer: block }
  const kind = KINDS[c.uint.decode(state)]
  if (!kind) throw new Error('unknown kind')
  const entry = { kind, time: c.uint.decode(state) }
  if (kind === 'open') {
    if (c.string.decode(state) !== LABEL || c.uint.decode(state) !== 1) throw new Error('not an auction')
    return entry
  }
  if (kind === 'end') {
    entry.auction = c.uint.decode(state)
    return entry
  }
  entry.key = c.fixed32.decode(state)
  if (kind === 'create') {
    entry.nonce = nonce.decode(state)
    entry.title = c.string.decode(state)
    entry.reserve = c.uint.decode(state)
    entry.ends = c.uint.decode(state)
  } else {
    entry.auction = c.uint.decode(state)
    if (kind === 'bid') entry.amount = c.uint.decode(state)
  }
  entry.signature = c.fixed64.decode(state)
  return entry
}

// The rules of the note, once more.
class House {
  constructor (core) {
    this.core = core
    this.auctions = new Map()
    this.length = 0
    this.time = 0
  }

  take (block) {
    const seq = this.length++
    const entry = decodeEntry(block)
    const must = (sound, what) => {
      if (!sound) throw new Error(`block ${seq}: ${what}`)
    }
    must((seq === 0) === (entry.kind === 'open'), 'open')
    must(entry.time >= this.time, 'time runs back')
    this.time = entry.time
    const { kind, time, key } = entry
    if (kind === 'open') return { seq, ...entry }
    if (kind === 'create') {
      must(entry.ends === 0 || entry.ends > time, 'ends before it begins')
      const signed = signable(this.core, 'create', ...createParts(entry))
      must(crypto.verify(signed, entry.signature, key), 'signature')
      const terms = termsOf(this.core, key, entry)
      const auction = { id: seq, title: entry.title, creator: key, reserve: entry.reserve, ends: entry.ends, terms }
      this.auctions.set(seq, { ...auction, highest: null, bids: 0, state: 'open', signatures: 1 })
      return { seq, ...entry }
    }
    const auction = this.auctions.get(entry.auction)
    must(auction && auction.state === 'open', 'no open auction')
    const over = auction.ends !== 0 && auction.ends <= time
    if (kind === 'end') {
      must(over, 'not due')
      auction.state = 'over'
      return { seq, ...entry }
    }
    must(!over, 'over')
    if (kind === 'bid') {
      must(entry.amount > (auction.highest ? auction.highest.amount : 0), 'too low')
      const signed = signable(this.core, 'bid', [c.fixed32, auction.terms], [c.uint, entry.amount])
      must(crypto.verify(signed, entry.signature, key), 'signature')
      auction.highest = { seq, key, amount: entry.amount }
      auction.bids++
    } else {
      must(b4a.equals(key, auction.creator), 'not its creator')
      must(crypto.verify(signable(this.core, 'close', [c.fixed32, auction.terms]), entry.signature, key), 'signature')
      auction.state = 'closed'
    }
    auction.signatures++
    return { seq, ...entry }
  }
}

function shown (auction) {
  const { id, title, reserve, ends, bids, state, highest, signatures } = auction
  const best = highest && { seq: highest.seq, key: highest.key.toString('hex'), amount: highest.amount }
  const winner = state !== 'open' && best && best.amount >= reserve ? best : null
  return { id, title, creator: auction.creator.toString('hex'), reserve, ends, bids, state, highest: best, winner, signatures }
}

async function main (options) {
  const store = new Corestore(options.storage)
  const core = store.get({ key: b4a.from(options.core, 'hex') })
  await core.ready()
  const keyPair = await store.createKeyPair('client')
  const [host, port] = options.bootstrap.split(':')
  const dht = new DHT({ bootstrap: [{ host, port: Number(port) }], keyPair })
  const swarm = new Hyperswarm({ dht, keyPair: DHT.keyPair() })
  swarm.on('connection', (conn) => {
    conn.on('error', () => {})
    store.replicate(conn)
  })
  swarm.join(core.discoveryKey, { server: !!options.serve, client: true })
  if (options.serve) await swarm.flush()
  core.download({ start: 0, end: -1 })
  const conn = options.server ? new RPC({ dht, keyPair }).connect(b4a.from(options.server, 'hex')) : null
  const house = new House(core.key)
  const events = []

  // Follows the log up to so many blocks.
  const follow = async (length) => {
    while (house.length < length) {
      const step = house.take(await core.get(house.length))
      const { seq, kind, time, auction, amount, key } = step
      events.push({ seq, kind, time, auction, amount, key: key && key.toString('hex') })
    }
  }
  const call = async (method, value) => {
    const answer = await conn.request(method, value, { responseEncoding: c.string })
    const done = /^(OK|IDEMPOTENT) (\d+)$/.exec(answer)
    if (done) await follow(Number(done[2]) + 1)
    return { answer }
  }
  const sign = (text) => [c.fixed64, crypto.sign(text, keyPair.secretKey)]
  const commands = {
    whoami: () => ({ key: keyPair.publicKey.toString('hex') }),
    create: ({ title, reserve = 0, ends = 0 }) => {
      const create = { nonce: crypto.randomBytes(16), title, reserve, ends }
      const parts = createParts(create)
      return call('create', encode(...parts, sign(signable(core.key, 'create', ...parts))))
    },
    bid: ({ id, amount }) => {
      const text = signable(core.key, 'bid', [c.fixed32, house.auctions.get(id).terms], [c.uint, amount])
      return call('bid', encode([c.uint, id], [c.uint, amount], sign(text)))
    },
    // With a signature of something else.
    forge: ({ id, amount }) => {
      const text = signable(core.key, 'bid', [c.fixed32, house.auctions.get(id).terms], [c.uint, amount + 1])
      return call('bid', encode([c.uint, id], [c.uint, amount], sign(text)))
    },
    close: ({ id }) => {
      const text = signable(core.key, 'close', [c.fixed32, house.auctions.get(id).terms])
      return call('close', encode([c.uint, id], sign(text)))
    },
    // All that happened since this was last asked, once there are so many blocks.
    watch: async ({ length }) => {
      await follow(length)
      return { events: events.splice(0) }
    },
    // A second look, from the first block on.
    verify: async ({ id }) => {
      const anew = new House(core.key)
      while (anew.length < core.length) anew.take(await core.get(anew.length))
      return { length: anew.length, auction: shown(anew.auctions.get(id)) }
    }
  }
  say({ ready: true })
  serve(async (message) => commands[message.do](message))
}

main(JSON.parse(process.argv[2])).catch((error) => {
  console.error(error)
  process.exit(1)
})
