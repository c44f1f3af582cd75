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

const AMOUNT_MAX = Number.MAX_SAFE_INTEGER
const ENDS_MAX = 3155760000000
const OPEN_MAX = 64
const AUCTION_MAX = 65536
const LOG_MAX = 2 ** 20

function isTitle (title) {
  const bytes = b4a.byteLength(title)
  return bytes > 0 && bytes <= 200 && !/^\p{White_Space}|\p{White_Space}$|\p{Cc}/u.test(title)
}

// The rules of the note, once more.
class House {
  constructor (core) {
    this.core = core
    this.auctions = new Map()
    this.terms = new Set()
    this.open = new Map()
    this.openCount = 0
    this.length = 0
    this.time = 0
    this.faults = []
  }

  // What does not count changes nothing, and is remembered.
  take (block) {
    const seq = this.length
    let entry = null
    try {
      entry = decodeEntry(block)
      this.judge(seq, entry)
      this.apply(seq, entry)
    } catch (error) {
      entry = { kind: 'against the rules', error: error.message }
      this.faults.push(seq)
    }
    this.length++
    return { seq, ...entry }
  }

  judge (seq, entry) {
    const must = (sound, what) => {
      if (!sound) throw new Error(what)
    }
    const { kind, time, key } = entry
    must((seq === 0) === (kind === 'open'), 'open')
    must(time >= this.time && time <= AMOUNT_MAX, 'time')
    if (kind === 'open') return
    if (kind === 'create') {
      must(isTitle(entry.title), 'title')
      must(entry.reserve <= AMOUNT_MAX, 'reserve')
      const { ends } = entry
      must(ends === 0 || (ends > time && ends <= AMOUNT_MAX && ends - time <= ENDS_MAX), 'ends')
      entry.terms = termsOf(this.core, key, entry)
      must(!this.terms.has(entry.terms.toString('hex')), 'repeated')
      must((this.open.get(key.toString('hex')) || 0) < OPEN_MAX, 'too many are open')
      must(this.auctions.size < AUCTION_MAX && seq + this.openCount + 2 <= LOG_MAX, 'full')
      must(crypto.verify(signable(this.core, 'create', ...createParts(entry)), entry.signature, key), 'signature')
      return
    }
    const auction = this.auctions.get(entry.auction)
    must(auction && auction.state === 'open', 'no open auction')
    const over = auction.ends !== 0 && auction.ends <= time
    if (kind === 'end') return must(over, 'not due')
    must(!over, 'over')
    const rest = kind === 'bid' ? [[c.uint, entry.amount]] : []
    if (kind === 'bid') {
      must(entry.amount <= AMOUNT_MAX && entry.amount > (auction.highest ? auction.highest.amount : 0), 'too low')
      must(seq + this.openCount + 1 <= LOG_MAX, 'full')
    } else {
      must(b4a.equals(key, auction.creator), 'not its creator')
    }
    const signed = signable(this.core, kind, [c.fixed32, auction.terms], ...rest)
    must(crypto.verify(signed, entry.signature, key), 'signature')
  }

  apply (seq, entry) {
    const { kind, time, key } = entry
    this.time = time
    if (kind === 'open') return
    if (kind === 'create') {
      const { title, reserve, ends, terms } = entry
      const auction = { id: seq, title, creator: key, reserve, ends, terms }
      this.auctions.set(seq, { ...auction, highest: null, bids: 0, state: 'open', signatures: 1 })
      this.terms.add(terms.toString('hex'))
      return this.count(key, 1)
    }
    const auction = this.auctions.get(entry.auction)
    if (kind === 'bid') {
      auction.highest = { seq, key, amount: entry.amount }
      auction.bids++
    } else {
      auction.state = kind === 'end' ? 'over' : 'closed'
      this.count(auction.creator, -1)
    }
    if (kind !== 'end') auction.signatures++
  }

  count (key, change) {
    const name = key.toString('hex')
    this.open.set(name, (this.open.get(name) || 0) + change)
    this.openCount += change
  }
}

function shown (auction) {
  const { id, title, reserve, ends, bids, state, highest, signatures } = auction
  const best = highest && { seq: highest.seq, key: highest.key.toString('hex'), amount: highest.amount }
  const winner = state !== 'open' && best && best.amount >= reserve ? best : null
  return { id, title, creator: auction.creator.toString('hex'), reserve, ends, bids, state, highest: best, winner, signatures }
}

// What blocks come to, after each of them.
function judge ({ core, blocks }) {
  const house = new House(b4a.from(core, 'hex'))
  return blocks.map((block) => {
    house.take(b4a.from(block, 'hex'))
    return { faults: house.faults.length, auctions: [...house.auctions.values()].map(shown) }
  })
}

async function main (options) {
  if (options.judge) return serve(judge)
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
      const { seq, kind, time, auction, amount, key, error } = step
      events.push({ seq, kind, time, auction, amount, key: key && key.toString('hex'), error })
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
      return { length: anew.length, faults: anew.faults, auction: shown(anew.auctions.get(id)) }
    }
  }
  say({ ready: true })
  serve(async (message) => commands[message.do](message))
}

main(JSON.parse(process.argv[2])).catch((error) => {
  console.error(error)
  process.exit(1)
})
