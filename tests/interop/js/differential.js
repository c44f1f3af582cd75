'use strict'
// What the packages make of any bytes: for each input the bytes that they write for what they read, or null and why.
const c = require('compact-encoding')
const b4a = require('b4a')
const IO = require('dht-rpc/lib/io')
const Protomux = require('protomux')
const ProtomuxRPC = require('protomux-rpc')
const { getEncoding } = require('hyperswarm-capability/spec/hyperschema')
const address = require('hyperdht-address')
const hyperdht = require('hyperdht/lib/messages')
const relay = require('blind-relay').messages
const hypercore = require('hypercore/lib/messages')
const hypercore10 = require('hypercore-v10/lib/messages')
const hyperbee = require('hyperbee/lib/messages')
const { serve } = require('./common')
const { make } = require('./protomux_stream')

const hex = (bytes) => Buffer.from(bytes).toString('hex')

// Writes with room to spare: some writers count on small numbers that their readers do not insist on.
const write = (encoding, value) => {
  const state = c.state()
  encoding.preencode(state, value)
  state.buffer = Buffer.alloc(state.end + 64)
  encoding.encode(state, value)
  return state.buffer.subarray(0, state.start)
}

// A codec of compact-encoding: reads, and writes what it read.
const compact = (encoding) => (bytes) => write(encoding, c.decode(encoding, bytes))
const protobuf = (encoding) => (bytes) => encoding.encode(encoding.decode(bytes))

// Fields one after the other, as those protomux reads that are not a codec of their own.
const fields = (...encodings) => compact({
  preencode: (state, values) => encodings.forEach((encoding, n) => encoding.preencode(state, values[n])),
  encode: (state, values) => encodings.forEach((encoding, n) => encoding.encode(state, values[n])),
  decode: (state) => encodings.map((encoding) => encoding.decode(state))
})

// dht-rpc checks ids and tokens while it reads; here every id and every token is the right one.
const heard = (bytes) => {
  const seen = []
  const { equals } = b4a
  let message = null
  const io = {
    suspended: false,
    stats: { requests: {}, commands: [] },
    congestion: { recv() {} },
    inflight: [],
    token: () => null,
    onrequest: (request) => { message = request },
    onresponse: (response) => { message = response }
  }
  // An answer is looked at if somebody waits for it: here somebody waits for every number.
  const waiting = { sent: 9, session: null, internal: false, onresponse() {} }
  Object.defineProperty(waiting, 'tid', { get: () => { waiting.asked = true; return waiting.any } })
  if (bytes.length > 2 && bytes[0] === 0x13) {
    const state = { start: 1, end: bytes.length, buffer: bytes }
    try {
      c.uint.decode(state)
      waiting.any = c.uint16.decode(state)
      io.inflight.push(waiting)
    } catch {}
  }
  b4a.equals = (expected, found) => { seen.push(found, expected); return true }
  try {
    IO.prototype.onmessage.call(io, null, bytes, { host: '1.2.3.4', port: 5 })
  } finally {
    b4a.equals = equals
  }
  if (message === null) throw new Error('dropped')
  return { message, id: message.from.id === null ? null : seen[0] }
}

const request = (bytes) => {
  if (bytes[0] !== 0x03) throw new Error('dropped')
  const { message: m, id } = heard(bytes)
  const flags = (id ? 1 : 0) | (m.token ? 2 : 0) | (m.internal ? 4 : 0) | (m.target ? 8 : 0) | (m.value ? 16 : 0)
  return Buffer.concat([
    [3, flags], c.encode(c.uint16, m.tid), c.encode(c.ipv4Address, m.to), id || [], m.token || [],
    c.encode(c.uint, m.command), m.target || [], m.value ? c.encode(c.buffer, m.value) : []
  ].map((part) => Buffer.from(part)))
}

const response = (bytes) => {
  if (bytes[0] !== 0x13) throw new Error('dropped')
  const { message: m, id } = heard(bytes)
  const closer = m.closerNodes && m.closerNodes.length > 0 ? m.closerNodes : null
  const flags = (id ? 1 : 0) | (m.token ? 2 : 0) | (closer ? 4 : 0) | (m.error ? 8 : 0) | (m.value ? 16 : 0)
  return Buffer.concat([
    [0x13, flags], c.encode(c.uint16, m.tid), c.encode(c.ipv4Address, m.to), id || [], m.token || [],
    closer ? c.encode(c.array(c.ipv4Address), closer) : [], m.error ? c.encode(c.uint, m.error) : [],
    m.value ? c.encode(c.buffer, m.value) : []
  ].map((part) => Buffer.from(part)))
}

// Of another version nothing is read but the version, and the writer knows only one.
const payload = (bytes) => {
  const value = c.decode(hyperdht.noisePayload, bytes)
  return value.version === 1 ? write(hyperdht.noisePayload, value) : c.encode(c.uint, value.version)
}

