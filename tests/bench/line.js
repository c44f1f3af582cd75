'use strict'
// One end of the bench `line` with udx-native: says its port, opens the stream that it is told of, sends or takes.
const readline = require('readline')
const UDX = require('udx-native')

const CHUNK = Buffer.alloc(65536, 1)
const seconds = (since) => Number(process.hrtime.bigint() - since) / 1e9
const say = (value) => process.stdout.write(JSON.stringify(value) + '\n')

const udx = new UDX()
const socket = udx.createSocket()
socket.bind(0, '127.0.0.1')

function source (stream, bytes) {
  let left = bytes
  const push = () => {
    while (left > 0) {
      const room = stream.write(CHUNK.subarray(0, Math.min(left, CHUNK.length)))
      left -= CHUNK.length
      if (!room && left > 0) return stream.once('drain', push)
    }
    stream.end()
  }
  stream.on('end', () => {
    const { rtt, cwnd, mtu, retransmits, rtoCount, fastRecoveries, packetsTransmitted } = stream
    say({ sent: bytes, rtt_ms: rtt, cwnd, mtu, resends: retransmits, timeouts: rtoCount, recoveries: fastRecoveries, packets: packetsTransmitted })
  })
  stream.resume()
  push()
}

function sink (stream) {
  let bytes = 0
  let begun = 0n
  stream.on('data', (data) => {
    if (bytes === 0) begun = process.hrtime.bigint()
    bytes += data.byteLength
  })
  stream.on('end', () => {
    say({ bytes, s: seconds(begun) })
    stream.end()
  })
}

const lines = readline.createInterface({ input: process.stdin })
lines.on('line', (line) => {
  const { id, remoteId, port, bytes } = JSON.parse(line)
  const stream = udx.createStream(id)
  stream.on('error', (error) => process.stderr.write(error.message + '\n'))
  if (bytes > 0) source(stream, bytes)
  else sink(stream)
  stream.connect(socket, remoteId, port, '127.0.0.1')
  say({ open: id })
})
lines.on('close', () => {
  const { user, system } = process.cpuUsage()
  process.stdout.write(JSON.stringify({ cpu_s: (user + system) / 1e6 }) + '\n', () => process.exit(0))
})
say({ ready: true, port: socket.address().port })
