'use strict'
// A chat by key on hyperdht, as the guide has it. Without a key it listens, with one it joins; with a topic it is a room of
// hyperswarm. Each piece of input goes to every connection as it is.
const HyperDHT = require('hyperdht')
const Hyperswarm = require('hyperswarm')

const [port, key, topic] = process.argv.slice(2)
const dht = new HyperDHT({ bootstrap: [{ host: '127.0.0.1', port: Number(port) }] })
const conns = new Set()

function meet (conn) {
  const name = conn.remotePublicKey.toString('hex')
  conns.add(conn)
  console.log('* got a connection from:', name, '*')
  conn.on('data', (data) => console.log(`${name}: ${data}`))
  conn.on('error', (error) => console.log('Connection error:', error.message))
  conn.once('close', () => {
    conns.delete(conn)
    console.log('closed:', name)
  })
}

process.stdin.on('data', (data) => {
  for (const conn of conns) conn.write(data)
})

process.once('SIGINT', () => dht.destroy().then(() => process.exit(0)))

async function main () {
  if (topic) {
    const swarm = new Hyperswarm({ dht })
    swarm.on('connection', meet)
    await swarm.join(Buffer.from(topic, 'hex')).flushed()
    console.log('listening on:', topic)
    return
  }
  if (key) {
    const conn = dht.connect(Buffer.from(key, 'hex'))
    conn.on('error', (error) => console.log('Connection error:', error.message))
    conn.once('open', () => meet(conn))
    return
  }
  const pair = HyperDHT.keyPair()
  const server = dht.createServer(meet)
  await server.listen(pair)
  console.log('listening on:', pair.publicKey.toString('hex'))
}

main()