// No nodes are the same as an empty list of them.
const entry = ({ oplog }) => (bytes) => {
  const value = c.decode(oplog.entry, bytes)
  if (value.treeNodes && value.treeNodes.length === 0) value.treeNodes = null
  return write(oplog.entry, value)
}

const rpc = new ProtomuxRPC(new Protomux(make().stream))

const formats = {
  'test.uint': compact(c.uint),
  'test.buffer': compact(c.buffer),
  'test.optional_buffer': compact(c.optionalBuffer),
  'test.string': compact(c.string),
  'test.raw': compact(c.raw),
  'test.array': compact(c.array(c.uint)),
  'test.frame': compact(c.frame(c.uint)),
  'test.address': compact(c.ipv4Address),
  'test.fixed': compact(c.fixed32),
  'test.numbers': fields(c.uint8, c.uint16, c.uint24, c.uint32, c.uint64),
  'dht_rpc.request': request,
  'dht_rpc.response': response,
  'dht_rpc.address': compact(c.ipv4Address),
  'dht_rpc.port': compact(c.uint16),
  'dht_rpc.delay': compact(c.uint32),
  'hyperdht.handshake': compact(hyperdht.handshake),
  'hyperdht.holepunch': compact(hyperdht.holepunch),
  'hyperdht.noise_payload': payload,
  'hyperdht.holepunch_payload': compact(hyperdht.holepunchPayload),
  'hyperdht.peer': compact(hyperdht.peer),
  // Upstream writes peers that it did not read: as they came.
  'hyperdht.lookup_reply': compact({
    preencode(state, m) { hyperdht.peers.preencode(state, m.peers); c.uint.preencode(state, m.bump) },
    encode(state, m) { hyperdht.peers.encode(state, m.peers); c.uint.encode(state, m.bump) },
    decode: (state) => hyperdht.lookupRawReply.decode(state)
  }),
  'hyperdht.announce': compact(hyperdht.announce),
  'hyperdht.mutable_get': compact(c.uint),
  'hyperdht.mutable_signable': compact(hyperdht.mutableSignable),
  'hyperdht.mutable_put': compact(hyperdht.mutablePutRequest),
  'hyperdht.mutable': compact(hyperdht.mutableGetResponse),
  'hyperdht.plugin_request': compact(hyperdht.pluginRequest),
  'hyperdht.address': (bytes) => {
    const { key, nodes } = address.decode(bytes)
    return address.encode(key, nodes)
  },
  'protomux.head': fields(c.uint, c.uint),
  'protomux.open': fields(c.uint, c.string, c.optionalBuffer, c.raw),
  'protomux.reject': compact(c.uint),
  'protomux.close': compact(c.uint),
  'protomux_rpc.request': compact(rpc._request.encoding),
  'protomux_rpc.response': compact(rpc._response.encoding),
  'protomux_rpc.capability': compact(getEncoding('@rpc/handshake')),
  'protomux_rpc.buffer': compact(c.buffer),
  'blind_relay.pair': compact(relay.pair),
  'blind_relay.unpair': compact(relay.unpair),
  'hypercore.handshake': compact(hypercore.wire.handshake),
  'hypercore.sync': compact(hypercore.wire.sync),
  'hypercore.request': compact(hypercore.wire.request),
  'hypercore.cancel': compact(hypercore.wire.cancel),
  'hypercore.data': compact(hypercore.wire.data),
  'hypercore.no_data': compact(hypercore.wire.noData),
  'hypercore.want': compact(hypercore.wire.want),
  'hypercore.bitfield': compact(hypercore.wire.bitfield),
  'hypercore.range': compact(hypercore.wire.range),
  'hypercore.extension': compact(hypercore.wire.extension),
  'manifest.manifest': compact(hypercore.manifest),
  'manifest.signature': compact(hypercore.multiSignature),
  'manifest.signature_v0': compact(hypercore.multiSignaturev0),
  'hypercore.remote_proof': fields(c.fixed32, hypercore.wire.data),
  // Written by hypercore 10, read by hypercore 11 as well.
  'oplog.header': compact(hypercore.oplog.header),
  'oplog.entry': entry(hypercore),
  'oplog.header 10': compact(hypercore10.oplog.header),
  'oplog.entry 10': entry(hypercore10),
  'hyperbee.header': protobuf(hyperbee.Header),
  'hyperbee.node': protobuf(hyperbee.Node),
  'hyperbee.index': protobuf(hyperbee.YoloIndex),
  'hyperbee.extension': protobuf(hyperbee.Extension),
  'hyperbee.envelope': compact(c.buffer)
}

serve(({ format, inputs }) => {
  const read = formats[format]
  if (!read) return null
  return inputs.map((input) => {
    try {
      return [hex(read(Buffer.from(input, 'hex')))]
    } catch (error) {
      return [null, error.message]
    }
  })
})
