'use strict'
// What runs on npm's hyperdht in a lab.
//   node node.js dht BOOTSTRAP COUNT   nodes that store and relay; says {"ready":COUNT}
//   node node.js end                   one end of connections, driven line by line as `end.rs` is
const HyperDHT = require('hyperdht')
const readline = require('readline')

const say = (value) => process.stdout.write(JSON.stringify(value) + '\n')
const bytes = (hex) => (hex ? Buffer.from(hex, 'hex') : null)

const PIECE = 65536
const EVERY_MS = 100

async function nodes (bootstrap, count) {
  const all = []
  for (let n = 0; n < count; n++) {
    all.push(new HyperDHT({ bootstrap: [bootstrap], ephemeral: false, firewalled: false }))
  }
  await Promise.all(all.map((node) => node.fullyBootstrapped()))
  say({ ready: count })
}

let dht = null

const why = (error) => error.code || error.message

// 1 MB, say, there and back: every piece must be the one that was sent.
function echo (conn, size) {
  const sent = Buffer.alloc(size)
  for (let at = 0; at < size; at++) sent[at] = (at * 31 + (at >>> 8) * 17) & 255
  const came = []
  let have = 0
  const start = performance.now()
  conn.on('data', (data) => {
    came.push(data)
    have += data.length
    if (have < size) return
    const ms = Math.round(performance.now() - start)
    say({ event: 'echo', ms, whole: Buffer.concat(came).equals(sent) })
  })
  for (let at = 0; at < size; at += PIECE) conn.write(sent.subarray(at, Math.min(at + PIECE, size)))
}

// A numbered message every EVERY_MS, each of which is to come back, in order.
function converse (conn) {
  let sent = 0
  let count = 0
  let gap = 0
  let last = performance.now()
  let ordered = true
  conn.on('data', (data) => {
    const now = performance.now()
    gap = Math.max(gap, Math.round(now - last))
    last = now
    ordered = ordered && data.readUInt32LE() === count
    say({ event: 'came', count: ++count, gap, ordered })
  })
  const timer = setInterval(() => {
    const message = Buffer.alloc(4)
    message.writeUInt32LE(sent++)
    conn.write(message)
  }, EVERY_MS)
  conn.on('close', () => clearInterval(timer))
}

const commands = {
  join ({ bootstrap }) {
    const [host, port] = bootstrap.split(':')
    dht = new HyperDHT({ bootstrap: [{ host, port: Number(port) }] })
    dht.fullyBootstrapped().then(() => say({ event: 'joined' }))
  },
  async listen ({ seed, relay }) {
    const server = dht.createServer({ relayThrough: bytes(relay) }, (conn) => {
      conn.on('error', () => {})
      conn.on('data', (data) => conn.write(data))
      conn.on('end', () => conn.end())
    })
    await server.listen(seed ? HyperDHT.keyPair(bytes(seed)) : undefined)
    say({ event: 'listening', key: server.publicKey.toString('hex') })
  },
  connect ({ key, relay, echo: size }) {
    const start = performance.now()
    const since = () => Math.round(performance.now() - start)
    let open = false
    const conn = dht.connect(bytes(key), { relayThrough: bytes(relay) })
    conn.on('error', (error) => {
      if (open) say({ event: 'closed', why: why(error), ms: since() })
      else say({ event: 'failed', why: why(error), ms: since() })
    })
    conn.on('open', () => {
      open = true
      say({ event: 'open', ms: since() })
      if (size) echo(conn, size)
      else converse(conn)
    })
  },
  async close () {
    await dht.destroy({ force: true })
    dht = null
    say({ event: 'gone' })
  }
}

function end () {
  say({ event: 'ready' })
  const lines = readline.createInterface({ input: process.stdin })
  lines.on('line', (line) => {
    const message = JSON.parse(line)
    Promise.resolve(commands[message.do](message)).catch((error) => say({ event: 'failed', why: why(error), ms: 0 }))
  })
  lines.on('close', () => process.exit(0))
}

const [, , what, at, count] = process.argv
if (what === 'dht') {
  const [host, port] = at.split(':')
  nodes({ host, port: Number(port) }, Number(count))
} else {
  end()
}
